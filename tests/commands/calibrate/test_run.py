"""Runs of `lorafold calibrate` on models in miniature: what they leave, say and refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import lorafold
from lorafold.adapters import load, save
from lorafold.calibration.content_hash import content_hash
from lorafold.calibration.file import load_statistics
from lorafold.commands.calibrate.config import CalibrateConfig
from lorafold.commands.calibrate.run import calibrate
from lorafold.common.errors import LorafoldError
from lorafold.models.inputs import read_inputs
from lorafold.runs.run import Run
from tests.builders import one_thread as one_thread
from tests.clients.folders import WORDS, model_folder, pipeline_folder
from tests.clients.peft_models import peft_model, saved
from tests.clients.pipelines import pipeline
from tests.clients.trained import trained

# What PEFT calls in transformers.
pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")


def lines(count: int, seed: int) -> str:
    """Texts of the known words."""
    generator = torch.Generator().manual_seed(seed)
    letters, numbers = WORDS.split(), torch.randint(0, 4, (count, 6), generator=generator)
    return "\n".join(" ".join(letters[i] for i in row) for row in numbers.tolist()) + "\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a model BERT and adapters of it, first and second, and inputs of each."""
    here = tmp_path_factory.mktemp("place")
    model_folder("bert", here / "BERT")
    saved(peft_model("bert"), here)
    (here / "first.txt").write_text(lines(40, 1), encoding="utf-8")
    messages = [{"messages": [{"role": "user", "content": text}]} for text in lines(33, 2).splitlines()]
    (here / "second.jsonl").write_text("\n".join(map(json.dumps, messages)), encoding="utf-8")
    return here


@pytest.fixture
def run(place, tmp_path) -> Run:
    (tmp_path / "run").mkdir()
    return Run(tmp_path / "run", place)


TWO: dict[str, Any] = {"base": "BERT", "adapters": ["first", "second"], "inputs": ["first.txt", "second.jsonl"]}


def test_a_run_leaves_statistics_of_each_adapter_and_a_record(run, place, capsys):
    metrics = calibrate(run, CalibrateConfig(**TWO))
    names = ["first.stats.safetensors", "second.stats.safetensors"]
    assert sorted(path.name for path in run.folder.iterdir()) == [names[0], "metrics.json", "resolved.yaml", names[1]]
    assert json.loads((run.folder / "metrics.json").read_text()) == json.loads(json.dumps(metrics))
    for name, count, entry, output in zip(
        ("first", "second"), (40, 33), metrics["adapters"], metrics["outputs"], strict=True
    ):
        adapter, statistics = load(place / name), load_statistics(run.folder / f"{name}.stats.safetensors")
        assert statistics.adapter_hash == entry["adapter_hash"] == content_hash(adapter)
        assert statistics.layers.keys() == adapter.modules.keys()
        assert statistics.inputs == entry["inputs"] == count and statistics.base == "BERT"
        assert entry["layers"] == entry["modules"] == len(adapter.modules) > entry["sources"]
        assert output["bytes"] == Path(output["path"]).stat().st_size > entry["bytes"]
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("2 adapters in") and len(said) <= 12
    assert sum(line.startswith("#1 ") for line in said) == 1 and "40" in next(s for s in said if s.startswith("#1 "))
    assert said[-1].endswith("second.stats.safetensors")


def test_nothing_of_the_inputs_is_in_what_a_run_leaves(run):
    calibrate(run, CalibrateConfig(**TWO))
    first = lines(40, 1).splitlines()[0].encode()
    assert not [path for path in run.folder.iterdir() if first in path.read_bytes()]


def test_the_function_and_the_command_are_one(run, place):
    calibrate(run, CalibrateConfig(**TWO, directions=2, batch=5))
    inputs = [str(place / name) for name in TWO["inputs"]]
    adapters = [place / name for name in TWO["adapters"]]
    result = lorafold.calibrate(adapters, base=str(place / "BERT"), inputs=inputs, directions=2, batch=5)
    for found, name in zip(result.statistics, TWO["adapters"], strict=True):
        filed = load_statistics(run.folder / f"{name}.stats.safetensors")
        assert (found.corpus_hash, found.inputs, found.base) == (filed.corpus_hash, filed.inputs, filed.base)
        for module, layer in found.layers.items():
            assert torch.equal(layer.diagonal, filed.layers[module].diagonal)
            assert layer.directions.shape[1] <= 2 and torch.equal(layer.directions, filed.layers[module].directions)
            assert layer.energy == pytest.approx(filed.layers[module].energy)
    assert repr(result).startswith("CalibrateResult(2 adapters")


