"""Statistics as a safetensors file: `NAME.stats.safetensors`.

Inputs that layers share are stored once: input `j` is the tensors `j.diagonal`, `j.directions`, `j.eigenvalues`. The
entry "lorafold_statistics" of the header is JSON with the rest: the version of the layout, hashes, base, inputs, and
for each module its input, tokens and energy.

n = in (times the kernel's size), k = directions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lorafold.adapters.files.atomic import staged
from lorafold.adapters.files.finite import check_tensors
from lorafold.adapters.files.tensor_file import open_tensors, write_tensors
from lorafold.calibration.statistics import DIRECTIONS_DTYPE, LayerStatistics, Statistics
from lorafold.common.errors import LorafoldError

_ENTRY, _VERSION = "lorafold_statistics", 1
_TENSORS = ("diagonal", "directions", "eigenvalues")
_HEAD = ("adapter_hash", "corpus_hash", "base", "inputs")
_KINDS = {"adapter_hash": str, "corpus_hash": str, "base": str, "inputs": int}
# How far directions may be from orthonormal: those of 16-bit numbers are within 1e-2.
_SLANT = 0.05
_AGAIN = "Run `lorafold calibrate` again."


def save_statistics(statistics: Statistics, path: str | Path) -> Path:
    """Write statistics; the same ones give the same bytes, and the file appears whole or not at all.

    Raises:
        LorafoldError: numbers that are no statistics.
    """
    target = Path(path)
    check_statistics(statistics, target)
    tensors: dict[str, Tensor] = {}
    numbers: dict[tuple[Any, ...], int] = {}
    modules = {}
    for name, layer in statistics.layers.items():
        own = {key: getattr(layer, key) for key in _TENSORS}
        number = numbers.setdefault(tuple((t.data_ptr(), t.shape, t.stride()) for t in own.values()), len(numbers))
        tensors |= {f"{number}.{key}": tensor.detach().to(_dtype(key)) for key, tensor in own.items()}
        modules[name] = {"input": number, "tokens": layer.tokens, "energy": layer.energy}
    head = {"version": _VERSION, **{key: getattr(statistics, key) for key in _HEAD}, "modules": modules}
    with staged(target) as scratch:
        write_tensors(scratch, tensors, {_ENTRY: json.dumps(head, ensure_ascii=False, separators=(",", ":"))})
    return target


def _dtype(key: str) -> torch.dtype:
    return DIRECTIONS_DTYPE if key == "directions" else torch.float32


def load_statistics(path: str | Path) -> Statistics:
    """Read statistics, as views of the memory map.

    Raises:
        LorafoldError: no such file, not one of statistics, of a younger layout, or damaged.
    """
    file = open_tensors(Path(path))
    head = _head(file.metadata, file.path)
    try:
        modules = {str(name): dict(own) for name, own in head["modules"].items()}
        layers = {name: _layer(own, file.tensors) for name, own in modules.items()}
        statistics = Statistics(layers, **{key: head[key] for key in _HEAD})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LorafoldError(f"a damaged file of statistics ({error!r})", path=file.path, remedy=_AGAIN) from error
    check_statistics(statistics, file.path)
    return statistics


def _head(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    if _ENTRY not in metadata:
        raise LorafoldError(
            "not a file of statistics", path=path, remedy="Give one that `lorafold calibrate` has written."
        )
    try:
        head = json.loads(metadata[_ENTRY])
    except ValueError as error:
        raise LorafoldError(f"a damaged file of statistics ({error})", path=path, remedy=_AGAIN) from error
    if not isinstance(head, dict) or head.get("version") != _VERSION:
        version = head.get("version") if isinstance(head, dict) else None
        raise LorafoldError(
            f"statistics of layout {version!r}, expected {_VERSION}", path=path, remedy="Update lorafold."
        )
    return head


def _layer(own: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> LayerStatistics:
    parts = {key: tensors[f"{own['input']}.{key}"] for key in _TENSORS}
    return LayerStatistics(**parts, tokens=own["tokens"], energy=own["energy"])


def check_statistics(statistics: Statistics, path: Path | None = None) -> None:
    """Raise LorafoldError where something is no statistics: kinds, shapes, NaN, negative or slanted parts."""
    for key, kind in _KINDS.items():
        if type(value := getattr(statistics, key)) is not kind:
            raise LorafoldError(f"{key}={value!r}, expected {kind.__name__}", path=path, remedy=_AGAIN)
    seen: set[tuple[int, ...]] = set()  # inputs that layers share are checked once
    for name, layer in statistics.layers.items():
        if not (_is_number(layer.energy) and type(layer.tokens) is int and layer.tokens > 0):
            raise LorafoldError(
                f"energy={layer.energy!r} and tokens={layer.tokens!r}, expected numbers from 0 and from 1 on",
                path=path,
                key=name,
                remedy=_AGAIN,
            )
        tensors = {key: getattr(layer, key) for key in _TENSORS}
        place = tuple(tensor.data_ptr() for tensor in tensors.values())
        if place not in seen or 0 in place:  # empty tensors have no place
            seen.add(place)
            _check_layer(tensors, name, path)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value >= 0


def _check_layer(tensors: Mapping[str, Tensor], name: str, path: Path | None) -> None:
    diagonal, directions, eigenvalues = (tensors[key] for key in _TENSORS)
    n, k = diagonal.numel(), eigenvalues.numel()
    shapes = [tuple(tensor.shape) for tensor in tensors.values()]
    if shapes != [(n,), (n, k), (k,)] or k > n or not all(t.is_floating_point() for t in tensors.values()):
        raise LorafoldError(
            f"shapes {', '.join(map(str, shapes))}, expected (n,), (n, k) and (k,) of floating-point numbers with "
            "k <= n",
            path=path,
            key=name,
            remedy=_AGAIN,
        )
    check_tensors({f"{name}.{key}": tensor for key, tensor in tensors.items()}, path, _AGAIN)
    if bool((diagonal < 0).any()) or bool((eigenvalues < 0).any()):
        raise LorafoldError("a negative second moment, expected >= 0", path=path, key=name, remedy=_AGAIN)
    Q = directions.to(torch.promote_types(directions.dtype, torch.float32))[:, eigenvalues > 0]
    if Q.shape[1] and float((Q.mT @ Q - torch.eye(Q.shape[1], dtype=Q.dtype)).abs().max()) > _SLANT:
        raise LorafoldError("directions that are not orthonormal", path=path, key=name, remedy=_AGAIN)
