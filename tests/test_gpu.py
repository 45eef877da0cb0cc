"""A computation on a GPU stays there, and gives what the CPU gives; where there is none, on one that is pretended."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

import lorafold
from lorafold.solvers import _settle
from tests.builders import random_adapter
from tests.demo_pair import change
from tests.pretended_gpu import OnGpu, pretended_gpu

SHAPES = {f"lora_unet_{name}_to_q": (14 + 4 * i, 18) for i, name in enumerate("ab")}
CONF = Path(lorafold.__file__).parents[1] / "conf"
FIRST = {"chordal", "geodesic", "ties", "karcher"}
ADAM = {"name": "riemannian_adam", "start": "closed_form", "max_steps": 400}
on_gpu = nullcontext if torch.cuda.is_available() else pretended_gpu


def named(group):
    """All choices of a group; most of them take seconds."""
    names = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    return [pytest.param(name, marks=() if name in FIRST else pytest.mark.slow) for name in names]


def pair():
    return [random_adapter("kohya", SHAPES, 3, seed=seed) for seed in (1, 2)]


def assert_alike(**settings):
    with on_gpu():
        there = lorafold.merge(pair(), rank=2, device="cuda", **settings)
    here = lorafold.merge(pair(), rank=2, device="cpu", **settings)
    assert not any(isinstance(module.up, OnGpu) for module in there.adapter.modules.values())
    assert change(there, here) < 1e-3


def test_tensors_of_both_do_not_meet():
    with pretended_gpu():
        there = torch.ones(2, 2, device="cuda")
        assert there.is_cuda and (there @ there).is_cuda and not there.cpu().is_cuda and not there.to("cpu").is_cuda
        assert torch.zeros_like(there).is_cuda and torch.linalg.qr(there).Q.is_cuda and there.sum().item() == 4
        there[0] = 5.0
        assert there.tolist() == [[5, 5], [1, 1]] and there.zero_() is there
        for meet in (lambda: there + torch.ones(2), there.numpy, lambda: torch.cat([there, torch.ones(1, 2)])):
            with pytest.raises(RuntimeError, match="on the host"):
                meet()


@pytest.mark.parametrize("objective", named("objective"))
def test_every_objective_from_several_starts(monkeypatch, objective):
    distinct, of_later_starts = _settle._distinct, []

    def seen(*args):
        of_later_starts.append(distinct(*args))
        return of_later_starts[-1]

    monkeypatch.setattr(_settle, "_distinct", seen)
    assert_alike(objective=objective, solver={"name": "riemannian_adam", "starts": 10 if objective == "chordal" else 6})
    # those of phi all lead to the same point
    assert of_later_starts[0].is_cuda and (objective == "phi" or bool(of_later_starts[0].any()))


@pytest.mark.parametrize("core", named("core"))
def test_every_rule(core):
    assert_alike(core=core)


@pytest.mark.parametrize(
    "settings",
    [
        {"subspace_weight": 0.0},
        {"reconstruction_weight": 0.0},
        {"solver": "alternating"},
        pytest.param({"solver": "trust_region"}, marks=pytest.mark.slow),
        pytest.param({"solver": ADAM}, marks=pytest.mark.cuda),
        pytest.param({"solver": ADAM, "manifold": "stiefel"}, marks=pytest.mark.cuda),
        *(pytest.param({"scale": scale}, marks=pytest.mark.slow) for scale in ("each", "svc", "presence", "target")),
    ],
    ids=str,
)
def test_other_settings(settings):
    assert_alike(**settings)


@pytest.mark.parametrize(
    "command",
    [lorafold.compare, lorafold.align, lambda pair, device: lorafold.resize(pair[0], rank=2, device=device)],
    ids=["compare", "align", "resize"],
)
def test_other_commands(command):
    with on_gpu():
        there = command(pair(), device="cuda").metrics()["modules"]
    here = command(pair(), device="cpu").metrics()["modules"]
    assert list(numbers(there)) == pytest.approx(list(numbers(here)), rel=1e-6, abs=1e-6)


def numbers(record):
    """All numbers of a record, in order."""
    if isinstance(record, dict | list):
        for value in record.values() if isinstance(record, dict) else record:
            yield from numbers(value)
    elif isinstance(record, int | float):
        yield record
