"""Settings become a plan, and every mistake in them is named before any file is read."""

from __future__ import annotations

import math

import pytest
import torch

import lorafold
from lorafold.common.errors import LorafoldError
from lorafold.pipelines.merge.plan import make_plan
from lorafold.pipelines.merge.settings import MergeSettings

NAN, INF = math.nan, math.inf
MISTAKES = {
    "rank 0": ({"rank": 0}, "rank=0, expected a whole number >= 1, or max. For example rank=32"),
    "a negative rank": ({"rank": -4}, "rank=-4, expected a whole number >= 1"),
    "a fractional rank": ({"rank": 8.5}, "rank=8.5, expected a whole number >= 1"),
    "a rank of 8.0": ({"rank": 8.0}, "rank=8.0, expected a whole number >= 1"),
    "a rank that is true": ({"rank": True}, "rank=True, expected"),
    "an unknown word for rank": ({"rank": "full"}, "rank='full', expected"),
    "no rank": ({"rank": None}, "rank=None, expected"),
    "an unknown objective": ({"objective": "chrodal"}, r"unknown objective 'chrodal'.*Did you mean 'chordal'\?"),
    "an unknown distance": (
        {"objective": {"name": "phi", "distance": "martian"}},
        "objective.distance='martian' is unknown. Choose one of .*geodesic",
    ),
    "an unknown reconstruction": (
        {"objective": {"name": "phi", "reconstruction": "some"}},
        "objective.reconstruction='some' is unknown. Choose one of mean, each",
    ),
    "an unknown option": ({"objective": {"name": "phi", "weight": 1}}, "unknown option objective.weight"),
    "directions of another type": ({"objective": {"name": "phi", "directions": None}}, "directions=None, expected"),
    "directions 0": ({"objective": {"name": "phi", "directions": 0}}, "directions=0, expected"),
    "directions of all the energy": ({"objective": {"name": "phi", "directions": 1.0}}, "directions=1.0, expected"),
    "an unknown word for directions": ({"objective": {"name": "phi", "directions": "most"}}, "directions='most', exp"),
    "an unknown solver": ({"solver": "sgd"}, "unknown solver 'sgd'. Choose one of alternating, riemannian_adam"),
    "an option of another solver": ({"solver": {"name": "alternating", "max_steps": 3}}, "option solver.max_steps"),
    "a tolerance that is no number": ({"solver": {"name": "alternating", "tol": "low"}}, "tol='low', expected a num"),
    "steps that are no whole number": (
        {"solver": {"name": "riemannian_adam", "max_steps": 2.5}},
        "max_steps=2.5, expected a whole number",
    ),
    "a tolerance below 0": (
        {"solver": {"name": "alternating", "tol": -1e-6}},
        "solver.tol=-1e-06, expected a finite number >= 0",
    ),
    "a tolerance that is NaN": ({"solver": {"name": "trust_region", "tol": NAN}}, "solver.tol=nan, expected a finite"),
    "steps below 0": ({"solver": {"name": "riemannian_adam", "max_steps": -1}}, "solver.max_steps=-1, expected a fini"),
    "an unknown manifold": ({"manifold": "sphere"}, "unknown manifold 'sphere'. Choose one of grassmann, gras"),
    "an unknown core rule": ({"core": "summ"}, r"unknown core 'summ'.*Did you mean 'sum'\?"),
    "an option of a rule without any": ({"core": {"name": "sum", "density": 1}}, "It has no options"),
    "a subspace weight below 0": ({"subspace_weight": -1.0}, "subspace_weight=-1.0, expected >= 0"),
    "a reconstruction weight below 0": ({"reconstruction_weight": -0.1}, "reconstruction_weight=-0.1, expected >= 0"),
    "a subspace weight that is NaN": ({"subspace_weight": NAN}, "subspace_weight=nan, expected a finite number"),
    "both weights 0": (
        {"subspace_weight": 0, "reconstruction_weight": 0.0},
        "subspace_weight and reconstruction_weight are both 0. Leave one above 0",
    ),
    "a rescale above 1": (
        {"objective": {"name": "phi", "rescale": 1.5}},
        "objective.rescale=1.5, expected a number from 0 to 1",
    ),
    "an infinite scale": ({"scale": INF}, "scale=inf, expected a finite number or one of each, .* For example scale=1"),
    "a scale that is no number": ({"scale": "1"}, "scale='1', expected a finite number"),
    "an unknown scale": ({"scale": "eahc"}, r"scale='eahc', expected .* or one of .*Did you mean 'each'\?"),
    "a core rank below the rank": ({"core_rank": 8}, "core_rank=8, but rank=32 is more .*core_rank=max"),
    "a core rank below all ranks": ({"core_rank": 8, "rank": "max"}, "core_rank=8, but rank=max is more"),
    "a core rank of 0": ({"core_rank": 0}, "core_rank=0, expected a whole number >= 1, or max"),
    "a truncation to 0": ({"truncate": 0}, "truncate=0, expected a whole number >= 1, or one per adapter"),
    "a truncation of one adapter of two": ({"truncate": [8]}, r"truncate=\[8\], expected .*'truncate=\[8,8\]'"),
    "a truncation in words": ({"truncate": "half"}, "truncate='half', expected a whole number"),
    "a balance beyond one norm": ({"balance": 1.5}, "balance=1.5, expected saturate, true, false or a number"),
    "a balance that is no number": ({"balance": INF - INF}, "balance=nan, expected saturate, true, false or a number"),
    "a balance in words": ({"balance": "half"}, "balance='half', expected saturate, true, false or"),
    "an unknown device": ({"device": "gpu"}, "device='gpu' is unknown. Choose auto, cpu or cuda"),
    "a device of another kind": ({"device": "mps"}, "device='mps' is not available here. Use device=auto"),
    "an unknown dtype": ({"dtype": "fp8"}, "dtype='fp8' is unknown. Choose one of float32, float16, bfloat16"),
}


