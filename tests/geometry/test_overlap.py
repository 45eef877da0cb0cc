"""phi and its grid against the definition, truncation by truncation."""

from __future__ import annotations

import pytest
import torch

from lorafold.geometry import phi, phi_grid, principal_angles

SHAPES = [(30, 5, 5), (30, 3, 7), (30, 7, 3), (8, 6, 5), (4, 1, 1)]


@pytest.mark.parametrize(("n", "k", "other"), SHAPES)
def test_grid_equals_the_definition(haar, n, k, other):
    X, Y = haar(2, n, k), haar(2, n, other)
    grid = phi_grid(X, Y)
    assert grid.shape == (2, k, other)
    for i in range(1, k + 1):
        for j in range(1, other + 1):
            direct = torch.linalg.matrix_norm(X[..., :i].mT @ Y[..., :j]).square() / min(i, j)
            torch.testing.assert_close(grid[..., i - 1, j - 1], direct, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("n", "k", "other"), SHAPES)
def test_phi_is_the_mean_squared_cosine(haar, n, k, other):
    X, Y = haar(2, n, k), haar(2, n, other)
    expected = principal_angles(X, Y).cos().square().mean(-1)
    torch.testing.assert_close(phi(X, Y), expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(phi_grid(X, Y)[..., -1, -1], expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(phi(Y @ haar(2, other, other), X @ haar(2, k, k)), expected, rtol=0, atol=1e-14)


def test_contained_is_one_and_orthogonal_is_zero(haar):
    frame = haar(20, 7)
    assert phi(frame, frame[:, :3]) == pytest.approx(1, abs=1e-14)
    assert phi(frame[:, :3], frame[:, 3:]) == pytest.approx(0, abs=1e-14)


def test_single_precision_frames_give_double_precision_values(haar):
    X, Y = haar(768, 16), haar(768, 16)
    value = phi(X.float(), Y.float())
    assert value.dtype == phi_grid(X.float(), Y.float()).dtype == torch.float64
    assert value == pytest.approx(float(phi(X, Y)), rel=1e-6)
