"""Diffusion: what a denoiser predicts is compared and learnt, at a random step of each prompt's denoising."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from lorafold.common.errors import LorafoldError
from lorafold.models.attach import attached
from lorafold.pipelines.distill import pipeline as distill_pipeline
from lorafold.pipelines.distill.pipeline import distill
from lorafold.pipelines.distill.predictions import Predictions, denoiser_of, predictions
from tests.builders import one_thread as one_thread
from tests.builders import random_adapter
from tests.clients.pipelines import pipeline

SHAPES = {
    "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0": (4, 4),
    "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_v": (4, 8),
}


class Denoising:
    """A pipeline that denoises by itself: what it is prompted with stands in the text's states."""

    def __init__(self):
        whole = pipeline("sd")
        self.components = {"unet": whole.unet, "text_encoder": whole.text_encoder, "scheduler": None}
        self.runs = 0

    def set_progress_bar_config(self, **_):
        pass

    def __call__(self, prompt, num_inference_steps, generator, **_):
        self.runs += 1
        sample = torch.randn(1, 4, 8, 8, generator=generator)
        text = torch.full((1, 3, 8), float(len(prompt[0])))
        for step in range(num_inference_steps):
            sample = sample - 0.1 * self.components["unet"](sample, step, encoder_hidden_states=text).sample


def calls(seed, count=12):
    generator = torch.Generator().manual_seed(seed)
    return [
        {
            "sample": torch.randn(1, 4, 8, 8, generator=generator),
            "timestep": torch.tensor(10 * number),
            "encoder_hidden_states": torch.randn(1, 3, 8, generator=generator),
        }
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def pipe():
    return Denoising()


@pytest.fixture(scope="module")
def pair():
    return [random_adapter("diffusers", SHAPES, 2, seed=seed, scale=2.0) for seed in range(2)]


def test_a_call_of_every_prompt_at_a_random_step(pipe):
    prompts = ["x" * length for length in range(1, 9)]
    probe = predictions(pipe, prompts, steps=6, seed=0)
    assert [float(call["encoder_hidden_states"][0, 0, 0]) for call in probe.calls] == list(range(1, 9))
    steps = [call["timestep"] for call in probe.calls]
    assert len(set(steps)) > 2 and set(steps) <= set(range(6))
    again = predictions(pipe, prompts, steps=6, seed=0)
    assert probe.hash == again.hash != predictions(pipe, prompts, steps=6, seed=1).hash
    assert not pipe.components["unet"]._forward_pre_hooks


def test_what_is_compared_is_the_prediction(pipe, pair):
    unet, own = pipe.components["unet"], calls(0, 3)
    probe = Predictions(unet, own)
    with torch.no_grad(), attached(pipe, pair[0]):
        features = probe([0, 2])
        expected = [unet(**own[i]).sample.reshape(1, -1) for i in (0, 2)]
    assert torch.equal(features.states[0], torch.stack(expected)) and features.mask.tolist() == [[1], [1]]


def test_a_pipeline_learns_from_prompts(pipe, pair, monkeypatch):
    monkeypatch.setattr(distill_pipeline, "DENOISING_STEPS", 2)
    prompts = [["x" * (number + 10 * side + 1) for number in range(10)] for side in range(2)]
    result = distill(pair, model=pipe, inputs=prompts, rank=2, steps=8, learning_rate=0.1, batch=4)
    assert result.improved and sum(result.after) < sum(result.before)
    assert result.adapter.modules.keys() == SHAPES.keys()


def test_a_pipeline_without_a_denoiser_is_refused():
    bare = SimpleNamespace(components={"text_encoder": None})
    with pytest.raises(LorafoldError, match="a SimpleNamespace without unet and transformer"):
        denoiser_of(bare)
