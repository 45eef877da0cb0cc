"""A basis from a Gram matrix: Q = X T is orthonormal, X = Q coords, and defects show in dims."""

from __future__ import annotations

import pytest
import torch

from lorafold.core_space._basis import orthonormal_basis
from tests.builders import Source
from tests.core_space.lifted import drift

S = Source(0)
X = S.normal(12, 4)
LENGTHS = torch.tensor([1.0, 1e-100, 1e100, 1e-30], dtype=torch.float64)
CASES = {  # columns, dimension of their span
    "plain": (X, 4),
    "orthonormal": (S.haar(12, 4), 4),
    "columns of very different length": (X * LENGTHS, 4),
    "a zero column": (X * torch.tensor([1.0, 1.0, 0.0, 1.0]), 3),
    "all zero": (0 * X, 0),
    "duplicated columns": (X[:, [0, 0, 1, 1]], 2),
    "duplicated but for the length": (X[:, [0, 0, 1, 2]] * LENGTHS, 3),
    "opposite columns": (X[:, [0, 0, 1, 2]] * torch.tensor([1.0, -1.0, 1.0, 1.0]), 3),
    "a combination": (torch.cat([X[:, :3], X[:, :3].sum(1, keepdim=True)], 1), 3),
    "more columns than rows": (S.normal(3, 4), 3),
    "a single row": (S.normal(1, 4), 1),
}


@pytest.mark.parametrize(("columns", "dims"), CASES.values(), ids=CASES)
def test_basis(columns, dims):
    basis = orthonormal_basis((columns.mT @ columns)[None])
    Q = columns @ basis.transform[0]
    assert int(basis.dims) == dims == int((Q.abs().sum(0) > 0).sum())
    assert drift(Q) < 1e-9
    length = columns.norm(dim=0).clamp_min(1e-300)
    assert float(((Q @ basis.coords[0] - columns) / length).abs().max()) < 1e-9


@pytest.mark.parametrize(("columns", "dims"), CASES.values(), ids=CASES)
def test_coordinates_of_dropped_directions_are_zero(columns, dims):
    basis = orthonormal_basis((columns.mT @ columns)[None])
    dropped = (basis.transform[0] == 0).all(0)
    assert int(dropped.sum()) == 4 - dims
    assert bool((basis.coords[0][dropped] == 0).all())


def test_a_batch_is_each_matrix_by_itself():
    square = [columns for columns, _ in CASES.values()]
    grams = torch.stack([columns.mT @ columns for columns in square])
    together = orthonormal_basis(grams)
    for row, columns in enumerate(square):
        alone = orthonormal_basis(grams[row : row + 1])
        assert int(alone.dims) == int(together.dims[row]) and bool(alone.sound) == bool(together.sound[row])
        left, right = columns @ alone.transform[0], columns @ together.transform[row]
        torch.testing.assert_close(left @ left.mT, right @ right.mT, rtol=0, atol=1e-9)


def test_well_conditioned_bases_are_sound_and_others_ask_for_a_second_pass():
    grams = [columns.mT @ columns for columns in (X, S.conditioned(12, 4, 1e5), X[:, [0, 0, 1, 2]])]
    assert orthonormal_basis(torch.stack(grams)).sound.tolist() == [True, False, False]
