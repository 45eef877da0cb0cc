"""Thin stand-ins of the few functions of ComfyUI that its node uses; they are written for these tests, not ComfyUI's.

A model is its weights by the names that kohya's files have for the layers, a LoRA is added to a copy of them, in the
dtype of the model: W + strength · alpha / rank · up · down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace

from safetensors.torch import load_file
from torch import Tensor

Weights = dict[str, Tensor]


class Stopped(Exception):
    """Of ComfyUI, when the user cancels."""


class Host:
    """ComfyUI with a folder of LoRAs; it counts the bars that were drawn, and can be told to stop."""

    def __init__(self, loras: Path) -> None:
        self.loras, self.bars, self.stop = loras, 0, False

    def modules(self) -> dict[str, ModuleType]:
        """What `import folder_paths` and `import comfy.sd` give there."""
        comfy = _module(
            "comfy",
            sd=_module("comfy.sd", load_lora_for_models=load_lora_for_models),
            utils=_module("comfy.utils", ProgressBar=self.bar),
            model_management=_module("comfy.model_management", throw_exception_if_processing_interrupted=self.check),
        )
        folder_paths = _module(
            "folder_paths",
            get_filename_list=lambda _: self.names(),
            get_full_path_or_raise=lambda _, name: str(self.loras / name),
            get_folder_paths=lambda _: [str(self.loras)],
        )
        parts = (comfy.sd, comfy.utils, comfy.model_management)
        return {module.__name__: module for module in (comfy, *parts, folder_paths)}

    def names(self) -> list[str]:
        return sorted(path.relative_to(self.loras).as_posix() for path in self.loras.rglob("*.safetensors"))

    def bar(self, total: int) -> SimpleNamespace:
        self.bars += 1
        return SimpleNamespace(update_absolute=lambda value, total: None)

    def check(self) -> None:
        if self.stop:
            raise Stopped

    def lora_loader(self, model: Weights, clip: Weights, name: str, strength: float) -> tuple[Weights, Weights]:
        """ComfyUI's own node."""
        first, second = load_lora_for_models(model, clip, load_file(self.loras / name), strength, strength)
        assert first is not None and second is not None
        return first, second


def load_lora_for_models(
    model: Weights | None, clip: Weights | None, lora: Mapping[str, Tensor], model_strength: float, clip_strength: float
) -> tuple[Weights | None, Weights | None]:
    def added(weights: Weights, strength: float) -> Weights:
        return {name: (weight + strength * _update(lora, name)).to(weight.dtype) for name, weight in weights.items()}

    return model and added(model, model_strength), clip and added(clip, clip_strength)


def _update(lora: Mapping[str, Tensor], name: str) -> Tensor | float:
    if f"{name}.lora_up.weight" not in lora:
        return 0.0
    up, down = (lora[f"{name}.lora_{side}.weight"].float() for side in ("up", "down"))
    return lora[f"{name}.alpha"].float() / len(down) * up @ down


def _module(name: str, **content: Callable[..., object] | ModuleType) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(content)
    return module
