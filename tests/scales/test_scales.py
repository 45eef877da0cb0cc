"""Every scale against its definition on dense matrices, and what must not matter to it.

M = modules, N = adapters.
"""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from lorafold.pipelines.merge.plan import make_plan
from lorafold.pipelines.merge.settings import MergeSettings
from lorafold.scales import SCALES, Scale, UpdateNorms, capped_for_sum, joined_norms, update_norms
from tests.builders import Source

M, N, R = 4, 3, 5
EVERY = pytest.mark.parametrize("name", SCALES)
# Of whole adapters, and differing between modules.
WEIGHTS = {
    "equal": [[1 / 3] * 3] * M,
    "one subtracted": [[0.7, -0.4, 0.5]] * M,
    "one left out": [[0.7, 0.0, 0.5]] * M,
    "by module": [[0.7, 0.4, 0.5], [0.0, 0.0, 0.0], [0.0, -2.0, 0.1], [0.7, 0.4, 0.5]],
}


def cores(seed: int = 0) -> Tensor:
    """C_i (M, N, R, R): unequal adapters, of which the last lacks a module; what they share makes merges of all."""
    source = Source(seed)
    own = source.normal(M, N, R, R) * torch.tensor([1.0, 3.0, 0.5], dtype=torch.float64)[:, None, None]
    own[1, 2] = 0.0
    return own


def measured(of: Tensor, weights: list[list[float]], merged: Tensor | None = None) -> UpdateNorms:
    """The sizes of cores whose updates are larger by what lies outside the subspaces."""
    w = torch.tensor(weights, dtype=torch.float64)
    if merged is None:  # some rule that is not linear
        merged = (w[..., None, None] * of * of.abs()).sum(1)
    return update_norms(of, merged, w, 1.25 * of.square().sum((-2, -1)))


def vectors(of: Tensor, weights: np.ndarray) -> list[np.ndarray]:
    """Whole adapters as vectors, with their sign, where they have a weight: module by module."""
    return [np.sign(w)[:, None] * part.flatten(1).numpy() for w, part in zip(weights.T, of.unbind(1), strict=True)]


def present_shares(of: Tensor, w: np.ndarray) -> np.ndarray:
    """ŵ_i over the adapters that have the module; none of these is faint."""
    size = np.abs(w) * (of.flatten(2).norm(dim=2).numpy() > 0)
    return size / np.maximum(size.sum(1, keepdims=True), 1e-300)


def loss(name: str, strength: float, of: Tensor, weights: list[list[float]], merged: Tensor) -> float:
    """What a scale by least squares minimises."""
    w = np.array(weights)
    W = strength * merged.flatten(1).numpy()  # (M, R²)
    if name == "target":
        M_ = sum(w[:, i : i + 1] * of[:, i].flatten(1).numpy() for i in range(N))
        return float(((W - M_) ** 2).sum())
    shares, total = present_shares(of, w), 0.0
    for i, X in enumerate(vectors(of, w)):
        energy = 1.25 * ((X**2).sum(1) * (w[:, i] != 0)).sum()
        total += float((shares[:, i] * ((W - X) ** 2).sum(1)).sum() / energy) if energy else 0.0
    return total


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize("name", ["each", "target"])
def test_scales_by_least_squares_minimise_their_loss(name, weights):
    of = cores()
    merged = (torch.tensor(weights, dtype=torch.float64)[..., None, None] * of * of.abs()).sum(1)
    best = minimize_scalar(lambda s: loss(name, s, of, weights, merged), options={"xtol": 1e-12})
    assert float(SCALES[name](measured(of, weights, merged))) == pytest.approx(best.x, rel=1e-6)


def test_norms_are_those_of_what_they_are_named_after():
    of, w = cores(), [0.5, -0.25, 0.25]
    merged = Source(1).normal(M, R, R)
    found = measured(of, [w] * M, merged)
    norms = [1.25**0.5 * float(of[:, i].norm()) for i in range(N)]
    size = float(merged.norm())
    assert float(SCALES["max_norm"](found)) * size == pytest.approx(max(norms))
    shares, energies = present_shares(of, np.array([w] * M)), 1.25 * of.square().sum((-2, -1)).numpy()
    energy = (shares * energies).sum()
    assert float(SCALES["mean_norm"](found)) * size == pytest.approx(energy**0.5)
    assert float(SCALES["retained"](found)) * size == pytest.approx((energy / 1.25) ** 0.5)


