"""The singular value decomposition from products and eigenvectors, against LAPACK and by definition."""

from __future__ import annotations

import pytest
import torch

from lorafold.geometry.singular import polar_svd, svd
from tests.builders import Source
from tests.builders import one_thread as one_thread


def with_values(values):
    values = torch.as_tensor(values, dtype=torch.float64)
    source = Source(0)
    return (source.haar(3, len(values), len(values)) * values) @ source.haar(3, len(values), len(values)).mT


def random(p, q):
    return torch.randn(3, p, q, generator=torch.Generator().manual_seed(p), dtype=torch.float64)


MATRICES = {
    "square": random(70, 70),
    "tall": random(70, 40),
    "tall and narrow": random(70, 5),
    "wide": random(40, 70),
    "low rank": random(60, 3) @ random(3, 60),
    "graded": with_values(torch.logspace(0, -30, 70)),
    "clusters": with_values([1.0] * 30 + [1e-8] * 40),
    "large numbers": random(40, 40) * 1e200,
    "small numbers": random(40, 40) * 1e-200,
    "a reflection": torch.eye(40, dtype=torch.float64)[None].flip(-1),
    "three ones": torch.diag_embed(torch.tensor([1.0] * 3 + [0.0] * 40, dtype=torch.float64))[None],
    "zero": torch.zeros(2, 40, 40, dtype=torch.float64),
}


def assert_decomposes(matrix, U, S, Vh, atol=1e-12):
    size = matrix.abs().amax((1, 2))[:, None].clamp_min(1e-300)
    unit = matrix / size[..., None]
    torch.testing.assert_close(S / size, torch.linalg.svdvals(unit), rtol=0, atol=atol)
    torch.testing.assert_close(U * (S / size)[:, None] @ Vh, unit, rtol=0, atol=atol)
    for frame in (U, Vh.mT):
        eye = torch.eye(frame.shape[-1], dtype=frame.dtype, device=frame.device)
        torch.testing.assert_close(frame.mT @ frame, eye.expand(len(frame), -1, -1), rtol=0, atol=atol)


@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES)
def test_by_the_polar_decomposition(matrix):
    assert_decomposes(matrix, *polar_svd(matrix))


def test_on_a_cpu_it_is_lapack():
    matrix = random(40, 70)[:, None]
    for one, other in zip(svd(matrix), torch.linalg.svd(matrix, full_matrices=False), strict=True):
        assert torch.equal(one, other)


@pytest.mark.cuda
@pytest.mark.parametrize("name", ["square", "wide", "tall and narrow", "low rank", "graded", "zero"])
def test_on_a_gpu(name):
    parts = svd(MATRICES[name].cuda()[:, None])
    assert parts.U.is_cuda
    assert_decomposes(MATRICES[name], *(part.cpu().flatten(0, 1) for part in parts))
