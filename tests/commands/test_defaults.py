"""What a command does if nobody says otherwise: scripts and papers depend on it, so that a change is to be meant."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from lorafold.commands import COMMANDS

BASE = {"base": None, "input_rank": 128}
OUTPUT = {"output": None, "overwrite": False}
RUN = {"adapters": "demo", "threads": None}
PAIRS = {**BASE, **RUN, "allow_different_bases": False}
DEFAULTS = {
    "merge": {
        **PAIRS,
        **OUTPUT,
        **dict.fromkeys(("weights", "module_weights", "block_weights", "truncate", "core_rank", "core")),
        **dict.fromkeys(("path", "evaluator", "score", "tracker")),
        **dict.fromkeys(("balance", "scale", "device", "dtype"), "auto"),
        "rank": 32,
        "objective": "chordal",
        "subspace_weight": 1.0,
        "reconstruction_weight": 1.0,
        "manifold": "grassmann",
        "solver": "riemannian_adam",
        "seed": 0,
        "page": True,
        "resume": False,
    },
    "compare": {**PAIRS, "distances": ("chordal", "geodesic"), "alpha": 0.05, "page": True},
    "align": {**PAIRS, "mode": "gauge", "group": "orthogonal"},
    "inspect": {**RUN, "input_rank": 128, "csv": False},
    "resize": {**BASE, **OUTPUT, **RUN, **dict.fromkeys(("rank", "energy", "ratio", "parameters"))},
    "convert": {**BASE, **OUTPUT, **RUN, "format": None},
    "reproduce": {"run": None, "tolerance": 1e-3, "threads": None},
    "report": {"runs": "outputs", "chosen": None},
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_defaults_of_a_command(name):
    assert asdict(COMMANDS[name].config()) == DEFAULTS[name]
