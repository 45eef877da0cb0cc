"""What a command does if nobody says otherwise: scripts and papers depend on it, so that a change is to be meant."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from lorafold.commands import COMMANDS

BASE = {"base": None, "input_rank": 128}
OUTPUT = {"output": None, "overwrite": False}
RUN = {"adapters": "demo", "threads": None}
PLACE = {"device": "cpu"}
SELECTION = {"layers": None, "exclude": None}
PAIRS = {**BASE, **RUN, "allow_different_bases": False}
DEFAULTS = {
    "merge": {
        **PAIRS,
        **SELECTION,
        **OUTPUT,
        **dict.fromkeys(("weights", "module_weights", "block_weights", "truncate", "core_rank", "core")),
        **dict.fromkeys(("calibration", "ridge", "subspace_weight")),
        **dict.fromkeys(("path", "evaluator", "evaluator_model", "evaluator_inputs", "score", "tracker")),
        **dict.fromkeys(("balance", "scale", "device", "dtype"), "auto"),
        "rank": 32,
        "objective": "chordal",
        "reconstruction_weight": 1.0,
        "manifold": "grassmann",
        "solver": "riemannian_adam",
        "seed": 0,
        "page": True,
        "residual": False,
        "resume": False,
    },
    "distill": {
        **PAIRS,
        **OUTPUT,
        **dict.fromkeys(("calibration", "inputs", "learning_rate")),
        **dict.fromkeys(("device", "dtype"), "auto"),
        "rank": 16,
        "layers": "last",
        "held_back": 0.1,
        "max_tokens": 512,
        "manifold": "grassmann",
        "distance": "phi",
        "subspace_weight": 0.0,
        "steps": 60,
        "batch": 8,
        "core_rate": 0.004,
        "checkpointing": False,
        "save_every": 20,
        "seed": 0,
        "resume": False,
    },
    "calibrate": {
        **BASE,
        **OUTPUT,
        **RUN,
        **dict.fromkeys(("inputs", "size")),
        **dict.fromkeys(("device", "dtype"), "auto"),
        "directions": 32,
        "max_tokens": 512,
        "steps": 4,
        "batch": 8,
        "seed": 0,
        "beside": False,
    },
    "compare": {**PAIRS, **PLACE, "distances": ("chordal", "geodesic"), "alpha": 0.05, "panel": (), "page": True},
    "align": {**PAIRS, **PLACE, "mode": "gauge", "group": "orthogonal"},
    "inspect": {**RUN, "input_rank": 128, "csv": False},
    "resize": {
        **BASE,
        **OUTPUT,
        **RUN,
        **PLACE,
        **SELECTION,
        **dict.fromkeys(("rank", "energy", "ratio", "parameters")),
    },
    "convert": {**BASE, **OUTPUT, **RUN, **SELECTION, "format": None, "target": None, "model": None},
    "extract": {
        **OUTPUT,
        **SELECTION,
        **dict.fromkeys(("base", "tuned", "rank", "energy", "budget", "format", "threads")),
        **dict.fromkeys(("biases", "embeddings", "exact"), False),
        **dict.fromkeys(("device", "dtype"), "auto"),
        "seed": 0,
    },
    "fuse": {
        **OUTPUT,
        **RUN,
        **SELECTION,
        "adapters": None,
        "base": None,
        "weights": None,
        "rounding": "nearest",
        "device": "auto",
        "seed": 0,
    },
    "reproduce": {"run": None, "tolerance": 1e-3, "threads": None},
    "report": {"runs": "outputs", "chosen": None},
    "ui": {
        **RUN,
        "adapters": None,
        "max_size": 2000,
        "port": None,
        "browser": False,
        "share": False,
        "device": "auto",
    },
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_defaults_of_a_command(name):
    assert asdict(COMMANDS[name].config()) == DEFAULTS[name]
