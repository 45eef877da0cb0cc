"""The table model x trainer of docs/formats.md: files in every trainer's names, read, converted and written here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor

import lorafold
from lorafold.adapters import Adapter
from lorafold.adapters.naming import ARCHITECTURES, STYLES, places
from tests.adapters.conversions import ANCHORS, canonical, proportioned
from tests.adapters.samples import normal


class Trainer(NamedTuple):
    """How a trainer saves: the style of its names (of those that fit, an architecture has one), tensors and format."""

    title: str
    styles: tuple[str, ...]
    suffixes: tuple[str, str]
    format: str
    front: str = ""


_KOHYA, _PEFT = ("lora_down", "lora_up"), ("lora_A", "lora_B")
TRAINERS = (
    Trainer("sd-scripts, musubi-tuner", ("kohya", "kohya-diffusers"), _KOHYA, "kohya"),
    Trainer("ai-toolkit, ComfyUI", ("comfyui", "comfyui-diffusers"), _PEFT, "comfyui"),
    Trainer("diffusers, SimpleTuner, finetrainers", ("diffusers",), _PEFT, "diffusers"),
    Trainer("OneTrainer", ("onetrainer",), _KOHYA, "kohya"),
    Trainer("LyCORIS, SimpleTuner", ("lycoris",), _KOHYA, "kohya"),
    Trainer("PEFT", ("peft",), _PEFT, "peft", "base_model.model."),
    Trainer("DiffSynth, bare names", ("bare", "peft"), _PEFT, "comfyui"),
)


def style_of(architecture: str, trainer: Trainer) -> str | None:
    """The style of the trainer's files for the architecture; None where it has none."""
    known = ARCHITECTURES[architecture]()
    usual = {"kohya": known.kohya, "comfyui": known.comfyui}.get(trainer.format)
    style = usual if usual in trainer.styles else trainer.styles[0]
    return style if STYLES[style].prefix in known.components[0].prefixes else None


def layers(architecture: str, style: str) -> dict[str, tuple[int, int]]:
    """Some layers that tell the architecture, in the names of the style, with their shapes (m, n)."""
    table, shapes = places(architecture, style), {}
    for name, place in table.items():
        if place.component != ARCHITECTURES[architecture]().components[0].name:
            continue
        attention = place.entry.original.endswith(("q", "qkv"))
        if place.entry.original in ANCHORS[architecture] or (attention and len(shapes) < 4):
            fixed = proportioned(architecture, place.entry.original, 4)
            whole = fixed[0] if fixed else 4 * sum(place.entry.shares)
            rows = whole if place.part is None else whole // sum(place.entry.shares) * place.entry.shares[place.part]
            shapes[name] = (rows, fixed[1] if fixed else 4)
    return shapes


def saved(architecture: str, trainer: Trainer, style: str, folder: Path) -> Path:
    """A small file of the trainer, or a folder of PEFT."""
    tensors: dict[str, Tensor] = {}
    for seed, (name, (m, n)) in enumerate(layers(architecture, style).items()):
        down, up = (f"{trainer.front}{name}.{part}.weight" for part in trainer.suffixes)
        tensors |= {down: normal(2, n, seed=seed), up: normal(m, 2, seed=seed + 90)}
    if trainer.format != "peft":
        save_file(tensors, folder / "a.safetensors")
        return folder / "a.safetensors"
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 2}))
    return folder


def cell(architecture: str, trainer: Trainer, folder: Path) -> str:
    """What becomes of a file of the trainer: read and converted to diffusers' names and back, every update equal."""
    style = style_of(architecture, trainer)
    if style is None:
        return "-"
    given = lorafold.load(saved(architecture, trainer, style, folder))
    theirs = lorafold.convert(given, format="diffusers", model=architecture).adapter
    same(given, theirs, architecture)
    back = lorafold.convert(theirs, format=trainer.format, model=architecture).adapter
    same(back, theirs, architecture)
    return "read, written" if back.modules.keys() == given.modules.keys() else "read"


def same(one: Adapter, other: Adapter, architecture: str) -> None:
    """Equal updates of the layers of diffusers."""
    ours, theirs = (canonical(adapter, architecture) for adapter in (one, other))
    assert ours.keys() == theirs.keys() and ours
    for name, delta in ours.items():
        torch.testing.assert_close(delta, theirs[name], rtol=1e-6, atol=1e-6)
