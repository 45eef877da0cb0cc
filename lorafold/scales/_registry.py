"""The registry of scales: the strength λ of a merged adapter, chosen from the adapters alone, without data or labels.

M = modules, N = adapters.

A scale is a pure function of what a merge has measured, registered under the name that `scale=` takes:

    @scale("max_norm")
    def max_norm(sizes: Sizes) -> Tensor: ...

λ (a float64 scalar) multiplies the merged update of every module, biases and the like included. There is one λ for the
whole adapter: how strong the modules are relative to each other is what the core rule decides. All scales are invariant
to a common factor of the inputs, so that the merged adapter grows with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from lorafold.common.registry import Registry
from lorafold.core_space import participation


@dataclass(frozen=True)
class UpdateNorms:
    """Norms and inner products, module by module, of the adapters' updates and the merged one before λ, ΔW_3."""

    weights: Tensor  # w_i, signed (M, N)
    inputs: Tensor  # ‖ΔW_i‖² (M, N)
    retained: Tensor  # ‖UᵀΔW_iV‖² (M, N)
    products: Tensor  # ⟨ΔW_3, ΔW_i⟩ (M, N)
    merged: Tensor  # ‖ΔW_3‖² (M,)

    @property
    def shares(self) -> Tensor:
        """ŵ_i = |w_i| / Σ|w_i| over the adapters that are present in the module; 0 where there is none.  (M, N)"""
        size = self.weights.abs() * participation(self.inputs * (self.weights != 0))
        return size / size.sum(-1, keepdim=True).clamp_min(torch.finfo(size.dtype).tiny)

    @property
    def energies(self) -> Tensor:
        """‖ΔW_i‖² of whole adapters, over the modules where they have a weight.  (N,)"""
        return (self.inputs * (self.weights != 0)).sum(0)

    @property
    def attractions(self) -> Tensor:
        """sgn(w_i) ⟨ΔW_3, ΔW_i⟩: an adapter that is subtracted should be met with the opposite sign.  (M, N)"""
        return self.weights.sign() * self.products


def update_norms(cores: Tensor, merged: Tensor, weights: Tensor, energies: Tensor) -> UpdateNorms:
    """The sizes of a batch from its coordinates: ΔW_3 = U C_3 Vᵀ lies in the merged subspaces.

    Args:
        cores: C_i = UᵀΔW_iV (b, N, r, r).
        merged: C_3 (b, r, r).
        weights, energies: w_i and ‖ΔW_i‖² (b, N).
    """
    products = (cores * merged[:, None]).sum((-2, -1))
    norms = weights, energies, cores.square().sum((-2, -1)), products, merged.square().sum((-2, -1))
    return UpdateNorms(*(part.cpu() for part in norms))


def joined_norms(parts: Sequence[UpdateNorms]) -> UpdateNorms:
    """The sizes of all modules."""
    return UpdateNorms(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(UpdateNorms)))


@dataclass(frozen=True)
class Scale:
    """A scale, and what must be known about it.

    Args:
        gives_norm: it gives the merged adapter a norm, whatever is left of it: of a weighted sum that cancels it would
            ask too much, see `capped_for_sum`.
    """

    name: str
    function: Callable[[UpdateNorms], Tensor]
    gives_norm: bool = False

    def __call__(self, sizes: UpdateNorms) -> Tensor:
        """λ, a float64 scalar."""
        return self.function(sizes)


SCALES: Registry[Scale] = Registry("scale", "lorafold.scales")


def scale(name: str, *, gives_norm: bool = False) -> Callable[[Callable[[UpdateNorms], Tensor]], Scale]:
    """Register a function as the scale `name`; for the flag see `Scale`."""

    def register(function: Callable[[UpdateNorms], Tensor]) -> Scale:
        return SCALES.add(name, Scale(name, function, gives_norm), function)

    return register
