"""The weights of a merge: what may be given, and which module gets which."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import lorafold
from lorafold.common.errors import LorafoldError
from lorafold.pipelines.merge.block_weights import depths
from lorafold.pipelines.merge.weights import read_weights
from tests.builders import Source, changed, random_adapter
from tests.builders import one_thread as one_thread
from tests.demo_pair import change
from tests.oracles import relative, updates

NAN, INF = math.nan, math.inf
MISTAKES = {
    "too few weights": ([1.0], None, r"weights=\[1.0\], expected 2 finite numbers.*'weights=\[0.5,0.5\]'"),
    "too many weights": ([1.0, 1.0, 1.0], None, "expected 2 finite numbers, one per adapter"),
    "no weights": ([], None, r"weights=\[\], expected 2 finite numbers"),
    "weights of zero": ([0.0, 0], None, "not all zero"),
    "a weight that is no number": ([1.0, "0.5"], None, "expected 2 finite numbers"),
    "a weight that is true": ([1.0, True], None, "expected 2 finite numbers"),
    "a weight that is NaN": ([1.0, NAN], None, "expected 2 finite numbers"),
    "an infinite weight": ([1.0, INF], None, "expected 2 finite numbers"),
    "one number for two adapters": (0.5, None, "weights=0.5, expected 2 finite numbers"),
    "weights as text": ("11", None, "weights='11', expected 2 finite numbers.*mean is their mean, sum their sum"),
    "no mapping": (None, [["up", [1, 0]]], "expected a mapping from regular expressions"),
    "too few for a module": (None, {"up": [1]}, r"module_weights\['up'\]=\[1\], expected 2 finite numbers"),
    "one number for a module": (None, {"up": 1}, r"module_weights\['up'\]=1, expected 2 finite numbers"),
    "text for a module": (None, {"up": "10"}, "expected 2 finite numbers"),
    "no numbers for a module": (None, {"up": [1, None]}, "expected 2 finite numbers"),
    "NaN for a module": (None, {"up": [1, NAN]}, r"For example \[0.5,0.5\]"),
    "a list of one": (None, {"up": [[1], 0]}, r"expected 2 finite numbers.*\[0,1\], grows along the blocks"),
    "a list with NaN": (None, {"up": [[1, NAN], 0]}, "expected 2 finite numbers"),
    "no regular expression": (None, {"up(": [1, 0]}, r"module_weights\['up\('\] is not a regular expression"),
    "a repeated group": (None, {"(a+)+$": [1, 0]}, r"module_weights\[.*could take forever"),
    "a group repeated so many times": (None, {"(a|aa){9,}b": [1, 0]}, "could take forever"),
}
SHAPES = {"down.0": (12, 9), "down.1": (9, 14), "up.0": (12, 9)}


def pair() -> list[lorafold.Adapter]:
    return [random_adapter("kohya", SHAPES, r, seed=r, scale=0.5) for r in (3, 4)]


@pytest.mark.parametrize(("weights", "own", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_named(weights, own, message):
    with pytest.raises(LorafoldError, match=message) as caught:
        read_weights(weights, own, 2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "weights"),
    [(None, [0.5, 0.5]), ("sum", [1.0, 1.0]), ([1, -2], [1.0, -2.0]), ((0.0, 2.5), [0.0, 2.5])],
    ids=str,
)
def test_values_that_are_fine(given, weights):
    found = read_weights(given, None, 2).default
    assert found == weights and all(type(value) is float for value in found)


def test_one_number_is_enough_for_one_adapter():
    assert read_weights(2, None, 1).default == [2.0]


def test_the_first_pattern_that_occurs_in_the_name_decides():
    weights = read_weights([0.6, 0.4], {r"down_blocks\.0": [1, 0], "down|mid": [0, 1], "^up$": [0, 0]}, 2)
    assert weights.of("unet.down_blocks.0.attn") == [1.0, 0.0]
    assert weights.of("unet.down_blocks.1.attn") == weights.of("mid") == [0.0, 1.0]
    assert weights.of("up") == [0.0, 0.0]
    assert weights.of("unet.up.0") == [0.6, 0.4]


@pytest.mark.parametrize("pattern", [r"a\)+", "[)*]", r"layers\.(\d+)\.attn", "(up|down)?", r"[\])*]"])
def test_brackets_that_repeat_no_group(pattern):
    assert read_weights(None, {pattern: [1, 0]}, 2).patterns[0][0].pattern == pattern


def test_a_pattern_that_matches_nothing_is_named_with_names_that_exist():
    with pytest.raises(
        LorafoldError, match=r"module_weights\['dwon'\] matches none of 3 modules. .*'down.0' and 'up.0'"
    ):
        lorafold.merge(pair(), module_weights={"down": [1, 0], "dwon": [1, 0]})


@pytest.mark.parametrize("core", ["sum", "ties", "tsv"])
def test_a_module_with_weights_of_its_own_is_merged_as_if_all_had_them(core):
    options = {"core": core, "rank": 5, "subspace_weight": 0}
    found = lorafold.merge(pair(), weights=[0.6, 0.4], module_weights={"down": [0.2, -0.9]}, **options)
    down = lorafold.merge([changed(a, only=["down.0", "down.1"]) for a in pair()], weights=[0.2, -0.9], **options)
    up = lorafold.merge([changed(a, only=["up.0"]) for a in pair()], weights=[0.6, 0.4], **options)
    expected = {**updates(down.adapter), **updates(up.adapter)}
    assert list(found.adapter.modules) == list(SHAPES)
    for name, delta in updates(found.adapter).items():
        assert relative(delta, expected[name]) < 1e-9


@pytest.mark.parametrize("objective", ["chordal", "geodesic"])
@pytest.mark.parametrize("core", ["sum", "mean", "ties", "iso_c"])
def test_weights_of_zero_switch_a_module_off(objective, core):
    result = lorafold.merge(pair(), module_weights={"down": [0, 0]}, core=core, objective=objective, rank=4)
    found = updates(result.adapter)
    assert not bool(found["down.0"].any()) and bool(found["up.0"].any())
    assert all(module["converged"] for module in result.metrics()["modules"])


def test_biases_follow():
    biases = [Source(i).normal(12) for i in range(2)]
    adapters = [
        changed(replace(a, format="peft"), lambda m, b=b: replace(m, bias=b), only=["down.0", "up.0"])
        for a, b in zip(pair(), biases, strict=True)
    ]
    found = lorafold.merge(adapters, weights=[3, 1], module_weights={"down": [1, -1]}, core="mean", scale=2.0).adapter
    torch.testing.assert_close(found.modules["up.0"].bias, 2 * 0.5 * (0.75 * biases[0] + 0.25 * biases[1]))
    torch.testing.assert_close(found.modules["down.0"].bias, 2 * 0.5 * 0.5 * (biases[0] - biases[1]))


def test_additive_tensors_follow():
    deltas = [Source(i).normal(7) for i in range(2)]
    adapters = [replace(a, deltas={"down.norm": d, "t": d}) for a, d in zip(pair(), deltas, strict=True)]
    found = lorafold.merge(adapters, weights=[3, 1], module_weights={"down": [1, -1]}, core="mean", scale=2.0).adapter
    torch.testing.assert_close(found.deltas["t"], 2 * (0.75 * deltas[0] + 0.25 * deltas[1]))
    torch.testing.assert_close(found.deltas["down.norm"], deltas[0] - deltas[1])


def test_the_order_of_the_adapters_does_not_matter():
    one = lorafold.merge(pair(), module_weights={"down": [0.2, 0.9]}, rank=5, subspace_weight=0)
    other = lorafold.merge(pair()[::-1], module_weights={"down": [0.9, 0.2]}, rank=5, subspace_weight=0)
    assert change(other, one) < 1e-9


def deep(form: str, names: tuple[str, ...]) -> list[lorafold.Adapter]:
    return [random_adapter(form, dict.fromkeys(names, (6, 5)), 2, seed=seed) for seed in (1, 2)]


def test_weights_that_grow_along_the_blocks():
    """Evenly spread from the first block to the last, on a line between two of them, as mergekit's gradients."""
    names = tuple(f"model.layers.{i}.{kind}" for i in (0, 1, 3, 4) for kind in ("self_attn.q_proj", "mlp.up_proj"))
    adapters = deep("peft", names)
    found = lorafold.merge(adapters, module_weights={"attn": [[0, 1, 0.5], 2]}, core="sum", rank="max", scale=1.0)
    for name in names:
        depth = int(name.split(".")[2]) / 4
        own = (0.5, 0.5) if "mlp" in name else (2 * depth if depth <= 0.5 else 1.5 - depth, 2)
        expected = sum(w * updates(adapter)[name] for w, adapter in zip(own, adapters, strict=True))
        assert relative(updates(found.adapter)[name], expected) < 1e-12


def test_the_depth_of_an_image_model_runs_from_its_input_to_its_output(caplog):
    names = (
        "lora_unet_input_blocks_4_1_proj_in",
        "lora_unet_middle_block_1_proj_in",
        "lora_unet_output_blocks_8_0_in_layers_2",
        "lora_te1_text_model_encoder_layers_0_mlp_fc1",
        "lora_te1_text_model_encoder_layers_11_mlp_fc1",
    )
    found = depths(deep("kohya", names))
    assert list(found.values()) == pytest.approx([4 / 18, 9 / 18, 1, 0, 1])


def test_layers_outside_of_the_blocks_have_no_depth():
    adapters = deep("peft", ("model.layers.0.mlp", "model.layers.1.mlp", "lm_head"))
    with pytest.raises(LorafoldError, match=r"lm_head: module_weights\['.'\] grows along the blocks, but this lies in"):
        lorafold.merge(adapters, module_weights={".": [[0, 1], [1, 0]]})
    lorafold.merge(adapters, module_weights={"lm_head": [1, 1], ".": [[0, 1], [1, 0]]})
