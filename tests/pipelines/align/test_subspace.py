"""`mode=subspace` against dense float64: the subspaces that stay, the projection, what is said of the change."""

from __future__ import annotations

import pytest
import torch

import lorafold
from tests.builders import demo
from tests.builders import one_thread as one_thread
from tests.oracles import largest_angle, numerical_rank, relative, update
from tests.pipelines.align.align_cases import CASES, pair

SUBSPACE = ["equal ranks", "second lower", "second higher", "negative scale", "zero update", "rank-deficient"]
SUBSPACE += ["missing modules", "three adapters", "first zero", "identical"]


@pytest.mark.parametrize("case", SUBSPACE)
def test_the_subspaces_stay_and_nothing_in_them_is_nearer(case):
    """The projection is least squares over all C; where C would be singular, up to the singular values raised."""
    inputs = CASES[case]()
    result = lorafold.align(inputs, mode="subspace")
    for index, (before, after) in enumerate(zip(inputs, result.adapters, strict=True)):
        for name, module in after.modules.items():
            delta, found = update(before.modules[name]), update(module)
            assert module.rank == before.modules[name].rank
            k = numerical_rank(delta)
            assert numerical_rank(found) == k
            if index == 0 or name not in inputs[0].modules or numerical_rank(update(inputs[0].modules[name])) == 0:
                assert relative(found, delta) < 1e-9
            elif k:
                U, _, Vt = torch.linalg.svd(delta)
                U, V = U[:, :k], Vt[:k].T
                nearest = U @ (U.T @ update(inputs[0].modules[name]) @ V) @ V.T
                assert relative(found, nearest) < 1e-9 + 2e-4 * (k > inputs[0].modules[name].rank)
                Q, _, Rt = torch.linalg.svd(found)
                assert largest_angle(Q[:, :k], U) < 1e-8
                assert largest_angle(Rt[:k].T, V) < 1e-8


def test_the_change_and_the_distances_of_subspace_mode():
    inputs = pair((3, 5))
    result = lorafold.align(inputs, mode="subspace")
    for entry in result.metrics()["modules"]:
        target, before, after = (update(a.modules[entry["name"]]) for a in (inputs[0], inputs[1], result.adapters[1]))
        (found,) = entry["pairs"]
        assert found["distance"]["before"] == pytest.approx(relative(before, target), rel=1e-9)
        assert found["distance"]["after"] == pytest.approx(relative(after, target), rel=1e-9)
        assert found["distance"]["after"] < min(1, found["distance"]["before"])
        assert entry["change"][1] == pytest.approx(relative(after, before), rel=1e-6)
        assert entry["change"][0] < 1e-7
        assert found["raised"] == 2


def test_a_module_without_subspaces_has_no_part_in_the_mean_of_phi():
    metrics = lorafold.align(CASES["first zero"](), mode="subspace").metrics()
    (total,), found = metrics["summary"]["pairs"], [module["pairs"][0]["phi"] for module in metrics["modules"]]
    for side in ("left", "right"):
        known = [phi[side] for phi in found if phi[side] is not None]
        assert len(known) == len(found) - 1
        assert total["phi"][side] == pytest.approx(sum(known) / len(known))


def test_phi_is_what_compare_says_before_and_after():
    inputs = list(demo())
    result = lorafold.align(inputs, mode="subspace")
    (found,) = result.metrics()["summary"]["pairs"]
    for adapters in (inputs, result.adapters):
        (compared,) = lorafold.compare(adapters).metrics()["summary"]["pairs"]
        for side in ("left", "right"):
            assert found["phi"][side] == pytest.approx(compared[side]["phi"], abs=1e-9)
