"""Runs of the commands that take one adapter, and of `inspect`: what they leave, from Python and as commands."""

from __future__ import annotations

import csv
import json
import shutil

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir

import lorafold
from lorafold.adapters import load, save
from lorafold.adapters.formats.fingerprint import fingerprint
from lorafold.cli.config import read, register
from lorafold.commands import COMMANDS
from lorafold.commands.convert.config import ConvertConfig
from lorafold.commands.convert.run import convert
from lorafold.commands.inspect.config import InspectConfig
from lorafold.commands.inspect.run import inspect
from lorafold.commands.resize.config import ResizeConfig
from lorafold.commands.resize.run import resize
from lorafold.common.errors import LorafoldError
from lorafold.common.options import CONF
from lorafold.pipelines.convert.settings import ConvertSettings
from lorafold.pipelines.inspect.settings import InspectSettings
from lorafold.pipelines.resize.settings import ResizeSettings
from lorafold.runs.run import Run
from tests.builders import DEMO, random_adapter
from tests.builders import one_thread as one_thread
from tests.command_lines import lorafold as run_command
from tests.command_lines import refused
from tests.oracles import relative, truncations, update

SHAPES = {
    "lora_unet_mid_block_attentions_0_proj_in": (12, 9),
    "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k": (7, 768),
    "lora_te_text_model_encoder_layers_0_mlp_fc1": (8, 9),
}


@pytest.fixture
def a(tmp_path):
    save(random_adapter("kohya", SHAPES, 5, seed=2, scale=0.5), tmp_path / "a.safetensors")
    return "a.safetensors"


@pytest.fixture
def here(tmp_path):
    (tmp_path / "run").mkdir()
    return Run(tmp_path / "run", tmp_path, ["rank=2"])


def left(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".log" and path.name != ".hydra")


