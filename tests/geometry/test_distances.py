"""Distances against UQpy, against dense matrix formulas, and as metrics."""

from __future__ import annotations

import math

import pytest
import torch

from lorafold.common.errors import LorafoldError
from lorafold.geometry import DISTANCES, complete_angles, distance, phi, principal_angles

NAMES = ["geodesic", "chordal", "procrustes", "asimov", "spectral", "binet_cauchy", "fubini_study", "martin"]
IN_UQPY = {name: "projection" if name == "chordal" else name for name in NAMES}

EQUAL = ["random_12x3", "random_30x5", "random_64x8", "nearby_64x4_eps0.05", "nearby_96x6_eps1e-3"]
# UQpy returns 2.1e-8 for the true 7.8e-9 of "nearby_40x2_eps1e-9": it takes angles from arccos
UNEQUAL = ["random_20_2_5", "random_50_8_3", "contained_30_2_6"]

# How the largest possible distance of a = 3 angles reads
LARGEST = {
    "geodesic": math.sqrt(3) * math.pi / 2,
    "chordal": math.sqrt(3),
    "procrustes": math.sqrt(6),
    "asimov": math.pi / 2,
    "spectral": math.sqrt(2),
    "binet_cauchy": 1.0,
    "fubini_study": math.pi / 2,
    "martin": math.inf,
}


def entry(cases, name):
    (case,) = [case for case in cases if case["name"] == name]
    return case, torch.tensor(case["A"], dtype=torch.float64), torch.tensor(case["B"], dtype=torch.float64)


def test_all_distances_are_registered():
    assert sorted(DISTANCES) == sorted(NAMES)


@pytest.mark.parametrize("pair", [*EQUAL, "random_8x6_intersecting", "nearby_40x2_eps1e-9"])
def test_reference_angles_and_overlaps(uqpy, pair):
    case, A, B = entry(uqpy["equal_dim"], pair)
    expected = torch.tensor(case["theta"], dtype=torch.float64)
    torch.testing.assert_close(principal_angles(A, B), expected, rtol=0, atol=2e-15)
    assert float(phi(A, B)) == pytest.approx(case["phi"], rel=1e-14)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pair", [*EQUAL, "random_8x6_intersecting"])
def test_agrees_with_uqpy_in_equal_dimensions(uqpy, pair, name):
    case, A, B = entry(uqpy["equal_dim"], pair)
    value = float(distance(name, A, B))
    assert value == pytest.approx(case["stable_containment"][IN_UQPY[name]], rel=4e-14)
    assert value == pytest.approx(case["uqpy"][IN_UQPY[name]], rel=1e-11 if "eps1e-3" in pair else 4e-14)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pair", UNEQUAL)
def test_both_completions_of_unequal_dimensions(uqpy, pair, name):
    case, A, B = entry(uqpy["unequal_dim"], pair)
    for completion in ("containment", "full"):
        value = float(distance(name, A, B, completion=completion))
        expected = float(case[f"stable_{completion}"][IN_UQPY[name]])  # "inf" is a string in the file
        assert value == pytest.approx(expected, rel=4e-15, abs=4e-15), completion


@pytest.mark.parametrize("pair", UNEQUAL)
def test_uqpy_itself_mixes_the_completions(uqpy, pair):
    """Its Procrustes distance is neither: it counts a missing dimension as an angle of pi."""
    case, A, B = entry(uqpy["unequal_dim"], pair)
    for name in set(NAMES) - {"procrustes"}:
        completion = "full" if name in ("geodesic", "chordal") else "containment"
        value = float(distance(name, A, B, completion=completion))
        assert value == pytest.approx(case["uqpy"][IN_UQPY[name]], rel=4e-15, abs=4e-15), name


def test_matrix_formulas(haar):
    X, Y = haar(12, 3), haar(12, 3)
    Q, _, Rt = torch.linalg.svd(X.mT @ Y)
    difference, det = X - Y @ (Q @ Rt).mT, abs(float(torch.linalg.det(X.mT @ Y)))
    expected = {
        "chordal": float(torch.linalg.matrix_norm(X @ X.mT - Y @ Y.mT)) / math.sqrt(2),
        "procrustes": float(torch.linalg.matrix_norm(difference)),
        "spectral": float(torch.linalg.matrix_norm(difference, ord=2)),
        "binet_cauchy": math.sqrt(1 - det**2),
        "fubini_study": math.acos(det),
        "martin": math.sqrt(-2 * math.log(det)),
    }
    for name, value in expected.items():
        assert float(distance(name, X, Y)) == pytest.approx(value, rel=1e-13), name