def test_it_tells_how_far_it_is(place):
    told = []
    lorafold.calibrate(
        [place / "first"],
        base=str(place / "BERT"),
        inputs=[place / "first.txt"],
        batch=16,
        progress=lambda *news: told.append(news),
    )
    assert told == [("measuring", count, 40) for count in (0, 16, 32, 40)]


def test_token_ids_are_what_their_text_would_be(run, place, tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(place / "BERT")
    (batch,) = read_inputs(place / "first.txt").batches(tokenizer, 40)
    padded = {key: torch.cat([0 * value[:, :3], value], 1) for key, value in batch.items()}  # to the left
    save_file({key: value.int() for key, value in padded.items()}, tmp_path / "ids.safetensors")
    one, other = (
        lorafold.calibrate([place / "first"], base=str(place / "BERT"), inputs=[path]).statistics[0]
        for path in (place / "first.txt", tmp_path / "ids.safetensors")
    )
    for name, layer in one.layers.items():
        assert layer.tokens == other.layers[name].tokens
        torch.testing.assert_close(layer.diagonal, other.layers[name].diagonal, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("where", "names"), [("output", "stats/first.stats.safetensors"), ("beside", "first")])
def test_files_go_where_they_are_wanted_and_over_nothing_unasked(run, place, tmp_path, where, names):
    here = tmp_path / "here"
    here.mkdir()
    saved(peft_model("bert"), here)
    run = Run(run.folder, here)
    own = {"base": str(place / "BERT"), "adapters": "first", "inputs": str(place / "first.txt")}
    own |= {"beside": True} if where == "beside" else {"output": "stats"}
    target = here / ("first.stats.safetensors" if where == "beside" else names)
    assert calibrate(run, CalibrateConfig(**own))["outputs"][0]["path"] == str(target)
    before = target.read_bytes()
    target.write_bytes(b"precious")
    with pytest.raises(LorafoldError, match="exists already"):
        calibrate(run, CalibrateConfig(**own))
    assert target.read_bytes() == b"precious"
    calibrate(run, CalibrateConfig(**own, overwrite=True))
    assert target.read_bytes() == before
    assert load(here / "first").modules  # the folder beside it is still one adapter's


@pytest.mark.parametrize("architecture", ["sd", "sdxl", "flux"])
def test_a_pipeline_runs_prompts(architecture, run, tmp_path, caplog):
    """U-Net or transformer and text encoders, under the names of kohya."""
    pipeline_folder(architecture, tmp_path / "PIPELINE")
    adapter = trained(pipeline(architecture), architecture, "kohya", seed=1, scale=0.1)
    save(adapter, tmp_path / "a.safetensors")
    (tmp_path / "prompts.txt").write_text(lines(2, 3), encoding="utf-8")
    calibrate(
        Run(run.folder, tmp_path),
        CalibrateConfig(
            base="PIPELINE",
            adapters="a.safetensors",
            inputs="prompts.txt",
            steps=2,
            size=16 if architecture == "flux" else 8,
            directions=2,
            batch=1,
        ),
    )
    said = caplog.messages
    assert len([text for text in said if "2 inputs, which say little" in text]) == 1
    found = load_statistics(run.folder / "a.stats.safetensors").layers
    unknown = adapter.modules.keys() - found.keys()
    assert sum("not run by the model" in text for text in said) == bool(unknown)
    assert not [name for name in unknown if "lora_unet" in name], unknown
    assert any("lora_te" in name for name in found) and all(layer.energy > 0 for layer in found.values())


def refused() -> Iterator[tuple[str, dict[str, Any], str]]:
    yield "no base", {"base": None}, "base=None, expected the model"
    yield "no folder", {"base": "nope"}, "nope: no such folder. Check base="
    yield "the hub", {"base": "bert/base"}, "If it is on the Hugging Face hub: hf download bert/base"
    yield "no model", {"base": "first"}, "neither config.json nor model_index.json in it"
    yield "inputs", {"inputs": ["first.txt"]}, "expected 2 files, one for each adapter"
    yield "no inputs", {"inputs": None}, "expected 2 files, one for each adapter"
    yield "the same", {"inputs": ["first.txt", "again.txt"]}, "again.txt: the same inputs as .*first.txt"
    yield "nothing", {"inputs": ["first.txt", "empty.txt"]}, "empty.txt: no inputs in it"
    yield "nowhere", {"inputs": ["first.txt", "gone.txt"]}, "gone.txt: no such file, expected a file of inputs"
    yield "folder", {"inputs": ["first.txt", "BERT"]}, "BERT: a folder, expected a file of inputs"
    yield "latin", {"inputs": ["first.txt", "latin.txt"]}, r"latin.txt: not UTF-8 text \(invalid continuation byte at 2"
    yield "json", {"inputs": ["first.txt", "bad.jsonl"]}, r"bad.jsonl: line 2 is not JSON \("
    yield "keys", {"inputs": ["first.txt", "both.jsonl"]}, "line 1 has text and prompt, expected one of them"
    yield "none", {"inputs": ["first.txt", "none.jsonl"]}, "line 1 has none of text, prompt and messages, expected one"
    yield "table", {"inputs": ["first.txt", "table.csv"]}, "table.csv: a .csv file. Give lines of text, JSONL"
    yield "tensors", {"inputs": ["first.txt", "floats.safetensors"]}, "input_ids: torch.float32 of shape"
    yield "mask", {"inputs": ["first.txt", "mask.safetensors"]}, r"attention_mask: shape \(1, 3\), expected 0 and 1"
    yield "large ids", {"inputs": ["first.txt", "large.safetensors"]}, "token 99, but the model knows 11"
    yield "adapter", {"adapters": ["first", "other.safetensors"]}, r"ghost: no layer of the model \(1 of"
    yield "twice", {"adapters": ["first", "first"], "beside": True}, "the statistics of two adapters"
    yield "places", {"beside": True, "output": "x"}, "beside=true and output=, which are two places"
    own = {"adapters": "first", "inputs": "first.stats.safetensors"}
    yield "over inputs", {**own, "beside": True, "overwrite": True}, "the output is the input"
    yield "directions", {"directions": -1}, "directions=-1, expected a whole number >= 0"
    yield "batch", {"batch": 0}, "batch=0, expected a whole number >= 1"
    yield "device", {"device": "tpu"}, "device='tpu' is unknown"
    yield "dtype", {"dtype": "int8"}, "dtype='int8' is unknown"


@pytest.fixture(scope="module")
def bad(place) -> Path:
    """The same folder with files that are no inputs, and an adapter of another model."""
    (place / "again.txt").write_text("\n\n".join(reversed(lines(40, 1).splitlines())), encoding="utf-8")
    (place / "empty.txt").write_text("\n \n", encoding="utf-8")
    (place / "latin.txt").write_bytes("a é b".encode("latin-1"))
    (place / "bad.jsonl").write_text('{"text": "a"}\n{"text": \n', encoding="utf-8")
    (place / "both.jsonl").write_text('{"text": "a", "prompt": "b"}\n', encoding="utf-8")
    (place / "none.jsonl").write_text('["a"]\n', encoding="utf-8")
    (place / "long.txt").write_text(" ".join("abcd" * 20), encoding="utf-8")
    (place / "table.csv").write_text("a,b\n", encoding="utf-8")
    save_file({"input_ids": torch.ones(2, 3)}, place / "floats.safetensors")
    save_file({"input_ids": torch.full((40, 3), 99)}, place / "large.safetensors")
    save_file({"input_ids": torch.ones(2, 3).int(), "attention_mask": torch.ones(1, 3)}, place / "mask.safetensors")
    ghost = lorafold.Module("ghost", torch.ones(3, 1), torch.ones(1, 3), 1.0)
    save(lorafold.Adapter("kohya", {"ghost": ghost}), place / "other.safetensors")
    return place


@pytest.mark.filterwarnings("ignore:.*which say little of a task")
def test_an_input_is_cut_where_the_models_positions_end(bad):
    found = lorafold.calibrate([bad / "first"], base=str(bad / "BERT"), inputs=[bad / "long.txt"]).statistics[0]
    assert max(layer.tokens for layer in found.layers.values()) == 16


@pytest.mark.filterwarnings("ignore:.*which say little of a task")
@pytest.mark.parametrize(("changes", "message"), [case[1:] for case in refused()], ids=[case[0] for case in refused()])
def test_a_mistake_is_refused_in_one_line_with_a_remedy(bad, tmp_path, monkeypatch, changes, message):
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(bad)
    with pytest.raises(LorafoldError, match=message) as caught:
        calibrate(Run(tmp_path / "run", bad), CalibrateConfig(**{**TWO, **changes}))
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "run").iterdir())
