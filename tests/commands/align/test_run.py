"""One run of the alignment: what it leaves, from Python and as a command, and what a mistake leaves."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from safetensors.torch import load_file

from lorafold.adapters import load, save
from lorafold.adapters.formats.fingerprint import fingerprint
from lorafold.cli.config import read, register
from lorafold.commands.align.config import AlignConfig
from lorafold.commands.align.run import align
from lorafold.common.errors import LorafoldError
from lorafold.common.options import CONF
from lorafold.pipelines.align.settings import AlignSettings
from lorafold.runs.run import Run
from tests import command_lines
from tests.builders import DEMO, random_adapter
from tests.builders import one_thread as one_thread
from tests.oracles import relative, update

SHAPES = {"lora_unet_mid_block_attentions_0_proj_in": (12, 9), "lora_te_text_model_encoder_layers_0_mlp_fc1": (8, 9)}
SPARED = ["aligned_2.safetensors", "aligned_3.safetensors", "metrics.json", "resolved.yaml"]
FILES = ["aligned_1.safetensors", "aligned_2.safetensors", "aligned_3.safetensors", "metrics.json", "resolved.yaml"]


@pytest.fixture
def trio(tmp_path):
    """Three kohya files of two modules, in tmp_path, and their names."""
    names = ["a.safetensors", "b.safetensors", "c.safetensors"]
    for rank, name in enumerate(names, 2):
        save(random_adapter("kohya", SHAPES, rank, seed=rank, scale=0.5), tmp_path / name)
    return names


@pytest.fixture
def here(tmp_path):
    (tmp_path / "run").mkdir()
    return Run(tmp_path / "run", tmp_path, ["mode=gauge"])


def left(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".log" and path.name != ".hydra")


@pytest.mark.parametrize(
    ("settings", "files"), [(AlignSettings(group="general"), FILES), (AlignSettings(mode="subspace"), SPARED)]
)
def test_a_run_leaves_adapters_metrics_and_settings(settings, files, trio, here, tmp_path, capsys):
    """Of the first adapter nothing, unless its rank is lower than that of another one."""
    metrics = align(here, AlignConfig(**vars(settings), adapters=trio))
    assert left(here.folder) == files
    assert json.loads((here.folder / "metrics.json").read_text()) == json.loads(json.dumps(metrics))
    assert set(metrics) == {"command", "config", "environment", "inputs", "outputs", "summary", "modules"}
    assert [entry["sha256"] for entry in metrics["inputs"]] == [fingerprint(tmp_path / name) for name in trio]
    first = "aligned_1.safetensors" if files == FILES else trio[0]
    assert [Path(entry["path"]).name for entry in metrics["outputs"]] == [first, *SPARED[:2]]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 20
    assert any(line.startswith("#1 #3") for line in lines)
    assert "changed" in " ".join(lines)


def test_the_files_hold_what_was_aligned(trio, here, tmp_path):
    align(here, AlignConfig(adapters=trio))
    for name, aligned in zip(trio, FILES, strict=False):
        before, after = load(tmp_path / name), load(here.folder / aligned)
        for module in SHAPES:
            assert relative(update(after.modules[module]), update(before.modules[module])) < 1e-6
            assert after.modules[module].rank == 4


def test_the_files_say_how_they_were_made(trio, here, tmp_path):
    metrics = align(here, AlignConfig(group="general", adapters=trio))
    hashes = [fingerprint(tmp_path / name) for name in trio]
    for number, (name, aligned) in enumerate(zip(trio, FILES, strict=False)):
        entry = json.loads(load(here.folder / aligned).metadata["lorafold"])
        assert (entry["command"], entry["method"]["group"]) == ("align", metrics["config"]["group"])
        assert [(given["file"], given["sha256"]) for given in entry["inputs"]] == [(name, hashes[number])]
        assert entry.get("reference") == (None if number == 0 else {"sha256": hashes[0]})


def test_folders_stay_folders(here):
    metrics = align(here, AlignConfig())
    assert left(here.folder) == ["aligned_2", "metrics.json", "resolved.yaml"]
    assert metrics["config"]["adapters"] == "demo"
    assert load(here.folder / "aligned_2").config["r"] == 24


def test_a_run_of_a_sweep_says_one_line(trio, here, capsys):
    align(Run(here.folder, here.base, ["mode=gauge"], alone=False), AlignConfig(adapters=trio[:2]))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("mode=gauge: #1 #2 averaging error ") and line.endswith(str(here.folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "guage"}, "gauge"),
        ({"adapters": ["a.safetensors"]}, "at least two"),
        ({"adapters": ["a.safetensors", "nope.safetensors"]}, "nope.safetensors"),
        ({"threads": 0}, "threads=0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_a_mistake_leaves_nothing(change, message, trio, here):
    with pytest.raises(LorafoldError, match=message):
        align(here, AlignConfig(**{"adapters": trio, **change}))
    assert left(here.folder) == []


def test_no_input_is_overwritten(here):
    """Not even one that lies where the output would go."""
    for name, seed in (("aligned_2.safetensors", 0), ("other.safetensors", 1)):
        save(random_adapter("kohya", SHAPES, 2, seed=seed), here.folder / name)
    before = fingerprint(here.folder / "aligned_2.safetensors")
    with pytest.raises(LorafoldError, match="must not be overwritten"):
        align(here, AlignConfig(adapters=["run/aligned_2.safetensors", "run/other.safetensors"]))
    assert fingerprint(here.folder / "aligned_2.safetensors") == before
    assert left(here.folder) == ["aligned_2.safetensors", "other.safetensors"]


@pytest.mark.parametrize(("ranks", "scales"), [((4, 4), (0.5, 2.0)), ((5, 2), (0.25, -1.0)), ((2, 5), (3.0, 0.5))])
@pytest.mark.parametrize("group", ["orthogonal", "general"])
def test_a_tool_that_averages_up_down_and_alpha_of_the_files_errs_as_printed(group, ranks, scales, here, tmp_path):
    """The first file itself and the second one rewritten, tensor by tensor, against the mean of the dense updates."""
    for name, rank, scale in zip("ab", ranks, scales, strict=True):
        save(random_adapter("kohya", SHAPES, rank, seed=rank, scale=scale), tmp_path / f"{name}.safetensors")
    metrics = align(here, AlignConfig(group=group, adapters=["a.safetensors", "b.safetensors"]))
    first, second = (load_file(entry["path"]) for entry in metrics["outputs"])
    assert (Path(metrics["outputs"][0]["path"]) == tmp_path / "a.safetensors") == (ranks[0] >= ranks[1])
    mean = {key: (first[key].double() + second[key].double()) / 2 for key in first}
    inputs = [load(tmp_path / f"{name}.safetensors") for name in "ab"]
    for entry in metrics["modules"]:
        name = entry["name"]
        up, down = mean[f"{name}.lora_up.weight"], mean[f"{name}.lora_down.weight"]
        averaged = float(mean[f"{name}.alpha"]) / max(ranks) * up @ down
        target = sum(update(adapter.modules[name]) for adapter in inputs) / 2
        (found,) = entry["pairs"]
        assert found["averaging_error"][group] == pytest.approx(relative(averaged, target), rel=1e-5)


command = partial(command_lines.lorafold, "align")


def test_the_command_and_its_repetition(tmp_path):
    for path, name in zip(DEMO, "ab", strict=True):
        shutil.copytree(path, tmp_path / name)
    process = command("adapters=[a,b]", "group=general", "threads=1", cwd=tmp_path)
    assert (process.returncode, process.stderr) == (0, "")
    lines = process.stdout.splitlines()
    assert len(lines) <= 20
    assert max(map(len, lines[:-2])) <= 80
    assert any("36/36 modules converged" in line for line in lines)
    (folder,) = [path.parent for path in tmp_path.rglob("metrics.json")]
    assert folder.relative_to(tmp_path).parts[:2] == ("outputs", "align")
    (tmp_path / "again").mkdir()
    assert command("-cd", str(folder), "-cn", "resolved", cwd=tmp_path / "again").returncode == 0
    (again,) = [path.parent for path in (tmp_path / "again").rglob("metrics.json")]
    for path in (folder / "aligned_2").iterdir():
        assert (again / "aligned_2" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("argument", "words"), [("mdoe=gauge", "Did you mean 'mode'?"), ("group=special", "orthogonal, general")]
)
def test_a_mistake_is_one_line(warm, argument, words, tmp_path):
    assert words in command_lines.refused(warm.piped("align", argument, cwd=tmp_path))


def test_the_settings_of_an_alignment():
    """Scripts depend on these names and defaults; the command and the library agree on them."""
    register("align")
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        config = hydra_compose("align")
    assert set(config) == {
        "adapters",
        "mode",
        "group",
        "base",
        "input_rank",
        "allow_different_bases",
        "device",
        "threads",
    }
    assert read(config, AlignConfig).settings() == AlignSettings()
