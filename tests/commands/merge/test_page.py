"""The page that a merge leaves: what it compares, and what happens when it cannot be written."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from lorafold.adapters import load, save
from lorafold.commands.merge import page as merge_page
from lorafold.commands.merge.closing import in_words
from lorafold.commands.merge.config import MergeConfig
from lorafold.commands.merge.run import merge
from lorafold.pipelines.merge.settings import MergeSettings
from lorafold.runs.run import Run
from tests.builders import one_thread as one_thread
from tests.builders import random_adapter

SHAPES = {"lora_unet_mid_block_attentions_0_to_q": (9, 7), "lora_unet_mid_block_attentions_0_to_k": (12, 7)}
SETTINGS = MergeSettings(rank=3, solver="alternating")


@pytest.fixture
def here(tmp_path):
    (tmp_path / "run").mkdir()
    return Run(tmp_path / "run", tmp_path)


def config(here, count, **changes):
    names = [f"{number}.safetensors" for number in range(count)]
    for number, name in enumerate(names):
        save(random_adapter("kohya", SHAPES, 2 + number, seed=number), here.base / name)
    return MergeConfig(**vars(SETTINGS), adapters=names, **changes)


def content(folder):
    (data,) = re.findall(
        r'<script[^>]*type="application/json"[^>]*>(.*?)</script>', (folder / "overlap.html").read_text(), re.S
    )
    return json.loads(data)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_merged_adapter_is_the_last_of_the_page(count, here):
    metrics = merge(here, config(here, count))
    page = content(here.folder)
    assert page["command"] == "merge"
    assert [adapter["label"] for adapter in page["adapters"]] == [*map(str, range(1, count + 1)), "merged"]
    assert page["adapters"][0]["sha256"] == metrics["inputs"][0]["sha256"]
    assert page["adapters"][-1]["path"] == metrics["output"]["path"]
    assert len(page["pairs"]) == (count + 1) * count // 2
    assert metrics["page"] == str(here.folder / "overlap.html")


def test_what_the_page_says_is_what_the_merge_measured(here):
    """The overlap of input and merged adapter, computed from the factors, is that of the solver's subspaces."""
    metrics = merge(here, config(here, 2))
    (after,) = [pair for pair in content(here.folder)["pairs"] if pair["pair"] == [0, 2]]
    for side in ("left", "right"):
        assert after["summary"][side]["phi"] == pytest.approx(
            metrics["summary"]["phi"][side][0], abs=1e-4
        )  # the page rounds


def test_the_page_opens_with_what_the_merge_came_to(here):
    metrics = merge(here, config(here, 2))
    assert {"read", "solve", "compare", "total"} <= content(here.folder)["run"]["seconds"].keys()
    result = content(here.folder)["result"]
    assert result["words"] == in_words(metrics)
    for key, value in {
        "kept": metrics["summary"]["retained"],
        "error": metrics["summary"]["reconstruction_error"],
        "scale": metrics["summary"]["scale"],
        "gap": metrics["summary"]["gap"]["largest"],
        "rank": 3,
    }.items():
        assert result[key] == pytest.approx(value, rel=1e-3, abs=1e-6)


def test_the_page_of_a_merge_looks_at_no_factor_again(here, monkeypatch):
    monkeypatch.setattr(merge_page, "compare_roughly", None)
    assert merge(here, config(here, 2))["page"]


def test_where_the_merge_knows_nothing_of_its_inputs_the_page_asks_the_factors(here):
    merge(here, replace(config(here, 2), truncate=1))
    assert [pair["summary"]["modules"] for pair in content(here.folder)["pairs"]] == [2, 2, 2]


def test_no_page_where_none_is_wanted(here):
    metrics = merge(here, config(here, 2, page=False))
    assert "page" not in metrics
    assert not (here.folder / "overlap.html").exists()
    assert metrics["config"]["page"] is False


def test_a_page_that_fails_is_said_and_the_merge_stands(here, monkeypatch, caplog, capsys):
    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(merge_page, "compared_already", broken)
    metrics = merge(here, config(here, 2))
    assert metrics["page"] is None
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning == f"no page: {here.folder / 'overlap.html'} cannot be written (OSError: disk full)"
    assert load(here.folder / "merged.safetensors").modules
    assert json.loads((here.folder / "metrics.json").read_text())["page"] is None
    assert "overlap before" not in capsys.readouterr().out
