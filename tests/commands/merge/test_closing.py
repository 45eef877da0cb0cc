"""The last lines of a merge: made from metrics, and what they propose does what they say."""

from __future__ import annotations

import pytest

from lorafold.adapters import FORMATS, save
from lorafold.commands.merge.closing import in_words, where
from lorafold.commands.merge.config import MergeConfig
from lorafold.commands.merge.run import merge
from lorafold.pipelines.merge.settings import CHOSEN
from lorafold.runs.run import Run
from lorafold.scales import SCALES
from tests.builders import one_thread as one_thread
from tests.builders import random_adapter

SHAPES = {f"lora_unet_mid_block_attentions_{i}_to_q": (12, 10) for i in range(3)}


def metrics(kept=(0.92, 0.82), form="kohya", ranks=(8, 8), rank=8, **config):
    """Of a merge of style and character, or of as many as there are shares."""
    names = ["style", "character", *(f"more {i}" for i in range(len(kept)))][: len(kept)]
    settings = {"weights": None, "balance": False, "scale": 1.0, "module_weights": None, "block_weights": None}
    return {
        "config": settings | config,
        "inputs": [{"path": f"/adapters/{name}.safetensors"} for name in names],
        "summary": {"retained": list(kept), "scale": 1.31415},
        "modules": [{"rank": rank, "ranks": list(ranks), "shape": [64, 32]}],
        "output": {"path": "/runs/it's new.safetensors", "format": form},
    }


def too_weak(content):
    (line,) = [line for line in in_words(content) if " is too weak: " in line]
    return line.removeprefix("if ")


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ((0.92, 0.82), "style keeps 92 %, character 82 % of its energy; load at strength 1"),
        ((0.92, None), "style keeps 92 % of its energy; load at strength 1"),
        ((0.5,), "style keeps 50 % of its energy; load at strength 1"),
        (
            (0.92, 0.1, None, 0.3, 0.4, 0.5, 0.6, 0.7),
            "character keeps 10 %, style 92 % of its energy (the least and the most of 7); load at strength 1",
        ),
    ],
)
def test_what_is_kept_in_words(kept, words):
    assert in_words(metrics(kept))[0] == words


def test_nothing_is_said_where_nothing_is_known():
    assert in_words(metrics((None, None), ranks=(4, 4))) == ["if style is too weak: 'weights=[0.75,0.5]'"]


@pytest.mark.parametrize("name", SCALES)
def test_a_strength_that_was_chosen_has_its_reason(name):
    (line,) = [line for line in in_words(metrics(scale=name)) if line.startswith("strength")]
    assert line.startswith("strength: 1.314 times the weighted sum, so that ") and line.endswith(f"(scale={name})")


def test_a_strength_for_each_direction_is_no_number():
    assert "strength: one for each singular direction (scale=svc)" in in_words(metrics(scale="svc"))


def test_nothing_is_said_of_a_strength_that_was_given():
    assert not any("strength:" in line for line in in_words(metrics(scale=0.7)))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (CHOSEN, "'weights=[0.5,0.75]' balance=saturate scale=retained; or rank=16, which keeps more of each"),
        ({"weights": "sum"}, "'weights=[1,1.5]'; or rank=16, which keeps more of each"),
        ({"weights": [0.7, 0.2], **CHOSEN}, "'weights=[0.7,0.3]'; or rank=16, which keeps more of each"),
        ({"block_weights": [None, "OUTALL"]}, "rank=16, which keeps more of each"),
        ({"kept": (0.91, 0.9)}, "'weights=[0.5,0.75]'"),
        ({"ranks": (8, None)}, "'weights=[0.5,0.75]'"),
        ({"ranks": (6, 4)}, "'weights=[0.5,0.75]'; or rank=10, which keeps more of each"),
        ({"ranks": (40, 40), "rank": 20}, "'weights=[0.5,0.75]'; or rank=32, which keeps more of each"),
    ],
)
def test_what_to_try_if_one_is_too_weak(config, words):
    assert too_weak(metrics(**config)) == f"character is too weak: {words}"


def test_many_have_no_weights_to_propose():
    assert not any("weights" in line for line in in_words(metrics((0.5,) * 7)))


def test_what_is_proposed_does_what_it_says(tmp_path):
    """Its rank keeps more, its weight brings the adapter to the fore, and all else is as it was."""
    for seed in (1, 2):
        save(random_adapter("kohya", SHAPES, 4, seed=seed), tmp_path / f"{seed}.safetensors")

    def merged(**settings):
        config = MergeConfig(adapters=["1.safetensors", "2.safetensors"], page=False, **{"rank": 4, **settings})
        return merge(Run(tmp_path, tmp_path, alone=False), config)

    first = merged()
    shares = first["summary"]["retained"]
    weights = [0.75, 0.5] if shares[0] < shares[1] else [0.5, 0.75]
    listed = f"'weights=[{weights[0]:g},{weights[1]:g}]'"
    proposal = f"{listed} balance=saturate scale=retained; or rank=8, which keeps more of each"
    assert too_weak(first).split(": ")[1] == proposal
    chosen = {"balance": "saturate", "scale": "retained"}
    heavier, same, larger = merged(weights=weights, **chosen), merged(weights=[1, 1], **chosen), merged(rank=8)
    weak = shares.index(min(shares))
    assert heavier["summary"]["retained"][weak] > shares[weak]
    assert min(larger["summary"]["retained"]) > max(shares)
    assert same["summary"]["retained"] == pytest.approx(shares, rel=1e-5)
    assert 2 * same["summary"]["scale"] == pytest.approx(first["summary"]["scale"], rel=1e-5)


@pytest.mark.parametrize("form", FORMATS)
def test_how_to_load_it(form):
    *loading, last = where(metrics(form=form))
    assert last == "merged adapter: /runs/it's new.safetensors"
    assert len(loading) == (form != "torchtune")
    if form == "peft":
        assert loading == ['PEFT: PeftModel.from_pretrained(model, "/runs/it\'s new.safetensors")']
    if form == "gguf":
        assert loading == ["llama.cpp: llama-cli -m MODEL.gguf --lora '/runs/it'\"'\"'s new.safetensors'"]
