"""What pages are made of in tests: comparisons of small random adapters, and how to read a page back."""

from __future__ import annotations

import json
from base64 import b64decode
from copy import deepcopy
from html.parser import HTMLParser
from typing import Any

import numpy as np

import lorafold
from tests.builders import random_adapter

BLOCKS = ("down_blocks_0", "mid_block", "up_blocks_1")
NAMES = tuple(f"lora_unet_{block}_attentions_0_to_{part}" for block in BLOCKS for part in ("q", "k", "v", "out_0"))
HOSTILE = "<!--<script </script ></script><img src=x onerror=\"document.title='pwned'\">&lt;'\u2028\u202e"
SHAPES = ((24, 20), (40, 20))  # in turn


def compared(*ranks: int, names: tuple[str, ...] = NAMES, merged: bool = False) -> tuple[dict[str, Any], dict]:
    """(metrics, grids) of random adapters; the last one is the merged adapter where there is one.

    The second adapter lacks the last module where there are several, as adapters of one base model may.
    """
    shapes = {name: SHAPES[index % 2] for index, name in enumerate(names)}
    adapters = [
        random_adapter("kohya", _without_last(shapes) if i == 1 else shapes, rank, seed=i, path=f"/loras/{i}/style.pt")
        for i, rank in enumerate(ranks)
    ]
    result = lorafold.compare(adapters)
    metrics = {"command": "merge" if merged else "compare", "config": {"alpha": 0.05}, **result.metrics()}
    metrics["environment"] = {"lorafold": "0", "command_line": ["python", "-m", "lorafold"]}
    if merged:
        metrics["inputs"][-1]["role"] = "merged"
        kept = [0.92, None, 0.82][: len(ranks) - 1]
        figures = {"kept": kept, "error": 0.0756, "gap": 0.039, "weights": None, "scale": 1.392, "rank": 4}
        metrics["result"] = {"words": ["style keeps 92 %", "strength: 1.392 times"], **figures}
    return metrics, result.grids


def nulls(metrics: dict[str, Any]) -> dict[str, Any]:
    """The same modules and pairs with every number and list of numbers replaced by null."""
    keep = ("pair", "name", "group", "kind", "path", "modules", "inputs", "role", "command")

    def empty(value: Any, key: str = "") -> Any:
        if key in keep and not isinstance(value, list | dict):
            return value
        if isinstance(value, dict):
            return {name: value[name] if name == "pair" else empty(value[name], name) for name in value}
        if isinstance(value, list) and any(isinstance(item, dict) for item in value):
            return [empty(item) for item in value]
        return None

    return empty(deepcopy(metrics))


def many(count: int, i: int, j: int, *, merged: bool = False) -> tuple[dict[str, Any], dict]:
    """A comparison of `count` modules with all numbers of a small one, and random grids of i x j."""
    metrics, grids = compared(2, 3, 4, names=NAMES[:1], merged=True) if merged else compared(2, 3, names=NAMES[:1])
    (module,) = metrics["modules"]
    random = np.random.default_rng(0)
    for pair in module["pairs"]:
        for side in ("left", "right"):
            pair[side] |= {"k": i, "l": j, "angles": sorted(random.uniform(0, np.pi / 2, min(i, j)).tolist())}
    names = [f"lora_unet_up_blocks_1_attentions_2_transformer_blocks_0_attn1_to_q_{m}" for m in range(count)]
    metrics["modules"] = [{**module, "name": name, "shape": [1280, 5120]} for name in names]
    grid = random.uniform(size=(i, j))
    return metrics, {pair: {name: {"left": grid, "right": grid} for name in names} for pair in grids}


def unpacked(text: str, top: float, dtype: str) -> np.ndarray:
    """What `packed` has packed."""
    return np.frombuffer(b64decode(text), dtype) * (top / np.iinfo(np.dtype(dtype)).max)


class Reader(HTMLParser):
    """The elements of a page, as a browser would see them: tags with attributes, title, scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {"title": [], "script": [], "style": []}
        self.inside: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in self.texts:
            self.inside = tag
            self.texts[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = None if tag == self.inside else self.inside

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.texts[self.inside][-1] += data

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.texts["script"][0])


def _without_last(shapes: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    return dict(list(shapes.items())[:-1]) if len(shapes) > 1 else shapes
