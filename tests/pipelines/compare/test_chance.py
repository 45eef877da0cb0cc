"""What the tests say on random adapters, and what they find where there is something to find."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

import lorafold
from lorafold.geometry import holm, phi_p_value
from lorafold.pipelines.compare.chance import chance_of, combined_p, sign_test
from tests.builders import Source, changed, random_adapter
from tests.builders import one_thread as one_thread
from tests.oracles import update

SIDES = ("left", "right")
# Square and tall layers with the same ranks: the shape alone must not decide.
SHAPES = {"square": (96, 96), "tall": (192, 48), "wide": (48, 144), "small": (40, 40)}
RANKS = (6, 9)


@pytest.fixture(scope="module")
def null():
    """200 modules of two adapters that have nothing to do with each other, as trainers save them: float32."""
    shapes = {f"layers.{i}.{name}": shape for i in range(50) for name, shape in SHAPES.items()}
    pair = (random_adapter("kohya", shapes, rank, seed=rank, dtype=torch.float32) for rank in RANKS)
    return lorafold.compare(list(pair)).metrics()


def column(metrics, side, key, shape=None):
    modules = [module for module in metrics["modules"] if shape is None or tuple(module["shape"]) == shape]
    return np.array([module["pairs"][0][side][key] for module in modules], dtype=float)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("side", SIDES)
def test_random_phi_is_at_its_chance_level_whatever_the_shape(null, side, shape):
    phi, z = column(null, side, "phi", shape), column(null, side, "random_z", shape)
    expected = max(RANKS) / shape[side == "right"]
    assert set(column(null, side, "random", shape)) == {expected}
    assert phi.mean() == pytest.approx(expected, abs=4 * phi.std() / np.sqrt(phi.size))
    assert np.abs(z).max() < 5
    assert z.std() == pytest.approx(1, abs=4 / np.sqrt(2 * z.size))


def test_p_values_of_random_modules_are_uniform(null):
    both = [column(null, side, "random_p") for side in SIDES]
    for p in (*both, np.concatenate(both)):
        assert stats.kstest(p, "uniform").pvalue > 0.01


def test_at_most_five_percent_of_random_modules_are_significant(null):
    (pair,) = null["summary"]["pairs"]
    assert sum(pair[side]["beyond_random"] for side in SIDES) <= 0.05 * 400
    assert min(pair[side]["random_p"] for side in SIDES) > 0.01
    assert pair["verdict"] == "practically independent"
    assert not pair["shared_initialisation"]["detected"]


def drifted(adapter, size, source, **kept):
    """Factors that started from those of `adapter` and went their own way; what is not `kept` is drawn anew."""

    def change(module):
        up, down = source.normal(*module.up.shape), source.normal(*module.down.shape)
        if kept.get("down"):
            down = module.down + size * down
        if kept.get("up"):
            up = module.up + size * up
        return replace(module, up=up, down=down)

    return changed(adapter, change)


def initialisation(first, second, **changes):
    (pair,) = lorafold.compare([first, second], **changes).metrics()["summary"]["pairs"]
    return pair["shared_initialisation"], pair


SAME = {f"layers.{i}.q": (64, 48) for i in range(12)}


@pytest.mark.parametrize("drift", [0.0, 0.2, 1.0])
def test_a_shared_initialisation_is_detected(drift):
    first = random_adapter("peft", SAME, 4)
    found, pair = initialisation(first, drifted(first, drift, Source(1), down=True))
    assert found["detected"]
    assert (found["right_above_left"], found["modules"], found["p"]) == (12, 12, pytest.approx(2**-12))
    assert found["right_beyond_random"] == 12
    assert found["excess"]["right"] > 10 * abs(found["excess"]["left"])
    assert any("shared initialisation" in sentence and "Warning" in sentence for sentence in pair["reading"])


@pytest.mark.parametrize(
    "kept",
    [{}, {"up": True}, {"up": True, "down": True}],
    ids=["nothing in common", "column spaces in common", "both in common"],
)
def test_nothing_else_passes_for_a_shared_initialisation(kept):
    first = random_adapter("peft", SAME, 4)
    found, _ = initialisation(first, drifted(first, 0.3, Source(1), **kept))
    assert not found["detected"]


def test_few_modules_are_no_evidence():
    first = random_adapter("peft", {"a": (64, 48)}, 4)
    found, _ = initialisation(first, drifted(first, 0.1, Source(1), down=True))
    assert (found["detected"], found["p"]) == (False, 0.5)


def rotations(source, count, k):
    """Haar-distributed: LAPACK leaves the signs of R, and with them those of Q, to itself."""
    Q, R = torch.linalg.qr(source.normal(count, k, k))
    return Q * R.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]


def turned_cosines(A, B, spin, count=20_000):
    """Cosines of B with `spin(A)`, over the modules together."""
    size = float(torch.stack([a.square().sum() for a in A]).sum() * torch.stack([b.square().sum() for b in B]).sum())
    inner = sum((spin(a, count) * b).sum((-2, -1)) for a, b in zip(A, B, strict=True))
    return inner / size**0.5


def spread(values):
    """Standard deviation around 0, and four of its standard errors."""
    squares = values.square()
    sd = float(squares.mean().sqrt())
    return sd, 4 * float(squares.std()) / len(values) ** 0.5 / (2 * sd)


@pytest.fixture(scope="module")
def overlapping():
    """Two modules whose subspaces overlap, of different shapes, norms and ranks."""
    shapes = {"a": (7, 5), "b": (4, 9)}
    first = random_adapter("kohya", shapes, 3)
    second = drifted(first, 0.7, Source(1), up=True, down=True)
    second = changed(second, lambda module: replace(module, up=module.up[:, :2], down=module.down[:2]))
    return first, second


def test_the_spread_of_the_cosine_by_chance(overlapping):
    """Against random rotations of both sides of every module; the mean is 0 and the formula exact."""
    source, (first, second) = Source(2), overlapping
    A, B = ([update(module) for module in adapter.modules.values()] for adapter in overlapping)

    def spin(a, count):
        m, n = a.shape
        return rotations(source, count, m) @ a @ rotations(source, count, n)

    cosines = turned_cosines(A, B, spin)
    sd, error = spread(cosines)
    _, pair = initialisation(first, second)
    assert pair["cosine_null_sd"] == pytest.approx(sd, abs=error)
    assert float(cosines.mean()) == pytest.approx(0, abs=4 * sd / len(cosines) ** 0.5)


def test_the_spread_of_the_cosine_inside_the_subspaces(overlapping):
    """Against random rotations of the singular vectors of one update among themselves; the larger of the two counts."""
    source, (first, second) = Source(3), overlapping

    def spin(a, count):
        U, sigma, Vt = torch.linalg.svd(a, full_matrices=False)
        k = int((sigma > 1e-9).sum())
        return U[:, :k] @ rotations(source, count, k) * sigma[:k] @ rotations(source, count, k) @ Vt[:k]

    A, B = ([update(module) for module in adapter.modules.values()] for adapter in overlapping)
    (one, slack), (two, more) = spread(turned_cosines(A, B, spin)), spread(turned_cosines(B, A, spin))
    _, pair = initialisation(first, second)
    assert pair["cosine_shared_sd"] == pytest.approx(max(one, two), abs=max(slack, more))
    assert pair["cosine_shared_sd"] > pair["cosine_null_sd"]


def test_holm_is_over_modules_and_sides_together():
    phi = np.array([[0.3, np.nan, 0.21], [0.5, np.nan, 0.2]])
    sizes, dims = np.array([[20, 20, 20], [12, 12, 30]]), np.array([[3, 0, 3], [4, 4, 4]])
    chance = chance_of(phi, sizes, dims)
    p = [float(phi_p_value(phi[s, t], sizes[s, t], dims[0, t], dims[1, t])) for s in (0, 1) for t in (0, 2)]
    np.testing.assert_allclose(chance.p[:, [0, 2]].ravel(), p, rtol=1e-14)
    np.testing.assert_allclose(chance.p_adjusted[:, [0, 2]].ravel(), holm(p), rtol=1e-14)
    assert np.isnan([chance.p[:, 1], chance.z[:, 1], chance.expected[:, 1], chance.p_adjusted[:, 1]]).all()


def test_fishers_combination():
    values = [0.2, 0.03, 0.7]
    assert combined_p(np.array([*values, np.nan])) == pytest.approx(stats.combine_pvalues(values).pvalue, rel=1e-12)
    assert combined_p(np.array([0.123])) == pytest.approx(0.123, rel=1e-12)
    assert 0 <= combined_p(np.array([0.0, 0.5])) < 1e-300
    assert combined_p(np.array([np.nan])) is None


def test_the_sign_test():
    left, right = np.zeros(9), np.array([1.0, 2, 3, 1, 1, -1, 0, np.nan, 1])
    test = sign_test(np.stack([left, right]))
    assert (test.compared, test.larger) == (7, 6)
    assert test.p == pytest.approx(stats.binomtest(6, 7, alternative="greater").pvalue, rel=1e-12)
    assert sign_test(np.zeros((2, 3))).p is None
    assert sign_test(np.stack([np.zeros(9), np.full(9, 1e-15)])).p is None  # which is rounding