def test_presence_is_the_mean_coefficient_of_the_inputs():
    of, w = cores(), [0.5, -0.2, 0.3]
    found = measured(of, [w] * M)
    strength = float(SCALES["presence"](found))
    merged = (torch.tensor(w, dtype=torch.float64)[:, None, None] * of * of.abs()).sum(1)
    met = (merged[:, None] * of).sum((-2, -1)).numpy()  # ⟨ΔW_3, ΔW_i⟩
    signed = np.sign(w) * present_shares(of, np.array([w] * M))
    parts = (signed * met).sum(0) / (1.25 * of.square().sum((0, 2, 3)).numpy())
    whole = (np.abs(signed) * 1.25 * of.square().sum((-2, -1)).numpy()).sum(0) / (
        1.25 * of.square().sum((0, 2, 3)).numpy()
    )
    assert strength * parts.sum() == pytest.approx(whole.sum())


@pytest.mark.parametrize(
    ("name", "expected"),
    {"max_norm": 3**0.5, "mean_norm": 3**0.5, "retained": 3**0.5, "presence": 3, "each": 1, "target": 1}.items(),
)
def test_the_mean_of_three_orthogonal_updates_of_one_size(name, expected):
    """Their mean is 1/√3 as long as each; the plain sum, three times the mean, has each of them at full strength."""
    of = torch.zeros(1, 3, 3, 3, dtype=torch.float64)
    of[0, range(3), range(3), range(3)] = 2.0
    w = torch.full((1, 3), 1 / 3, dtype=torch.float64)
    found = update_norms(of, of.mean(1), w, of.square().sum((-2, -1)))
    assert float(SCALES[name](found)) == pytest.approx(expected)


@EVERY
@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
def test_neither_the_order_nor_a_common_factor_matters(name, weights):
    of = cores()
    merged = (torch.tensor(weights, dtype=torch.float64)[..., None, None] * of * of.abs()).sum(1)
    one = SCALES[name](measured(of, weights, merged))
    swapped = [2, 0, 1]
    assert torch.allclose(
        SCALES[name](measured(of[:, swapped], [[w[i] for i in swapped] for w in weights], merged)), one
    )
    assert torch.allclose(SCALES[name](measured(7 * of, weights, 7 * merged)), one)
    assert torch.allclose(SCALES[name](measured(of, weights, 7 * merged)), one / 7)
    turned = torch.linalg.qr(Source(3).normal(R, R))[0]
    assert torch.allclose(SCALES[name](measured(of @ turned, weights, merged @ turned)), one)


@EVERY
def test_the_size_of_the_weights_does_not_matter_but_to_the_weighted_sum(name):
    of, merged = cores(), Source(1).normal(M, R, R) + cores().sum(1)
    one, five = (SCALES[name](measured(of, [[f * 0.7, f * 0.2, f * 0.1]] * M, merged)) for f in (1, 5))
    assert torch.allclose(five, 5 * one if name == "target" else one)


@EVERY
def test_an_adapter_of_weight_zero_or_without_any_update_does_not_matter(name):
    of = cores()
    two = measured(of[:, :2], [[0.5, 0.5]] * M, of[:, :2].sum(1))
    three = measured(of, [[0.5, 0.5, 0.0]] * M, of[:, :2].sum(1))
    assert torch.allclose(SCALES[name](three), SCALES[name](two))


@EVERY
def test_an_adapter_that_changes_nothing_is_no_obstacle(name):
    of = cores()
    of[:, 2] = 0.0
    assert bool(SCALES[name](measured(of, [[0.4, 0.3, 0.3]] * M, of.sum(1))).isfinite())


@EVERY
def test_pieces_are_joined_module_by_module(name):
    whole = measured(cores(), WEIGHTS["by module"])
    parts = [
        UpdateNorms(*(getattr(whole, field.name)[rows] for field in fields(UpdateNorms))) for rows in ([0], [1, 2], [3])
    ]
    assert torch.equal(SCALES[name](joined_norms(parts)), SCALES[name](whole))
    assert joined_norms(parts).merged.shape == (M,)


@EVERY
def test_modules_of_zero_weight_do_not_matter(name):
    of, weights = cores(), [[0.7, 0.3, 0.5], [0.0, 0.0, 0.0], [0.7, 0.3, 0.5], [0.7, 0.3, 0.5]]
    found = measured(of, weights)
    other = replace(found, inputs=found.inputs * torch.tensor([1.0, 100.0, 1.0, 1.0])[:, None])
    assert torch.equal(SCALES[name](found), SCALES[name](other))


def test_a_plan_knows_every_scale():
    for name, function in SCALES.items():
        plan = make_plan(MergeSettings(scale=name), 2)
        assert (plan.scale, plan.rescale) == (1.0, function)
    assert make_plan(MergeSettings(scale=2), 2).rescale is None


def test_where_nothing_is_left_the_cap_is_a_number():
    """Also with a scale of the user's own."""
    nothing = UpdateNorms(torch.ones(M, N).double(), *(torch.zeros(M, N).double(),) * 3, torch.zeros(M).double())
    own = Scale("own", lambda sizes: torch.tensor(3.0, dtype=torch.float64), gives_norm=True)
    assert float(capped_for_sum(own, nothing)) == 0
