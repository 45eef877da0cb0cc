"""Merges along a path, against dense truncations of the inputs."""

from __future__ import annotations

import csv
import json

import pytest
import torch
import yaml

from lorafold.adapters import load, save
from lorafold.commands.merge.config import MergeConfig
from lorafold.commands.merge.path import follow_path
from lorafold.common.errors import LorafoldError
from lorafold.runs.run import DEMO_SAID, Run
from tests.builders import changed, demo
from tests.demo_pair import FEW
from tests.oracles import relative, update, updates

RANK = 5


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A few modules of the shipped pair, on disk."""
    folder = tmp_path_factory.mktemp("pair")
    return [str(save(changed(adapter, only=FEW), folder / str(i))) for i, adapter in enumerate(demo())]


def walked(folder, pair, count, **change):
    run = Run(folder, folder, alone=False)
    return follow_path(run, MergeConfig(**{"rank": RANK, **change}, adapters=pair, path=count, threads=1))


def truncation(module):
    U, S, Vt = torch.linalg.svd(update(module), full_matrices=False)
    return (U[:, :RANK] * S[:RANK]) @ Vt[:RANK]


@pytest.mark.parametrize("objective", ["chordal", "phi", "geodesic"])
def test_the_ends_are_the_best_approximations_of_the_inputs(pair, tmp_path, objective):
    walked(tmp_path, pair, 2, objective=objective)
    for end, path in zip(("t0.000", "t1.000"), pair, strict=True):
        merged = updates(load(tmp_path / end / "merged"))
        for name, module in load(path).modules.items():
            assert relative(merged[name], truncation(module)) < 1e-6


def test_the_way_leads_from_the_one_to_the_other(pair, tmp_path):
    points = walked(tmp_path, pair, 5, solver="alternating")
    assert [point["t"] for point in points] == [0, 0.25, 0.5, 0.75, 1]
    to_first, to_second = ([point[f"phi_left_{i}"] for point in points] for i in (1, 2))
    assert to_first[0] == pytest.approx(1) and to_second[-1] == pytest.approx(1)
    assert to_first == sorted(to_first, reverse=True) and to_second == sorted(to_second)
    assert points[0]["retained_1"] > points[-1]["retained_1"]


def test_every_point_is_a_run_and_the_path_a_table(pair, tmp_path):
    points = walked(tmp_path, pair, 3, solver="alternating")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["path.csv", "resolved.yaml", "t0.000", "t0.500", "t1.000"]
    weights = [json.loads(path.read_text())["config"]["weights"] for path in sorted(tmp_path.glob("*/metrics.json"))]
    assert weights == [[1, 0], [0.5, 0.5], [0, 1]]
    rows = list(csv.DictReader((tmp_path / "path.csv").read_text().splitlines()))
    assert [{key: float(value) for key, value in row.items()} for row in rows] == points
    again = yaml.safe_load((tmp_path / "resolved.yaml").read_text())
    assert (again["path"], again["weights"], again["rank"]) == (3, None, RANK)


def test_alone_it_prints_a_table(tmp_path, capsys, monkeypatch):
    """And says that nobody asked for these adapters."""

    def stand_in(run, config):
        t = config.weights[1]
        phi = {"left": [1 - t, t], "right": [0.5, None]}
        summary = {"phi": phi, "retained": [0.25, 1.0], "reconstruction_error": t / 3, "objective": 1.0}
        return {"config": {}, "summary": {**summary, "converged": 2, "modules": 2}}

    monkeypatch.setattr("lorafold.commands.merge.path.merge", stand_in)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    follow_path(Run(tmp_path / "run", tmp_path), MergeConfig(adapters="demo", path=3))
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if "──" not in line]
    assert lines == [
        DEMO_SAID.split(),
        ["phi", "left", "phi", "right", "kept"],
        ["t", "#1", "#2", "#1", "#2", "#1", "#2", "error"],
        ["0.000", "1.000", "0.000", "0.500", "-", "0.250", "1.000", "0.000"],
        ["0.500", "0.500", "0.500", "0.500", "-", "0.250", "1.000", "0.167"],
        ["1.000", "0.000", "1.000", "0.500", "-", "0.250", "1.000", "0.333"],
        ["merged", "adapters:", "run/t*"],
    ]


@pytest.mark.parametrize(
    ("count", "change", "message"),
    [
        (1, {}, "path=1, expected 2"),
        (3, {"weights": [0.5, 0.5]}, "leave out weights"),
        (3, {"output": "out"}, "leave out output"),
        (3, {"adapters": ["a"]}, "with 1 adapters, expected 2"),
        (3, {"adapters": ["a", "b", "c"]}, "with 3 adapters, expected 2"),
    ],
    ids=str,
)
def test_what_is_no_path_is_refused(count, change, message, tmp_path):
    config = MergeConfig(**{"adapters": ["a", "b"], "path": count, **change})
    with pytest.raises(LorafoldError, match=message):
        follow_path(Run(tmp_path, tmp_path), config)
    assert list(tmp_path.iterdir()) == []
