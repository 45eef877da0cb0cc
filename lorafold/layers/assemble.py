"""From merged factors to the merged adapter: biases, other tensors, metadata and configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import torch
from torch import Tensor

from lorafold.adapters import Adapter, Module
from lorafold.adapters.formats.peft_merge import merged_config
from lorafold.adapters.formats.peft_tokens import with_all_tokens
from lorafold.adapters.metadata.header import merged_metadata
from lorafold.common.errors import LorafoldError
from lorafold.core_space import NonFiniteError
from lorafold.layers.line_up import template

Factors = Mapping[str, tuple[Tensor, Tensor]]


def assemble(
    adapters: Sequence[Adapter],
    weights: Sequence[float],
    scale: float,
    factors: Factors,
    own: Mapping[str, Sequence[float]] = MappingProxyType({}),
) -> Adapter:
    """The adapter whose modules are the given factors with scale 1, in the format of the first input.

    Additive tensors are summed with the weights and `scale`; absolute ones are carried.

    Args:
        factors: up (m, r) and down (r, n) by module name, in the dtype to save.
        own: weights of some modules, and of additive tensors by key, in place of the common ones.

    Raises:
        LorafoldError: tensors of the adapters that contradict each other.
        NonFiniteError: NaN or Inf among the biases and other tensors.
    """
    adapters = with_all_tokens(adapters)
    first = adapters[0]

    def terms(name: str) -> list[float]:
        return [scale * weight for weight in own.get(name, weights)]

    modules = {name: _module(template(name, adapters), adapters, terms(name), *pair) for name, pair in factors.items()}
    deltas, extras = _deltas(adapters, terms), _extras(adapters)
    biases = [module.bias for module in modules.values() if module.bias is not None]
    if not all(map(_is_finite, (*biases, *deltas.values(), *extras.values()))):
        raise NonFiniteError
    return Adapter(
        format=first.format,
        modules=modules,
        deltas=deltas,
        extras=extras,
        metadata=merged_metadata(adapters, weights, [module.rank for module in modules.values()]),
        config=merged_config(adapters),
    )


def _is_finite(tensor: Tensor) -> bool:
    return bool(_computable(tensor).isfinite().all())


def _is_same(one: Tensor, other: Tensor) -> bool:
    """In value; floating dtypes may differ, torch cannot compare all others."""
    alike = one.dtype == other.dtype or (one.is_floating_point() and other.is_floating_point())
    return alike and torch.equal(_computable(one), _computable(other))


def _computable(tensor: Tensor) -> Tensor:
    """float8, with which torch computes next to nothing, as float32."""
    return tensor if tensor.itemsize > 1 else tensor.float()


def _module(like: Module, adapters: Sequence[Adapter], weights: Sequence[float], up: Tensor, down: Tensor) -> Module:
    weighted = [(adapter.modules.get(like.name), weight) for adapter, weight in zip(adapters, weights, strict=True)]
    biases = [w * module.scale * module.bias.double() for module, w in weighted if module and module.bias is not None]
    bias = torch.stack(biases).sum(0).to(up.dtype) if biases else None
    return replace(like, up=up, down=down, scale=1.0, bias=bias, lost=0.0)


def _deltas(adapters: Sequence[Adapter], weights: Callable[[str], Sequence[float]]) -> dict[str, Tensor]:
    """Σ weight_i δ_i for every additive tensor, in the dtype of the first."""
    sums: dict[str, Tensor] = {}
    for number, adapter in enumerate(adapters):
        for key, delta in adapter.deltas.items():
            weight = weights(key)[number]
            total = sums.get(key, torch.zeros_like(delta))
            if total.shape != delta.shape:
                raise LorafoldError(
                    f"shape {tuple(delta.shape)} here but {tuple(total.shape)} in another adapter",
                    path=adapter.path,
                    key=key,
                    remedy="Merge adapters of one base model.",
                )
            sums[key] = (total.double() + weight * delta.double()).to(total.dtype)
    return sums


def _extras(adapters: Sequence[Adapter]) -> dict[str, Tensor]:
    """Absolute tensors: carried where one adapter has them, or all that do agree."""
    carried: dict[str, Tensor] = {}
    for adapter in adapters:
        for key, extra in adapter.extras.items():
            if key in carried and not _is_same(carried[key], extra):
                raise LorafoldError(
                    "a full weight that differs between the adapters, so it can be neither carried nor merged",
                    path=adapter.path,
                    key=key,
                    remedy="Remove it from all adapters but one (PEFT: modules_to_save, bias).",
                )
            carried[key] = extra
    return carried