RUNS = {
    "resize": (lambda run, **job: resize(run, ResizeConfig(rank=2, **job)), "resized.safetensors"),
    "convert": (
        lambda run, **job: convert(run, ConvertConfig(format="diffusers", **job)),
        "converted.safetensors",
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_leaves_an_adapter_metrics_and_settings(name, a, here, tmp_path, capsys):
    work, file = RUNS[name]
    metrics = work(here, adapters=a)
    assert left(here.folder) == sorted(["metrics.json", "resolved.yaml", file])
    assert json.loads((here.folder / "metrics.json").read_text()) == json.loads(json.dumps(metrics))
    assert set(metrics) == {"command", "config", "environment", "inputs", "output", "summary", "modules"}
    assert metrics["inputs"][0]["sha256"] == fingerprint(tmp_path / a)
    assert metrics["output"]["path"] == str(here.folder / file)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 20
    assert max(len(line) for line in lines[:-1] if " -> " not in line) <= 80
    assert lines[-1].endswith(file)


def test_the_file_holds_what_was_asked_for(a, here, tmp_path):
    RUNS["resize"][0](here, adapters=[a])
    before, after = load(tmp_path / a), load(here.folder / "resized.safetensors")
    for name, module in after.modules.items():
        (best,) = truncations(update(before.modules[name]), [2])
        assert relative(update(module), best) < 1e-9


@pytest.mark.parametrize("name", RUNS)
def test_the_file_says_how_it_was_made(name, a, here, tmp_path):
    work, file = RUNS[name]
    work(here, adapters=a, output=file)
    signature = json.loads(load(tmp_path / file).metadata["lorafold"])
    assert signature["command"] == name
    assert signature["inputs"][0]["sha256"] == fingerprint(tmp_path / a)
    assert left(here.folder) == ["metrics.json", "resolved.yaml"]


def test_a_run_of_a_sweep_says_one_line(a, here, capsys):
    for work, _ in RUNS.values():
        work(Run(here.folder, here.base, ["x=1"], alone=False), adapters=a)
        (line,) = capsys.readouterr().out.splitlines()
        assert line.startswith("x=1: ") and line.endswith(str(here.folder))


def test_folders_stay_folders(here):
    RUNS["resize"][0](here)
    assert left(here.folder) == ["metrics.json", "resized", "resolved.yaml"]
    assert load(here.folder / "resized").config["r"] == 2


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize(
    ("job", "message"),
    [
        ({"adapters": []}, "expected a list"),
        ({"adapters": ["a.safetensors", "b"]}, "expected one adapter"),
        ({"adapters": "nope.safetensors"}, "nope.safetensors"),
        ({"output": "a.safetensors"}, "must not be overwritten"),
        ({"threads": 0}, "threads=0"),
    ],
    ids=str,
)
def test_a_mistake_leaves_nothing(name, job, message, a, here, tmp_path):
    before = fingerprint(tmp_path / a)
    with pytest.raises(LorafoldError, match=message):
        RUNS[name][0](here, **{"adapters": a, **job})
    assert left(here.folder) == []
    assert fingerprint(tmp_path / a) == before


def test_an_inspection_leaves_one_file_and_a_table_if_wanted(a, here, capsys):
    metrics = inspect(here, InspectConfig(adapters=[a, DEMO[0]], csv=True))
    assert left(here.folder) == ["inspect.json", "modules.csv"]
    assert json.loads((here.folder / "inspect.json").read_text()) == json.loads(json.dumps(metrics))
    assert [adapter["format"] for adapter in metrics["adapters"]] == ["kohya", "peft"]
    with (here.folder / "modules.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3 + 36
    assert float(rows[0]["norm"]) == metrics["adapters"][0]["modules"][0]["norm"]
    lines = capsys.readouterr().out.splitlines()
    assert "a.safetensors: kohya, Stable Diffusion 1" in lines[0]
    assert any(line.startswith("text encoder ") for line in lines)
    assert lines[-1] == f"everything else: {here.folder}/inspect.json"
    assert max(len(line) for line in lines if "dnoun" not in line and str(here.base) not in line) <= 90


def test_an_inspection_by_default(a, here, capsys):
    inspect(Run(here.folder, here.base, [], alone=False), InspectConfig(adapters=a))
    assert left(here.folder) == ["inspect.json"]
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("0 warnings")


def test_words_of_a_file_cannot_steer_the_terminal(here, tmp_path, capsys):
    evil = {"modelspec.trigger_phrase": "\x1b[2Jgone\r\n[bold]", "ss_base_model_version": "\x1b[31mred"}
    adapter = random_adapter("kohya", SHAPES, 2)
    save(lorafold.Adapter("kohya", adapter.modules, metadata=evil), tmp_path / "a.safetensors")
    inspect(here, InspectConfig(adapters="a.safetensors"))
    printed = capsys.readouterr().out
    assert "\x1b" not in printed and "\r" not in printed
    assert "[2Jgone  [bold]" in printed


def test_the_command_and_its_repetition(tmp_path):
    shutil.copytree(DEMO[0], tmp_path / "a")
    process = run_command("resize", "adapters=a", "parameters=0.4", "threads=1", cwd=tmp_path)
    assert (process.returncode, process.stderr) == (0, "")
    assert max(map(len, process.stdout.splitlines()[:-1])) <= 80
    (folder,) = [path.parent for path in tmp_path.rglob("metrics.json")]
    assert folder.relative_to(tmp_path).parts[:2] == ("outputs", "resize")
    (tmp_path / "again").mkdir()
    assert run_command("resize", "-cd", str(folder), "-cn", "resolved", cwd=tmp_path / "again").returncode == 0
    (again,) = [path.parent for path in (tmp_path / "again").rglob("metrics.json")]
    for path in (folder / "resized").iterdir():
        assert (again / "resized" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("resize",), "nothing given"),
        (("resize", "enrgy=0.9"), "Did you mean 'energy'?"),
        (("convert", "format=koya"), "Did you mean 'kohya'?"),
        (("inspect", "adapters=nope"), "nope: no such file"),
    ],
)
def test_a_mistake_is_one_line(warm, arguments, words, tmp_path):
    assert words in refused(warm.piped(*arguments, cwd=tmp_path))


REWRITING = ("adapters", "base", "layers", "exclude", "input_rank", "output", "overwrite", "threads")


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("inspect", {"adapters", "csv", "input_rank", "threads"}),
        ("resize", {"energy", "ratio", "parameters", "rank", "device", *REWRITING}),
        ("convert", {"format", "target", "model", *REWRITING}),
    ],
)
def test_the_settings(name, settings):
    """Scripts depend on these names."""
    register(name)
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        config = hydra_compose(name)
    assert set(config) == settings
    values = read(config, COMMANDS[name].config)
    assert (
        values.settings() == {"resize": ResizeSettings, "convert": ConvertSettings, "inspect": InspectSettings}[name]()
    )
