"""A calibrated merge as a run: what is recorded of statistics, and that resume and reproduce notice other ones."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from lorafold.adapters import load, save
from lorafold.calibration.file import load_statistics, save_statistics
from lorafold.commands.merge.config import MergeConfig
from lorafold.commands.merge.run import merge
from lorafold.commands.reproduce.config import ReproduceConfig
from lorafold.commands.reproduce.run import reproduce
from lorafold.common.errors import LorafoldError
from lorafold.pipelines.reproduce.pipeline import reproduce as reproduce_library
from lorafold.runs.run import Run
from tests.builders import Source, random_adapter
from tests.builders import one_thread as one_thread
from tests.layer_statistics import random_moment, statistics

SHAPES = {"lora_unet_down_blocks_0_attentions_0_proj_in": (8, 6), "lora_te_text_model_encoder_layers_0_mlp_fc1": (9, 5)}


@pytest.fixture
def config(tmp_path):
    """Of two files and their statistics in tmp_path, named from there."""
    source = Source(0)
    names = {"adapters": [], "calibration": []}
    for i, name in enumerate("ab"):
        path = save(random_adapter("kohya", SHAPES, 2 + i, seed=i), tmp_path / f"{name}.safetensors")
        moments = {module: random_moment(source, n) for module, (_, n) in SHAPES.items()}
        save_statistics(statistics(load(path), moments, 3, name), tmp_path / f"{name}.stats.safetensors")
        names["adapters"].append(path.name)
        names["calibration"].append(f"{name}.stats.safetensors")
    return MergeConfig(**names, rank=3, page=False, threads=1)


@pytest.fixture
def here(tmp_path):
    (tmp_path / "run").mkdir()
    return Run(tmp_path / "run", tmp_path, ["rank=3"])


def test_statistics_are_in_the_record(config, here, tmp_path, capsys):
    metrics = merge(here, config)
    paths = [tmp_path / name for name in config.calibration]
    assert metrics["calibration"] == [
        {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in paths
    ]
    assert metrics["config"]["calibration"] == [str(path) for path in paths]
    assert metrics["config"]["objective"]["reconstruction"] == "calibrated"
    assert (metrics["config"]["subspace_weight"], metrics["config"]["scale"]) == (0.0, 1.0)
    assert "calibrated: 2 of 2 modules, ridge 0.01;" in capsys.readouterr().out
    assert json.loads((here.folder / "metrics.json").read_text())["calibration"] == metrics["calibration"]


def test_no_statistics_no_entry(config, here):
    assert "calibration" not in merge(here, replace(config, calibration=None))


def change(path):
    """Other statistics of the same adapter."""
    save_statistics(replace(load_statistics(path), inputs=61), path)


def test_a_run_with_other_statistics_is_not_finished(config, here, tmp_path):
    def when():
        return (here.folder / "merged.safetensors").stat().st_mtime_ns

    merge(here, config)
    first = when()
    merge(here, replace(config, resume=True))
    assert when() == first
    change(tmp_path / config.calibration[1])
    merge(here, replace(config, resume=True))
    assert when() > first


def test_a_run_is_reproduced_unless_statistics_have_changed(config, here, tmp_path):
    merge(here, config)
    again = replace(here, folder=tmp_path / "again")
    again.folder.mkdir()
    asked = ReproduceConfig(run=str(here.folder))
    assert reproduce(again, asked)["summary"]["verdict"] == "identical"
    assert reproduce_library(here.folder).verdict == "identical"
    change(tmp_path / config.calibration[0])
    for repeat in (lambda: reproduce(again, asked), lambda: reproduce_library(here.folder)):
        with pytest.raises(LorafoldError, match=r"a\.stats\.safetensors changed since that run"):
            repeat()
    (tmp_path / config.calibration[0]).unlink()
    with pytest.raises(LorafoldError, match=r"a\.stats\.safetensors changed since that run"):
        reproduce(again, asked)


def test_statistics_are_not_written_over(config, here):
    with pytest.raises(LorafoldError):
        merge(here, replace(config, output="a.stats.safetensors", overwrite=True))


def test_one_adapter_may_have_its_file_alone(config, here):
    one = replace(config, adapters=config.adapters[:1], calibration=config.calibration[0])
    assert merge(here, one)["summary"]["calibration"]["modules"] == 2
