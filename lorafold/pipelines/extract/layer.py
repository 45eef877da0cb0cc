"""One layer: read from both models, subtracted, decomposed, rounded, measured.

m = out, n = in, k = rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from lorafold.adapters.checkpoints.layout import Layout, Weight
from lorafold.adapters.files.finite import check_tensors
from lorafold.adapters.module import Module
from lorafold.common.blocks import row_blocks, square_norm
from lorafold.common.errors import LorafoldError
from lorafold.common.text import brief
from lorafold.pipelines.extract.leading import Leading
from lorafold.pipelines.extract.pairs import Pair
from lorafold.pipelines.extract.rounding import Rounding, rounding

# How often the energy that rounding is expected to make counts as rounding: a vector has few numbers.
_WHITE = 1.5
_DAMAGED = "The file is damaged, or its training diverged: name another one."


@dataclass(frozen=True, eq=False)
class Models:
    """The two models, and where their difference is computed."""

    base: Layout
    tuned: Layout
    device: torch.device

    def changed(self, pair: Pair) -> bool:
        """Whether a layer differs by more than rounding."""
        if pair.base.shape != pair.tuned.shape:
            return True
        first, other = self.base.read(pair.base), self.tuned.read(pair.tuned)
        if _same(first, other):
            return False
        energy = self._energy(pair, first, other)
        return energy > _WHITE * rounding(first, first.dtype, other.dtype).energy

    def difference(self, pair: Pair) -> Difference | None:
        """Tuned minus base; None where the two are the same.

        Raises:
            LorafoldError: NaN or Inf, in either model.
        """
        first, other = self.base.read(pair.base), self.tuned.read(pair.tuned)
        if _same(first, other):
            return None
        matrix = torch.empty(first.shape, dtype=_wide(first, other), device=self.device)
        energy = self._energy(pair, first, other, matrix)
        return Difference(matrix, energy, rounding(first, first.dtype, other.dtype)) if energy else None

    def _energy(self, pair: Pair, first: Tensor, other: Tensor, matrix: Tensor | None = None) -> float:
        """‖other - first‖²; the difference itself is left in `matrix`, where that is given."""
        wide, energy = _wide(first, other), 0.0
        for rows in row_blocks(*first.shape):
            block = other[rows].to(self.device, wide, copy=True) if matrix is None else matrix[rows].copy_(other[rows])
            energy += square_norm(block.sub_(first[rows].to(block)))
        if not isfinite(energy):
            self._find_fault(pair, first, other)
        return energy

    def _find_fault(self, pair: Pair, first: Tensor, other: Tensor) -> None:
        for layout, weight, tensor in ((self.base, pair.base, first), (self.tuned, pair.tuned, other)):
            stored = layout.checkpoint.tensors[weight.rows[0].tensor]
            check_tensors({stored.key: tensor.contiguous()}, stored.file, _DAMAGED)
        raise LorafoldError(
            "a difference that overflows", path=self.tuned.checkpoint.path, key=pair.own, remedy=_DAMAGED
        )

    def has_statistics(self, pair: Pair) -> bool:
        """Whether it is a norm with running means, without which PEFT loads no whole module."""
        return self.base.naming is None and any(name.startswith(f"{pair.own}.") for name in self.base.others)

    def same_tensor(self, name: str) -> bool:
        """Whether a tensor that belongs to no layer is the same, where both models have it."""
        first, other = (layout.checkpoint.tensors.get(name) for layout in (self.base, self.tuned))
        if first is None or other is None:
            return True
        alike = first.shape == other.shape and first.dtype == other.dtype
        return alike and torch.equal(*(stored.read().reshape(-1).view(torch.uint8) for stored in (first, other)))

    def check_shapes(self, pair: Pair) -> None:
        """Raise LorafoldError unless the layer is of one shape in both; a 1 x 1 convolution also faces a linear one."""
        kernels = [tuple(size for size in weight.kernel if size != 1) for weight in (pair.base, pair.tuned)]
        if pair.base.shape != pair.tuned.shape or kernels[0] != kernels[1]:
            raise LorafoldError(
                f"{_shape(pair.tuned)}, but {_shape(pair.base)} in the base",
                path=self.tuned.checkpoint.path,
                key=pair.own,
                remedy="Name the model that it was trained from.",
            )


@dataclass(frozen=True, eq=False)
class Difference:
    """What changed in a layer.

    Args:
        matrix: (m, n), float32 or wider.
        energy: ‖matrix‖².
        rounding: what the files' rounding adds to it.
    """

    matrix: Tensor
    energy: float
    rounding: Rounding

    __repr__ = brief

    @property
    def stands_out(self) -> bool:
        """Whether its energy is more than that of rounding; single directions of a matrix may stand out from less."""
        return self.energy > _WHITE * self.rounding.energy


@dataclass(frozen=True, eq=False)
class Extracted:
    """A layer of the adapter.

    Args:
        pair: which layer it is.
        module: its factors, in the dtype to save.
        sigma: singular values of the difference, as far as they are known (k,).
        energy: ‖ΔW‖² of the difference.
        rounding: the share of it that the rounding of the files explains.
        error: ‖ΔW - factors‖² of the factors as written; None where it was not measured.
        excess: how far the norm of the error may be above the optimum, estimated from above.
    """

    pair: Pair
    module: Module
    sigma: Tensor
    energy: float
    rounding: float
    error: float | None
    excess: float

    __repr__ = brief

    @property
    def retained(self) -> float:
        """The share of ‖ΔW‖² that the kept singular values are."""
        return float(self.sigma[: self.module.rank].square().sum()) / self.energy


def factored(difference: Difference, triples: Leading, rank: int, pair: Pair, dtype: torch.dtype) -> Extracted:
    """The layer as factors U √S and √S Vᵀ of a rank, in the dtype to save."""
    root = triples.sigma[:rank].sqrt().to(difference.matrix)
    up = (triples.left[:, :rank] * root).to(dtype)
    down = (root[:, None] * triples.right[:, :rank].mT).to(dtype).contiguous()
    error = _error(difference.matrix, up, down)
    kind = pair.base.kind
    module = Module(str(pair.name), up.cpu(), down.cpu(), 1.0, pair.base.kernel, kind=kind)
    share = min(1.0, difference.rounding.energy / difference.energy)
    return Extracted(pair, module, triples.sigma.cpu(), difference.energy, share, error, triples.excess)


def _same(first: Tensor, other: Tensor) -> bool:
    return first.dtype == other.dtype and torch.equal(first, other)


def _wide(first: Tensor, other: Tensor) -> torch.dtype:
    return torch.promote_types(torch.promote_types(first.dtype, other.dtype), torch.float32)


def _error(matrix: Tensor, up: Tensor, down: Tensor) -> float:
    """‖matrix - up down‖²."""
    wide, total = down.to(matrix), 0.0
    for rows in row_blocks(*matrix.shape):
        total += square_norm(torch.addmm(matrix[rows], up[rows].to(matrix), wide, alpha=-1))
    return total


def _shape(weight: Weight) -> str:
    return " x ".join(map(str, (*weight.shape, *weight.kernel)))
