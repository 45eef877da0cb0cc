"""Settings become a plan, and every mistake in them is named before any file is read."""

from __future__ import annotations

import math

import pytest
import torch

import lorafold
from lorafold.errors import LorafoldError
from lorafold.plan import make_plan
from lorafold.settings import Settings

NAN, INF = math.nan, math.inf
MISTAKES = {
    "too few weights": ({"weights": [1.0]}, r"weights=\[1.0\], expected 2 finite numbers.*'weights=\[0.5,0.5\]'"),
    "too many weights": ({"weights": [1.0, 1.0, 1.0]}, "expected 2 finite numbers, one per adapter"),
    "no weights": ({"weights": []}, r"weights=\[\], expected 2 finite numbers"),
    "weights of zero": ({"weights": [0.0, 0]}, "not all zero"),
    "a weight that is no number": ({"weights": [1.0, "0.5"]}, "expected 2 finite numbers"),
    "a weight that is true": ({"weights": [1.0, True]}, "expected 2 finite numbers"),
    "a weight that is NaN": ({"weights": [1.0, NAN]}, "expected 2 finite numbers"),
    "an infinite weight": ({"weights": [1.0, INF]}, "expected 2 finite numbers"),
    "one number for two adapters": ({"weights": 0.5}, "weights=0.5, expected 2 finite numbers"),
    "weights as text": ({"weights": "11"}, "weights='11', expected 2 finite numbers"),
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
    "an infinite scale": ({"scale": INF}, "scale=inf, expected a finite number. For example scale=1"),
    "a scale that is no number": ({"scale": "1"}, "scale='1', expected a finite number"),
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
        make_plan(Settings(device=device), 2)


def test_a_setting_that_does_not_exist():
    with pytest.raises(TypeError, match="rnak"):
        lorafold.merge(["no such file"], rnak=3)


def test_defaults():
    plan = make_plan(Settings(), 4)
    assert plan.weights == [0.25] * 4
    assert (plan.rank, plan.scale, plan.dtype) == (32, 1.0, None)
    assert plan.device == torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ({"weights": [1, -2]}, "weights", [1.0, -2.0]),
        ({"weights": (0.0, 2.5)}, "weights", [0.0, 2.5]),
        ({"rank": "max"}, "rank", None),
        ({"rank": 1}, "rank", 1),
        ({"scale": -2}, "scale", -2.0),
        ({"scale": 0}, "scale", 0.0),
        ({"dtype": "bfloat16"}, "dtype", torch.bfloat16),
        ({"dtype": "float16"}, "dtype", torch.float16),
        ({"dtype": "float32"}, "dtype", torch.float32),
        ({"device": "cpu"}, "device", torch.device("cpu")),
    ],
    ids=str,
)
def test_values_that_are_fine(change, field, value):
    found = getattr(make_plan(Settings(**change), 2), field)
    assert found == value and type(found) is type(value)


def test_one_number_is_enough_for_one_adapter():
    assert make_plan(Settings(weights=2), 1).weights == [2.0]


@pytest.mark.parametrize("solver", ["alternating", {"name": "riemannian_adam", "tol": 1e-3}])
@pytest.mark.parametrize("manifold", ["grassmann", "stiefel"])
def test_a_solver_gets_its_options_and_only_those(solver, manifold):
    bound = make_plan(Settings(solver=solver, manifold=manifold), 2).solve.keywords
    if solver == "alternating":
        assert set(bound) == {"tol", "max_sweeps"}
    else:
        assert bound["manifold"] == manifold and bound["tol"] == 1e-3
        assert set(bound) == {"manifold", "tol", "max_steps", "learning_rate", "start_sweeps"}
