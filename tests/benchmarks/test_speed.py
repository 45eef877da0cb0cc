"""The command, on a small part of the SD 1.5 pair: it runs, and its numbers hang together."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.benchmark

SPEED = Path(__file__).with_name("speed.py")


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    pytest.importorskip("matplotlib", reason="draws the benchmark's figure")
    out = tmp_path_factory.mktemp("speed")
    command = [sys.executable, str(SPEED), "--cases", "tiny", "--runs", "1", "--out", str(out)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert (out / "speed.md").read_text(encoding="utf-8").strip() == shown.strip()
    assert (out / "speed.png").stat().st_size > 10_000
    return json.loads((out / "speed.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def case(result):
    return result["cases"]["tiny"]


def test_every_objective_is_merged_and_converges(case):
    assert set(case["lorafold"]) == {"chordal", "geodesic", "reconstruction_weight=0", "subspace_weight=0"}
    assert {(found["converged"], found["modules"]) for found in case["lorafold"].values()} == {(18, 18)}


def test_stages_add_up_to_no_more_than_the_total(case):
    for found in (case["floor"], *case["lorafold"].values()):
        assert 0 < sum(found["stages"].values()) <= found["seconds"]["median"]


def test_the_ratio_is_of_paired_runs(case):
    floors = case["floor"]["runs"]
    seconds = [run for found in case["lorafold"].values() for run in found["runs"]]
    ratios = [found["floor_ratio"]["median"] for found in case["lorafold"].values()]
    assert ratios == pytest.approx([a / b for a, b in zip(seconds, floors, strict=True)])


def test_floor_and_merge_write_the_same_numbers(case):
    sizes = {found["bytes"] for found in (case["floor"], *case["lorafold"].values())}
    assert max(sizes) - min(sizes) < 20_000  # headers differ


def test_every_rival_is_timed_on_every_shape(case):
    assert set(case["rivals"]) == {"PEFT svd", "PEFT ties_svd", "thin SVD", "full_matrices SVD", "svd_lowrank"}
    for found in case["rivals"].values():
        assert len(found["seconds_per_module"]) == 7
        assert all(value > 0 for value in found["seconds_per_module"].values())


def test_machine_and_versions_are_recorded(result):
    assert {"lorafold", "torch", "peft", "cpu", "cpus", "threads", "git"} <= set(result["environment"])
    assert result["environment"]["threads"] == 2
