"""Block Jacobi against LAPACK, and what eigenvectors are by definition."""

from __future__ import annotations

import pytest
import torch

from lorafold.geometry.eigen import block_jacobi, eigh
from tests.builders import Source
from tests.builders import one_thread as one_thread


def with_values(values):
    """Symmetric matrices of these eigenvalues (n,), in random bases."""
    values = torch.as_tensor(values, dtype=torch.float64)
    Q = Source(0).haar(3, len(values), len(values))
    form = (Q * values) @ Q.mT
    return (form + form.mT) / 2


def random(n):
    X = torch.randn(3, n, n, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    return X + X.mT


FORMS = {
    "just beyond a batch": random(33),
    "blocks that do not fit": random(75),
    "SDXL": random(128),
    "large numbers": random(40) * 1e150,
    "small numbers": random(40) * 1e-150,
    "low rank": with_values([1.0, 0.5] + [0.0] * 46),
    "graded": with_values(torch.logspace(0, -30, 50)),
    "clusters": with_values([1.0] * 20 + [1 + 1e-9] * 20 + [-1.0] * 20),
    "a multiple of the identity": 3 * torch.eye(40, dtype=torch.float64).expand(2, 40, 40),
    "zero": torch.zeros(2, 40, 40, dtype=torch.float64),
    "no matrix": torch.zeros(0, 40, 40, dtype=torch.float64),
}


def assert_decomposes(form, values, vectors, atol):
    size = form.abs().amax((1, 2), keepdim=True).clamp_min(1e-300)
    expected = torch.linalg.eigvalsh(form)
    torch.testing.assert_close(values / size[:, 0], expected / size[:, 0], rtol=0, atol=atol)
    torch.testing.assert_close(vectors * (values / size[:, 0])[:, None] @ vectors.mT, form / size, rtol=0, atol=atol)
    eye = torch.eye(form.shape[-1], dtype=form.dtype, device=form.device).expand_as(form)
    torch.testing.assert_close(vectors.mT @ vectors, eye, rtol=0, atol=atol)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_block_jacobi(form):
    assert_decomposes(form, *block_jacobi(form), atol=1e-12)


def test_some_rows_take_more_sweeps_than_others():
    easy = torch.diag_embed(torch.arange(40.0, dtype=torch.float64))[None]
    mixed = torch.cat([easy, random(40), easy])
    values, vectors = block_jacobi(mixed)
    assert_decomposes(mixed, values, vectors, atol=1e-12)
    assert torch.equal(values[0], values[-1])


def test_float32_comes_back_as_float32():
    form = random(64).float()
    values, vectors = block_jacobi(form)
    assert values.dtype == vectors.dtype == torch.float32
    assert_decomposes(form, values, vectors, atol=2e-5)


def test_nan_is_an_error():
    with pytest.raises(torch.linalg.LinAlgError):
        block_jacobi(torch.full((2, 40, 40), torch.nan, dtype=torch.float64))


def test_on_a_cpu_it_is_lapack():
    form = random(40)[:, None]
    values, vectors = eigh(form)
    assert torch.equal(values, torch.linalg.eigh(form).eigenvalues) and vectors.shape == form.shape


@pytest.mark.cuda
@pytest.mark.parametrize("name", ["SDXL", "clusters", "low rank"])
def test_on_a_gpu(name):
    form = FORMS[name].cuda()[:, None]
    values, vectors = eigh(form)
    assert_decomposes(form.flatten(0, 1), values.flatten(0, 1), vectors.flatten(0, 1), atol=1e-12)
