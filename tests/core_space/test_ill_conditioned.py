"""Factors of any condition: what they differ by is not lost, for it may be all that is in their product."""

from __future__ import annotations

import pytest
import torch

from lorafold.core_space import Layer, lift, reduce_layers

M, N = 40, 30


def cancelling(size: float, dtype: torch.dtype, draw: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """up = [u, u + εv] and down = [-aᵀ/ε; aᵀ/ε]: ΔW = v aᵀ but for the rounding of the factors."""
    u, v = torch.linalg.qr(torch.randn(M, 2, dtype=torch.float64, generator=draw))[0].T
    a = torch.randn(N, dtype=torch.float64, generator=draw)
    return torch.stack([u, u + size * v], 1).to(dtype), torch.stack([-a / size, a / size]).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("size", [1e-2, 1e-5, 1e-6, 1e-7, 1e-9, 1e-11])
def test_the_updates_in_core_space_are_those_of_the_factors(size, dtype):
    draw = torch.Generator().manual_seed(1)
    pairs = [cancelling(size, dtype, draw), (torch.randn(M, 4, generator=draw), torch.randn(4, N, generator=draw))]
    plain = [(torch.randn(M, 2, generator=draw), torch.randn(2, N, generator=draw)), pairs[1]]
    layers = [
        Layer(name, *(tuple(factors) for factors in zip(*own, strict=True)), scales=(2.0, -0.5))
        for name, own in (("plain", plain), ("cancelling", pairs))
    ]
    batch = reduce_layers(layers, (2, 4), torch.ones(2, 2, dtype=torch.float64))
    eye = torch.eye(6, dtype=torch.float64).expand(2, 6, 6)
    (left, right) = (side.factors for side in lift(batch, eye, eye, torch.float64))
    updates = batch.problem.updates()
    for row, own in enumerate((plain, pairs)):
        for i, (up, down) in enumerate(own):
            exact = layers[row].scales[i] * up.double() @ down.double()
            error = torch.linalg.matrix_norm(left[row] @ updates[row, i] @ right[row] - exact)
            # float64 cancels, too, as far as the terms are larger than their sum
            assert error <= max(1e-9, 1e-14 / size) * torch.linalg.matrix_norm(exact), (row, i)
            energy = torch.linalg.matrix_norm(exact).square()
            assert batch.problem.energies[row, i] == pytest.approx(float(energy), rel=max(1e-9, 1e-14 / size))
