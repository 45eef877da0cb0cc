"""Statistics of adapters that are loaded in a model: those of their files, and no second application."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

import lorafold
from lorafold.calibration.statistics import Statistics
from lorafold.common.errors import LorafoldError
from lorafold.integrations.diffusers import collect_statistics as collect_from_pipeline
from lorafold.integrations.peft import collect_statistics
from tests.builders import one_thread as one_thread
from tests.clients.folders import pipeline_folder
from tests.clients.peft_models import base_model, peft_model, saved
from tests.clients.trained import trained

# What PEFT calls in transformers.
pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")

IDS = torch.arange(11).repeat(2)[:21].reshape(3, 7)


def check_same(one: Statistics, other: Statistics) -> None:
    assert one.layers.keys() == other.layers.keys() and one.layers
    assert (one.adapter_hash, one.inputs) == (other.adapter_hash, other.inputs)
    for name, layer in one.layers.items():
        torch.testing.assert_close(layer.diagonal, other.layers[name].diagonal, rtol=1e-4, atol=1e-6, msg=name)
        assert layer.energy == pytest.approx(other.layers[name].energy, rel=1e-4)
        assert layer.tokens == other.layers[name].tokens


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_of_a_peft_model_they_are_those_of_the_file(kind: str, tmp_path: Path) -> None:
    model, batches = peft_model(kind), [{"input_ids": IDS}, {"input_ids": IDS.flip(1)}]
    model.set_adapter("second")
    live = collect_statistics(model, "second", batches)
    filed = lorafold.collect(base_model(kind), saved(model, tmp_path)[1], batches)
    check_same(live, filed)
    assert live.corpus_hash == filed.corpus_hash


def test_an_adapter_that_is_not_on_is_refused() -> None:
    model = peft_model("bert")
    model.set_adapter("first")
    with pytest.raises(LorafoldError, match="runs with first, not with 'second' alone"):
        collect_statistics(model, "second", [{"input_ids": IDS}])
    with pytest.raises(LorafoldError, match="no adapter 'third'"):
        collect_statistics(model, "third", [{"input_ids": IDS}])


@pytest.mark.parametrize("architecture", ["sd", "flux"])
def test_of_a_pipeline_they_are_those_of_the_file(architecture: str, tmp_path: Path) -> None:
    """diffusers' own application of the LoRA, and the hooks of lorafold."""
    diffusers = pytest.importorskip("diffusers")
    folder = pipeline_folder(architecture, tmp_path / "PIPELINE")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe = diffusers.DiffusionPipeline.from_pretrained(folder)
        path = lorafold.save(trained(pipe, architecture, "diffusers", seed=2, scale=0.3), tmp_path / "a.safetensors")
        pipe.load_lora_weights(str(tmp_path), weight_name=path.name, adapter_name="a")
        texts, size = ["a b", "c d d", "b"], 16 if architecture == "flux" else 8
        live = collect_from_pipeline(pipe, "a", texts, directions=2, steps=2, size=size, batch=2)
        (tmp_path / "prompts.txt").write_text("\n".join(texts), encoding="utf-8")
        filed = lorafold.calibrate(
            [path], base=str(folder), inputs=[tmp_path / "prompts.txt"], directions=2, steps=2, size=size, batch=2
        )
        check_same(live, filed.statistics[0])
        assert live.corpus_hash == filed.statistics[0].corpus_hash
        with pytest.raises(LorafoldError, match=r"no adapter 'b'. It has a"):
            collect_from_pipeline(pipe, "b", texts)
        pipe.disable_lora()
        with pytest.raises(LorafoldError, match="the pipeline runs with no adapter, not with 'a' alone"):
            collect_from_pipeline(pipe, "a", texts)