@pytest.mark.parametrize(("change", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_named_before_any_file_is_read(change, message):
    with pytest.raises(LorafoldError, match=message) as caught:
        lorafold.merge(["no such file", "nor this one"], **change)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_a_device_that_is_not_there(device):
    with pytest.raises(LorafoldError, match=f"device='{device}' is not available here. Use device=auto or device=cpu"):
        make_plan(MergeSettings(device=device), 2)


def test_a_rule_for_another_number_of_adapters():
    with pytest.raises(LorafoldError, match=r"3 adapters, but core=slerp takes 2\. Other rules"):
        make_plan(MergeSettings(core="slerp"), 3)
    assert make_plan(MergeSettings(core="slerp"), 2).core.name == "slerp"


def test_a_setting_that_does_not_exist():
    with pytest.raises(LorafoldError, match="rnak"):
        lorafold.merge(["no such file"], rnak=3)


def test_defaults():
    plan = make_plan(MergeSettings(), 4)
    assert plan.weights.default == [0.25] * 4
    assert (plan.rank, plan.scale, plan.dtype) == (32, 1.0, None)
    assert plan.device == torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ({"rank": "max"}, "rank", None),
        ({"rank": 1}, "rank", 1),
        ({"scale": -2}, "scale", -2.0),
        ({"scale": 0}, "scale", 0.0),
        ({"scale": "each"}, "scale", 1.0),
        ({"core_rank": "max"}, "core_rank", None),
        ({"core_rank": 40}, "core_rank", 40),
        ({"truncate": 4}, "truncate", [4, 4]),
        ({"truncate": [4, None]}, "truncate", [4, None]),
        ({"dtype": "bfloat16"}, "dtype", torch.bfloat16),
        ({"dtype": "float16"}, "dtype", torch.float16),
        ({"dtype": "float32"}, "dtype", torch.float32),
        ({"device": "cpu"}, "device", torch.device("cpu")),
    ],
    ids=str,
)
def test_values_that_are_fine(change, field, value):
    found = getattr(make_plan(MergeSettings(**change), 2), field)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("solver", ["alternating", {"name": "riemannian_adam", "tol": 1e-3}])
@pytest.mark.parametrize("manifold", ["grassmann", "stiefel"])
def test_a_solver_gets_its_options_and_only_those(solver, manifold):
    bound = make_plan(MergeSettings(solver=solver, manifold=manifold), 2).solve.keywords
    if solver == "alternating":
        assert set(bound) == {"tol", "max_sweeps", "starts"}
    else:
        assert bound["manifold"] == manifold and bound["tol"] == 1e-3
        assert set(bound) == {"manifold", "tol", "max_steps", "learning_rate", "start", "starts"}
