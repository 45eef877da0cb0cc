"""Closed gradients against central differences, and what the solvers take for granted about F."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lorafold.core_space.problem import Problem
from lorafold.objectives import DISTANCES, RECONSTRUCTIONS, Objective, build
from tests import oracles
from tests.builders import Source, full_problem
from tests.builders import one_thread as one_thread

DIMS = [[3, 3], [2, 5], [4, 0], [1, 6]]
STEP = 1e-5
QUADRATIC = [name for name, distance in DISTANCES.items() if distance.stiffness is not None]


def problem() -> Problem:
    return full_problem(Source(0), 9, 8, DIMS, [0.7, -0.3])


def make(distance: str, reconstruction: str, rank: int, **options) -> tuple[Objective, Tensor, Tensor]:
    """An objective on 9 x 8 matrices and a random (U, V)."""
    source = Source(rank)
    weights = {"subspace_weight": 0.8, "reconstruction_weight": 1.3, "rescale": 0.4, "directions": "all", **options}
    objective = build(problem(), rank, distance=distance, reconstruction=reconstruction, **weights)
    return objective, source.haar(len(DIMS), 9, rank), source.haar(len(DIMS), 8, rank)


def inner(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((-2, -1))


@pytest.mark.parametrize("rank", [1, 3, 7])
@pytest.mark.parametrize("reconstruction", RECONSTRUCTIONS)
@pytest.mark.parametrize("distance", DISTANCES)
def test_gradients_are_the_slopes_of_the_value(distance, reconstruction, rank):
    """In every direction of the ambient space, which the certificate's denominator needs too."""
    objective, left, right = make(distance, reconstruction, rank)
    if distance not in QUADRATIC:  # beyond cos θ = 1 the formulas end
        left, right = 0.9 * left, 0.9 * right
    at = objective.evaluate(left, right)
    for seed in range(3):
        E, H = Source(seed).normal(*left.shape), Source(seed + 9).normal(*right.shape)
        for step, zero, slope in ((E, 0 * H, inner(at.left, E)), (0 * E, H, inner(at.right, H))):
            ahead = objective.evaluate(left + STEP * step, right + STEP * zero).value
            behind = objective.evaluate(left - STEP * step, right - STEP * zero).value
            torch.testing.assert_close((ahead - behind) / (2 * STEP), slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("rank", [1, 3, 7])
@pytest.mark.parametrize("reconstruction", RECONSTRUCTIONS)
@pytest.mark.parametrize("distance", DISTANCES)
def test_riemannian_gradients_are_the_slopes_of_the_definition(distance, reconstruction, rank):
    """Along curves of subspaces, with F from dense matrices and principal angles."""
    objective, left, right = make(distance, reconstruction, rank)
    at = objective.evaluate(left, right)

    def value(row: int, E: Tensor, H: Tensor) -> float:
        U, V = torch.linalg.qr(left[row] + E)[0], torch.linalg.qr(right[row] + H)[0]
        return oracles.objective(
            list(problem().updates()[row]),
            [0.7, -0.3],
            U,
            V,
            distance=distance,
            reconstruction=reconstruction,
            subspace_weight=0.8,
            reconstruction_weight=1.3,
            rescale=0.4,
        )

    for row in range(len(DIMS)):
        E, H = Source(row).normal(9, rank), Source(row + 9).normal(8, rank)
        E, H = E - oracles.projector(left[row]) @ E, H - oracles.projector(right[row]) @ H
        slope = (value(row, STEP * E, STEP * H) - value(row, -STEP * E, -STEP * H)) / (2 * STEP)
        expected = float(inner(at.left[row], E) + inner(at.right[row], H))
        assert slope == pytest.approx(expected, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("k", [2, 5], ids=["r > k", "r < k"])
@pytest.mark.parametrize("where", ["equal", "orthogonal", "a shared direction", "repeated angles"])
def test_the_geodesic_slope_is_finite_everywhere(where, k):
    """Also where autograd through an SVD is not."""
    r, basis = 3, torch.eye(12, dtype=torch.float64)
    frame = {
        "equal": basis[:, :r],
        "orthogonal": basis[:, 6 : 6 + r],
        "a shared direction": torch.cat([basis[:, :1], basis[:, 7:9]], 1),
        "repeated angles": 0.6 * basis[:, :r] + 0.8 * basis[:, 6 : 6 + r],
    }[where]
    value, slope = DISTANCES["geodesic"].evaluate((basis[:, :k].mT @ frame)[None, None], torch.tensor([[k]]))
    assert bool(value.isfinite().all()) and bool(slope.isfinite().all())
    if where == "repeated angles":  # -θ / sin θ in every shared direction
        theta = torch.arccos(torch.tensor(0.6, dtype=torch.float64))
        scale = -2 * theta / 0.8 / (r * torch.pi**2 / 4)
        torch.testing.assert_close(slope[0, 0], scale * torch.eye(k, r, dtype=torch.float64), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rank", [1, 3, 7])
@pytest.mark.parametrize("reconstruction", RECONSTRUCTIONS)
@pytest.mark.parametrize("distance", QUADRATIC)
def test_a_quadratic_objective_is_a_form_and_a_constant(distance, reconstruction, rank):
    """For fixed V, F = constant - tr(UᵀKU): the best U is an eigenspace of K."""
    objective, _, right = make(distance, reconstruction, rank)
    seen = objective.seen_from_left(right)
    form = objective.left.form + seen @ seen.mT
    torch.testing.assert_close(form, form.mT, rtol=0, atol=1e-15)
    sums = []
    for seed in range(4):
        left = Source(seed).haar(len(DIMS), 9, rank)
        sums.append(objective.evaluate(left, right).value + (left.mT @ form @ left).diagonal(0, -2, -1).sum(-1))
    for other in sums[1:]:
        torch.testing.assert_close(other, sums[0], rtol=1e-13, atol=1e-13)


def test_other_distances_have_no_form():
    assert make("geodesic", "mean", 3)[0].left.form is None
    assert make("geodesic", "mean", 3)[0].chordal.left.form is not None


@pytest.mark.parametrize("reconstruction", RECONSTRUCTIONS)
def test_the_chordal_counterpart_of_any_objective(reconstruction):
    expected, left, right = make("chordal", reconstruction, 3)
    found = make("geodesic", reconstruction, 3)[0].chordal.evaluate(left, right)
    torch.testing.assert_close(found.value, expected.evaluate(left, right).value, rtol=1e-14, atol=0)


@pytest.mark.parametrize("rank", [1, 3, 7])
@pytest.mark.parametrize("reconstruction_weight", [0.0, 1.0])
@pytest.mark.parametrize("distance", [*QUADRATIC, "geodesic", "procrustes", "martin"])
def test_shifted_it_is_convex_between_any_two_frames(distance, reconstruction_weight, rank):
    """s ‖U‖² - F has no negative second difference; the sweeps of the alternating solver are monotone by that."""
    objective, _, right = make(distance, "mean", rank, reconstruction_weight=reconstruction_weight)
    grid = torch.linspace(0, 1, 31, dtype=torch.float64)
    for seed in range(4):
        one, other = Source(seed).haar(len(DIMS), 9, rank), Source(seed + 99).haar(len(DIMS), 9, rank)
        if seed % 2:  # through subspaces of the adapters, where the angles vanish
            one = one.clone()
            one[0, :, : min(3, rank)] = problem().left[0, 0, :, : min(3, rank)]
            one = torch.linalg.qr(one)[0]
        between = [(1 - t) * one + t * other for t in grid]
        values = [objective.left.shift * U.square().sum((-2, -1)) - objective.evaluate(U, right).value for U in between]
        assert float(torch.stack(values).diff(n=2, dim=0).min()) > -1e-12


def test_a_smaller_shift_of_the_geodesic_distance_would_not_do():
    """The second derivative of arccos(c)² is 2 at c = 0, so s ‖O‖² must bring all of it."""
    geodesic, dims = DISTANCES["geodesic"], torch.tensor([[2]])
    overlaps = [c * torch.eye(2, dtype=torch.float64)[None, None] for c in (0.0, 0.001, 0.002)]
    for factor, convex in ((1.0, True), (0.99, False)):
        shift = factor * float(geodesic.shift(torch.tensor([[2.0]]).double(), 2))
        values = [shift * o.square().sum() - geodesic.evaluate(o, dims)[0].squeeze() for o in overlaps]
        assert (float(torch.stack(values).diff(n=2)) > -1e-15) is convex
