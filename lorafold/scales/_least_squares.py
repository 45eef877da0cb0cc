"""Scales that bring the merged adapter as close as can be to what it stands for, in the Frobenius norm."""

from __future__ import annotations

from torch import Tensor

from lorafold.scales._registry import UpdateNorms, scale


@scale("target")
def target(sizes: UpdateNorms) -> Tensor:
    """λ = ⟨ΔW_3, M⟩ / ‖ΔW_3‖², the minimiser of ‖λΔW_3 - M‖² with M = Σ w_iΔW_i: as strong as the weighted sum.

    It is 1 for core=sum, and makes rules comparable that average, prune or flatten.
    """
    return (sizes.weights * sizes.products).sum() / sizes.merged.sum()


@scale("each")
def each(sizes: UpdateNorms) -> Tensor:
    """The minimiser of Σ_i ŵ_i‖λΔW_3 - sgn(w_i)ΔW_i‖² / ‖ΔW_i‖², every adapter being a fit of its own.

    λ = Σ_i ŵ_i sgn(w_i)⟨ΔW_3, ΔW_i⟩/‖ΔW_i‖² / Σ_i ŵ_i‖ΔW_3‖²/‖ΔW_i‖², where the derivative vanishes; of weights that
    differ between modules, ŵ_i goes into the sums over them. For orthogonal inputs of equal norm it gives their mean.
    """
    inverse = _inverse(sizes.energies)
    fit = (sizes.shares * sizes.attractions).sum(0) * inverse
    spread = (sizes.shares * sizes.merged[:, None]).sum(0) * inverse
    return fit.sum() / spread.sum()


@scale("presence")
def presence(sizes: UpdateNorms) -> Tensor:
    """λ Σ_i ŵ_i a_i = 1 with a_i = sgn(w_i)⟨ΔW_3, ΔW_i⟩/‖ΔW_i‖², how much of input i is in ΔW_3.

    On average every input is there at full strength. For orthogonal inputs it is the strength of the plain sum.
    """
    inverse = _inverse(sizes.energies)
    whole = (sizes.shares * sizes.inputs).sum(0) * inverse
    return whole.sum() / ((sizes.shares * sizes.attractions).sum(0) * inverse).sum()


def _inverse(energies: Tensor) -> Tensor:
    """1 / energies, and 0 of an adapter that changes nothing."""
    return (energies > 0) / energies.where(energies > 0, 1.0)
