"""One run of the comparison: what it leaves, from Python and as a command, and what a mistake leaves."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from safetensors.torch import save_file

from lorafold.adapters.formats.fingerprint import fingerprint
from lorafold.cli.config import read, register
from lorafold.commands.compare.config import CompareConfig
from lorafold.commands.compare.run import compare
from lorafold.common.errors import LorafoldError
from lorafold.common.options import CONF
from lorafold.pipelines.compare.settings import CompareSettings
from lorafold.runs.run import Run
from tests import command_lines

FILES = ["metrics.json", "modules.csv", "overlap.html", "resolved.yaml"]


@pytest.fixture
def trio(tmp_path):
    """Three kohya files of two modules, in tmp_path, and their names."""
    random = torch.Generator().manual_seed(0)
    names = ["a.safetensors", "b.safetensors", "c.safetensors"]
    for rank, name in enumerate(names, 2):
        tensors = {}
        for module in ("lora_unet_mid_block_attentions_0_proj_in", "lora_te_text_model_encoder_layers_0_mlp_fc1"):
            tensors[f"{module}.lora_down.weight"] = torch.randn(rank, 9, generator=random)
            tensors[f"{module}.lora_up.weight"] = torch.randn(12, rank, generator=random)
        save_file(tensors, tmp_path / name)
    return names


@pytest.fixture
def here(tmp_path):
    (tmp_path / "run").mkdir()
    return Run(tmp_path / "run", tmp_path, ["alpha=0.01"])


def left(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_file() and path.suffix != ".log")


def test_a_run_leaves_metrics_a_table_a_page_and_its_settings(trio, here, tmp_path, capsys):
    metrics = compare(here, CompareConfig(alpha=0.01, adapters=trio))
    assert left(here.folder) == FILES
    assert json.loads((here.folder / "metrics.json").read_text()) == json.loads(json.dumps(metrics))
    assert set(metrics) == {"command", "config", "environment", "inputs", "panel", "summary", "modules", "page"}
    assert [entry["sha256"] for entry in metrics["inputs"]] == [fingerprint(tmp_path / name) for name in trio]
    assert metrics["config"]["distances"] == ["chordal", "geodesic"]
    assert len((here.folder / "modules.csv").read_text().splitlines()) == 1 + 2 * 3
    assert "#2 #3" in capsys.readouterr().out


def test_a_panel_is_read_from_here_and_recorded(trio, here, tmp_path):
    metrics = compare(here, CompareConfig(adapters=trio[:2], panel=trio[2:], alpha=0.4))
    assert metrics["config"]["panel"] == [str(tmp_path / trio[2])]
    assert metrics["panel"] == [{"path": str(tmp_path / trio[2]), "sha256": fingerprint(tmp_path / trio[2])}]
    assert fingerprint(tmp_path / trio[2]) in (here.folder / "overlap.html").read_text(encoding="utf-8")
    assert metrics["summary"]["pairs"][0]["null"]["kind"] == "panel"


def test_a_run_without_a_page(trio, here):
    metrics = compare(here, CompareConfig(adapters=trio, page=False))
    assert left(here.folder) == [name for name in FILES if name != "overlap.html"]
    assert "page" not in metrics


def test_a_run_of_a_sweep_says_one_line(trio, here, capsys):
    compare(Run(here.folder, here.base, ["alpha=0.01"], alone=False), CompareConfig(adapters=trio[:2]))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("alpha=0.01: #1 #2 phi") and line.endswith(str(here.folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distances": ["chrodal"]}, "chordal"),
        ({"adapters": ["a.safetensors"]}, "at least two"),
        ({"adapters": ["a.safetensors", "b.safetensors"], "panel": ["nope.safetensors"]}, "nope.safetensors"),
        ({"panel": "c.safetensors"}, "panel='c.safetensors', expected a list"),
        ({"adapters": ["a.safetensors", "nope.safetensors"]}, "nope.safetensors"),
        ({"threads": 0}, "threads=0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_a_mistake_leaves_nothing(change, message, trio, here):
    with pytest.raises(LorafoldError, match=message):
        compare(here, CompareConfig(**{"adapters": trio, **change}))
    assert left(here.folder) == []


command = partial(command_lines.lorafold, "compare")


def test_the_command_and_its_repetition(trio, tmp_path):
    process = command(f"adapters=[{','.join(trio)}]", "distances=[martin]", "threads=1", cwd=tmp_path)
    assert (process.returncode, process.stderr) == (0, "")
    assert max(map(len, process.stdout.splitlines()[:-1])) <= 80
    (folder,) = [path.parent for path in tmp_path.rglob("metrics.json")]
    assert folder.relative_to(tmp_path).parts[:2] == ("outputs", "compare")
    assert left(folder) == FILES
    (tmp_path / "again").mkdir()
    assert command("-cd", str(folder), "-cn", "resolved", cwd=tmp_path / "again").returncode == 0
    (again,) = [path.parent for path in (tmp_path / "again").rglob("metrics.json")]
    assert (again / "modules.csv").read_bytes() == (folder / "modules.csv").read_bytes()


@pytest.mark.parametrize(
    ("argument", "words"),
    [("alhpa=0.1", "Did you mean 'alpha'?"), ("alpha=2", "alpha=2"), ("adapters=[a]", "at least two")],
)
def test_a_mistake_is_one_line(warm, argument, words, tmp_path):
    assert words in command_lines.refused(warm.piped("compare", argument, cwd=tmp_path))


def test_the_settings_of_a_comparison():
    """Scripts depend on these names and defaults; the command and the library agree on them."""
    register("compare")
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        config = hydra_compose("compare")
    assert set(config) == {
        *(
            "adapters",
            "distances",
            "alpha",
            "panel",
            "base",
            "input_rank",
            "allow_different_bases",
            "page",
            "device",
            "threads",
        )
    }
    defaults = CompareSettings()
    assert read(config, CompareConfig).settings() == replace(defaults, distances=list(defaults.distances), panel=[])
