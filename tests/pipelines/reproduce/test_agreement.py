"""Two adapters compared, against dense float64 SVDs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lorafold.pipelines.reproduce.agreement import agreements, verdict
from tests.builders import Source, changed, demo
from tests.demo_pair import FEW, gauged
from tests.oracles import update


def adapter():
    return changed(demo()[0], only=FEW)


def nudged(size):
    """Every factor with a relative perturbation of that size."""
    source = Source(3)

    def nudge(module):
        noise = source.normal(*module.up.shape)
        up = module.up.double() + size * noise * module.up.double().norm() / noise.norm()
        return replace(module, up=up, down=module.down.double())

    return changed(adapter(), nudge)


def dense_angle(one, other):
    """By the sines: ‖(I - UUᵀ)U'‖₂."""
    angles = []
    for X, Y in zip(one, other, strict=True):
        sine = torch.linalg.svdvals(Y - X @ (X.T @ Y))[0].clamp(max=1)
        angles.append(torch.arcsin(sine).item())
    return max(angles)


def spaces(module):
    k = module.rank
    U, _, Vt = torch.linalg.svd(update(module), full_matrices=False)
    return U[:, :k], Vt[:k].T


def test_the_same_adapter_is_identical():
    found = agreements(adapter(), adapter())
    assert [module.name for module in found] == list(adapter().modules)
    assert verdict(found, 0.0) == "identical"
    assert max(max(module.angle, module.difference) for module in found) < 1e-12


def test_other_factors_of_the_same_updates_are_equal_but_not_identical():
    found = agreements(adapter(), gauged(adapter(), 1))
    assert not any(module.identical for module in found)
    assert verdict(found, 1e-5) == "equal"


@pytest.mark.parametrize("size", [1e-5, 1e-2])
def test_angles_and_differences_are_those_of_dense_updates(size):
    one, other = nudged(0.0), nudged(size)
    for module in agreements(one, other):
        first, second = one.modules[module.name], other.modules[module.name]
        a, b = update(first), update(second)
        assert module.difference == pytest.approx(((a - b).norm() / max(a.norm(), b.norm())).item(), rel=1e-4)
        assert module.angle == pytest.approx(dense_angle(spaces(first), spaces(second)), rel=1e-4)


def test_the_verdict_follows_the_tolerance():
    found = agreements(nudged(0.0), nudged(1e-3))
    worst = max(max(module.angle, module.difference) for module in found)
    assert verdict(found, 1.01 * worst) == "equal"
    assert verdict(found, 0.99 * worst) == "different"


def test_a_missing_module_and_a_missing_direction_differ():
    whole, name = adapter(), FEW[0]
    found = agreements(whole, changed(whole, only=FEW[1:]))
    assert (found[0].name, found[0].difference, found[0].angle) == (name, 1.0, pytest.approx(torch.pi / 2))
    assert all(module.identical for module in found[1:])
    cut = changed(whole, lambda module: replace(module, up=module.up[:, 1:], down=module.down[1:]))
    assert min(module.angle for module in agreements(whole, cut)) == pytest.approx(torch.pi / 2)