@pytest.mark.parametrize("name", NAMES)
def test_symmetric_invariant_and_zero_on_equal_spans(haar, name):
    X, Y, rotation = haar(12, 3), haar(12, 3), haar(12, 12)
    value = float(distance(name, X, Y))
    assert float(distance(name, Y, X)) == pytest.approx(value, rel=1e-13)
    assert float(distance(name, rotation @ X, rotation @ Y)) == pytest.approx(value, rel=1e-13)
    assert float(distance(name, X @ haar(3, 3), Y @ haar(3, 3))) == pytest.approx(value, rel=1e-13)
    assert float(distance(name, X, X @ haar(3, 3))) < 4e-15
    assert float(distance(name, haar(9, 2)[:, :1].expand(4, 9, 1), haar(9, 1)).std()) == 0


@pytest.mark.parametrize("name", NAMES)
def test_orthogonal_subspaces_are_farthest(haar, name):
    frame = haar(12, 6)
    right_angles = torch.full((3,), math.pi / 2, dtype=torch.float64)
    assert float(DISTANCES[name](right_angles)) == pytest.approx(LARGEST[name], rel=1e-15)
    if name != "martin":  # cosines of 1e-17 are finite to it
        assert float(distance(name, frame[:, :3], frame[:, 3:])) == pytest.approx(LARGEST[name], rel=1e-14)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("theta", [1e-3, 1e-6, 1e-9, 1e-12])
def test_nearby_subspaces_to_relative_precision(name, theta):
    """All agree with theta to first order; products of cosines would round to 1."""
    value = float(DISTANCES[name](torch.tensor([theta], dtype=torch.float64)))
    assert value == pytest.approx(theta, rel=max(1e-15, theta**2))


def test_logarithms_of_nearly_orthogonal_directions():
    theta = torch.tensor([math.pi / 2 - 1e-6], dtype=torch.float64)
    assert float(DISTANCES["martin"](theta)) == pytest.approx(math.sqrt(-2 * math.log(math.sin(1e-6))), rel=1e-10)


def test_products_of_many_cosines_do_not_underflow():
    theta = torch.full((768,), 1.5, dtype=torch.float64)
    assert float(DISTANCES["martin"](theta)) == pytest.approx(math.sqrt(-2 * 768 * math.log(math.cos(1.5))), rel=1e-13)
    assert float(DISTANCES["binet_cauchy"](theta)) == 1
    assert float(DISTANCES["fubini_study"](theta)) == math.pi / 2


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"martin"}))  # which is no metric
def test_triangle_inequality_over_all_dimensions(haar, name):
    points = [haar(200, 7, k) for k in (2, 2, 3)]
    XY, YZ, XZ = (distance(name, points[i], points[j], completion="full") for i, j in ((0, 1), (1, 2), (0, 2)))
    for longest, one, other in ((XY, YZ, XZ), (YZ, XY, XZ), (XZ, XY, YZ)):
        assert (longest <= one + other + 1e-14).all()


@pytest.mark.parametrize("name", NAMES)
def test_batches(haar, name):
    X, Y = haar(4, 10, 3), haar(4, 10, 2)
    for completion in ("containment", "full"):
        together = distance(name, X, Y, completion=completion)
        alone = torch.stack([distance(name, x, y, completion=completion) for x, y in zip(X, Y, strict=True)])
        assert together.dtype == torch.float64
        torch.testing.assert_close(together, alone, rtol=1e-13, atol=0)


def test_completion_adds_right_angles(haar):
    theta = principal_angles(haar(2, 9, 2), haar(2, 9, 4))
    full = complete_angles(theta, 2, "full")
    assert torch.equal(full[..., :2], theta)
    assert (full[..., 2:] == math.pi / 2).all()
    assert complete_angles(theta, 2, "containment") is theta


@pytest.mark.parametrize(("name", "completion"), [("chrodal", "full"), ("chordal", "metric")])
def test_unknown_names_are_answered_with_the_known_ones(haar, name, completion):
    with pytest.raises(LorafoldError, match=r"called '(chrodal|metric)'\. Choose one of .*(chordal|containment)"):
        distance(name, haar(5, 2), haar(5, 2), completion=completion)
