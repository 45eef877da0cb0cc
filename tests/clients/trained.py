"""Random adapters of the layers that a pipeline has, in the names of any format, as the trainers write them.

m = out, n = in * prod(kernel), r = rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lorafold.adapters import Adapter, Module
from lorafold.adapters.naming import canonical as canonical_names
from lorafold.adapters.naming import places
from tests.adapters.conversions import canonical, usual_style
from tests.adapters.samples import normal


@dataclass(frozen=True)
class Shape:
    """Of a layer's weight, as lorafold flattens it."""

    m: int
    n: int
    kernel: tuple[int, ...]


def layers(pipe: Any) -> dict[str, nn.Module]:
    """Every layer that diffusers can adapt, by canonical name, with the adapters that it has."""
    found = {}
    for component in pipe._lora_loadable_modules:
        model = getattr(pipe, component, None)
        for path, module in [] if model is None else model.named_modules():
            weight = getattr(module, "weight", None)
            if isinstance(weight, Tensor) and weight.ndim > 1 and ".lora_" not in path and "base_layer" not in path:
                found[f"{component}.{_original(component, path)}"] = module
    return found


def _original(component: str, path: str) -> str:
    """transformers 5 has no "text_model." in a CLIP without projection."""
    return f"text_model.{path}" if component.startswith("text") and path.startswith("encoder.") else path


def shapes(pipe: Any) -> dict[str, Shape]:
    """Of every layer in `layers`."""
    weights = {name: layer.weight for name, layer in layers(pipe).items()}
    return {name: Shape(w.shape[0], w[0].numel(), tuple(w.shape[2:])) for name, w in weights.items()}


def trained(
    pipe: Any,
    architecture: str,
    form: str,
    *,
    seed: int,
    scale: float,
    rank: int = 2,
    dtype: torch.dtype = torch.float32,
    left_out: Sequence[str] = (),
) -> Adapter:
    """An adapter of four fifths of the layers, chosen by `seed`, and of none with `left_out` in its original name."""
    style, known, modules = usual_style(architecture, form), shapes(pipe), {}
    for index, (name, place) in enumerate(places(architecture, style).items()):
        parts = [known[part] for part in canonical_names(architecture, style, name) if part in known]
        if not parts or (index + seed) % 5 == 0 or any(part in place.entry.original for part in left_out):
            continue
        m, n, kernel = sum(part.m for part in parts), parts[0].n, parts[0].kernel
        up, down = (normal(*size, dtype=dtype, seed=1000 * seed + index) for size in ((m, rank), (rank, n)))
        modules[name] = Module(name, up, down, scale, kernel, kind="conv" if kernel else "linear")
    return Adapter(form, modules)


def summed(adapters: Sequence[Adapter], weights: Sequence[float], architecture: str) -> dict[str, Tensor]:
    """Σ weight_i ΔW_i, dense, by canonical name."""
    total: dict[str, Tensor] = {}
    for adapter, weight in zip(adapters, weights, strict=True):
        for name, delta in canonical(adapter, architecture).items():
            total[name] = total.get(name, torch.zeros_like(delta)) + weight * delta
    return total
