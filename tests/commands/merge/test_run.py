"""One run without Hydra: what it leaves, where, and what a failure leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lorafold.adapters import load
from lorafold.adapters.formats.fingerprint import fingerprint
from lorafold.commands.merge.config import MergeConfig
from lorafold.commands.merge.run import merge
from lorafold.common.errors import LorafoldError
from lorafold.common.parallel import cpu_threads
from lorafold.pipelines.merge.settings import MergeSettings
from lorafold.runs.inputs import adapter_paths
from lorafold.runs.run import Run
from tests.builders import one_thread as one_thread

SETTINGS = MergeSettings(rank=3, solver="alternating")
NAMES = ("lora_unet_down_blocks_0_attentions_0_proj_in", "lora_te_text_model_encoder_layers_0_mlp_fc1")


@pytest.fixture
def pair(tmp_path):
    """Two kohya files of two modules, in tmp_path, and their names."""
    random = torch.Generator().manual_seed(0)
    for name, rank in (("a.safetensors", 2), ("b.safetensors", 3)):
        tensors = {}
        for module in NAMES:
            tensors[f"{module}.lora_down.weight"] = torch.randn(rank, 6, generator=random)
            tensors[f"{module}.lora_up.weight"] = torch.randn(8, rank, generator=random)
            tensors[f"{module}.alpha"] = torch.tensor(float(rank))
        save_file(tensors, tmp_path / name)
    return ["a.safetensors", "b.safetensors"]


@pytest.fixture
def here(tmp_path):
    (tmp_path / "run").mkdir()
    return Run(tmp_path / "run", tmp_path, ["rank=3"])


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_run_leaves_adapter_settings_and_metrics(pair, here, tmp_path, capsys):
    metrics = merge(here, MergeConfig(**vars(SETTINGS), adapters=pair))
    assert left(here.folder) == ["merged.safetensors", "metrics.json", "overlap.html", "resolved.yaml"]
    assert set(load(here.folder / "merged.safetensors").modules) == set(NAMES)
    assert json.loads((here.folder / "metrics.json").read_text()) == json.loads(json.dumps(metrics, default=str))
    assert [entry["sha256"] for entry in metrics["inputs"]] == [fingerprint(tmp_path / name) for name in pair]
    assert "down block 0" in capsys.readouterr().out


def test_metrics_have_the_one_shape_of_all_commands(pair, here):
    metrics = merge(here, MergeConfig(**vars(SETTINGS), adapters=pair))
    assert set(metrics) == {"command", "config", "inputs", "summary", "modules", "environment", "output", "page"}
    assert metrics["config"]["adapters"] == [str(here.base / name) for name in pair]
    assert metrics["config"]["solver"]["name"] == "alternating"
    assert metrics["output"] == {"path": str(here.folder / "merged.safetensors"), "format": "kohya"}
    assert {"write", "total"} <= set(metrics["summary"]["seconds"])


def test_an_output_is_relative_to_where_the_user_stands(pair, here, tmp_path):
    merge(here, MergeConfig(**vars(SETTINGS), adapters=pair, output="mine/out.safetensors"))
    assert load(tmp_path / "mine/out.safetensors").modules
    assert left(here.folder) == ["metrics.json", "overlap.html", "resolved.yaml"]


def test_a_run_of_a_sweep_says_one_line(pair, here, capsys):
    merge(Run(here.folder, here.base, ["rank=3"], alone=False), MergeConfig(**vars(SETTINGS), adapters=pair))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("rank=3: phi") and line.endswith(str(here.folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 0}, "rank"),
        ({"weights": [1.0, 1.0, 1.0]}, "weights"),
        ({"core": {"name": "sum", "foo": 1}}, "foo"),
        ({"adapters": ["a.safetensors", "nope.safetensors"]}, "nope.safetensors"),
        ({"adapters": "a.safetensors"}, "expected a list"),
        ({"output": "a.safetensors"}, "a.safetensors"),
        ({"threads": 0}, "threads=0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_a_mistake_leaves_nothing_and_harms_no_input(change, message, pair, here, tmp_path):
    before = [fingerprint(tmp_path / name) for name in pair]
    with pytest.raises(LorafoldError, match=message):
        merge(here, MergeConfig(**{**vars(SETTINGS), "adapters": pair, **change}))
    assert left(here.folder) == []
    assert left(tmp_path) == ["a.safetensors", "b.safetensors", "run"]
    assert [fingerprint(tmp_path / name) for name in pair] == before


def test_without_an_adapter_there_are_no_metrics(pair, here, monkeypatch):
    def full_disk(*_, **__):
        raise LorafoldError("cannot be written")

    monkeypatch.setattr("lorafold.commands.merge.run.save", full_disk)
    with pytest.raises(LorafoldError):
        merge(here, MergeConfig(**vars(SETTINGS), adapters=pair))
    assert left(here.folder) == []


def test_paths_start_where_the_user_stands(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert adapter_paths(["a", "/b/c", "~/d", 5], Path("/base")) == [
        *(Path("/base/a"), Path("/b/c"), tmp_path / "home/d", Path("/base/5"))
    ]
    assert all(path.is_dir() for path in adapter_paths("demo", tmp_path))


@pytest.mark.parametrize("count", [None, 1, 2])
def test_threads_are_as_before_afterwards(count, one_thread):
    torch.set_num_threads(3)
    with pytest.raises(KeyError), cpu_threads(count):
        assert torch.get_num_threads() == (count or 3)
        raise KeyError
    assert torch.get_num_threads() == 3


def test_the_residual_is_written_beside_the_merged_adapter(pair, here):
    config = MergeConfig(adapters=pair, rank=1, weights=[1, 1], residual=True, page=False)
    metrics = merge(here, config)
    path = here.folder / "merged_residual.safetensors"
    assert metrics["residual"] == {"path": str(path)} and 0 < metrics["summary"]["residual"] < 1
    sums = [{name: m.scale * m.up @ m.down for name, m in load(each).modules.items()} for each in pair_of(here, pair)]
    both = [load(file).modules for file in (here.folder / "merged.safetensors", path)]
    for name in NAMES:
        whole = sum(modules[name].scale * modules[name].up @ modules[name].down for modules in both)
        torch.testing.assert_close(whole, sums[0][name] + sums[1][name], rtol=1e-5, atol=1e-5)


def pair_of(here, pair):
    return [here.base / name for name in pair]


def test_a_residual_is_not_written_over_anything(pair, here):
    (here.base / "out_residual.safetensors").write_text("mine")
    with pytest.raises(LorafoldError, match=r"out_residual.safetensors: exists already"):
        merge(here, MergeConfig(adapters=pair, rank=1, residual=True, page=False, output="out.safetensors"))
    assert not (here.base / "out.safetensors").exists()
