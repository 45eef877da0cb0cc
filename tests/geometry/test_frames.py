"""The polar factor against the dense SVD, over all conditionings."""

from __future__ import annotations

import pytest
import torch

from lorafold.geometry import orthonormality_error, polar

# Singular values of a matrix with 6 columns. "limit" has ||X^T X / c - I||_F just below the Newton-Schulz bound.
SPECTRA = {
    "orthonormal": [1.0] * 6,
    "nearly orthonormal": [1.0, 1 + 1e-6, 1 - 1e-6, 1.0, 1 + 1e-9, 1.0],
    "one iteration is not quite enough": [1.0, 1.0, 1.0, 1.0, 1.0, 1 + 9e-8],
    "small step": [1.0, 1.0, 1.0, 1.001, 1.01, 1.1],
    "limit": [1.08, 1.08, 1.08, 1.08, 1.08, 0.43],
    "beyond the limit": [1.08, 1.08, 1.08, 1.08, 1.08, 0.3],
    "one large direction": [1.0, 1.0, 1.0, 1.0, 1.0, 1e3],
    "underflowing when squared": [1e-20] * 6,
    "huge": [1e15, 1e15, 1.1e15, 1e15, 1e15, 1e15],
    "overflowing when squared": [1e25] * 6,
    "graded": [1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5],
}


def tolerance(dtype):
    return 20 * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("spectrum", SPECTRA.values(), ids=SPECTRA)
def test_polar_factor_of_a_known_decomposition(haar, spectrum, dtype):
    left, right = haar(5, 20, 6), haar(5, 6, 6)
    X = (left * torch.tensor(spectrum, dtype=torch.float64)) @ right.mT
    condition = max(spectrum) / min(spectrum)

    result = polar(X.to(dtype))

    assert result.dtype == dtype
    assert orthonormality_error(result).max() < tolerance(dtype)
    assert (result - left @ right.mT).abs().max() < tolerance(dtype) * condition


def test_every_element_of_a_mixed_batch_is_treated_on_its_own(haar):
    scales = torch.tensor([1.0, 1e6, 0.0, 1e-3], dtype=torch.float64)
    frames, directions = haar(4, 12, 3), haar(4, 12, 3)
    X = frames + scales[:, None, None] * directions[:, :, :1] * torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)

    together = polar(X)

    assert orthonormality_error(together).max() < 1e-14
    torch.testing.assert_close(together, torch.stack([polar(x) for x in X]), rtol=0, atol=1e-14)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_rank_deficient_matrices_get_an_orthonormal_frame_that_keeps_their_span(haar, rank):
    X = haar(10, rank) @ haar(3, max(rank, 1))[:, :rank].mT if rank else torch.zeros(10, 3, dtype=torch.float64)
    result = polar(X)
    assert orthonormality_error(result) < 1e-14
    assert (X - result @ (result.mT @ X)).abs().max() < 1e-14


@pytest.mark.parametrize("shape", [(0, 10, 3), (2, 0, 10, 3), (10, 0), (4, 10, 0)])
def test_empty_batches_and_empty_frames_pass_through(shape):
    assert polar(torch.zeros(shape)).shape == shape


def test_the_frame_follows_a_rotation_of_the_columns(haar):
    X, Q = haar(3, 15, 4) + 0.05 * haar(3, 15, 4), haar(3, 4, 4)
    torch.testing.assert_close(polar(X @ Q), polar(X) @ Q, rtol=0, atol=2e-15)


def test_no_orthonormal_frame_is_nearer(haar):
    X = haar(15, 4) + 0.3 * haar(15, 4)
    best = torch.linalg.matrix_norm(X - polar(X))
    others = polar(polar(X) + 0.01 * haar(200, 15, 4))
    assert (torch.linalg.matrix_norm(X - others) > best).all()


def test_orthonormality_error_is_the_largest_entry(haar):
    X = haar(2, 10, 3)
    X[1, :, 0] *= 1.5
    assert orthonormality_error(X)[0] < 1e-14
    assert orthonormality_error(X)[1] == pytest.approx(1.25)
