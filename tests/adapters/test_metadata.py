"""What a merged file says: true entries only, and every other one still found under its input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lorafold.adapters import Adapter
from lorafold.adapters.metadata import merged_metadata


def adapter(name: str | None, **metadata: str) -> Adapter:
    return Adapter("kohya", {}, metadata=metadata, path=None if name is None else Path("/x") / name)


FIRST = adapter("a.safetensors", ss_sd_model_name="sd15", ss_network_dim="8", sshs_model_hash="ab", ss_tag="cat")
SECOND = adapter("b.safetensors", ss_sd_model_name="sdxl", ss_network_dim="4", ss_only="me", ss_tag="cat")


def provenance(metadata: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(metadata["lorafold"])
    return found


def test_the_first_one_holds_and_the_others_add() -> None:
    merged = merged_metadata([FIRST, SECOND], [0.7, -0.3], [16, 16])
    assert {key: value for key, value in merged.items() if key != "lorafold"} == {
        "ss_sd_model_name": "sd15",
        "ss_tag": "cat",
        "ss_only": "me",
        "ss_network_dim": "16",
        "ss_network_alpha": "16",
    }


def test_what_differs_is_found_under_its_input() -> None:
    merged = merged_metadata([FIRST, SECOND], [0.7, -0.3], [16, 16])
    assert provenance(merged)["inputs"] == [
        {"file": "a.safetensors", "weight": 0.7, "metadata": {"ss_network_dim": "8", "sshs_model_hash": "ab"}},
        {"file": "b.safetensors", "weight": -0.3, "metadata": {"ss_sd_model_name": "sdxl", "ss_network_dim": "4"}},
    ]
    assert isinstance(provenance(merged)["version"], str)


def test_every_entry_of_every_input_can_be_recovered() -> None:
    inputs = [FIRST, SECOND, adapter(None), FIRST]
    merged = merged_metadata(inputs, [1, 1, 1, 1], [2, 3])
    for given, entry in zip(inputs, provenance(merged)["inputs"], strict=True):
        assert given.metadata.items() <= (merged | entry["metadata"]).items()


@pytest.mark.parametrize(("ranks", "stated"), [([4, 4], "4"), ([4, 8], "Dynamic")])
def test_rank_and_alpha_describe_the_result(ranks: list[int], stated: str) -> None:
    arguments = json.dumps({"conv_dim": "8", "conv_alpha": "1", "algo": "lora"})
    merged = merged_metadata([adapter("a", ss_network_args=arguments, ss_network_alpha="1")], [1.0], ranks)
    assert (merged["ss_network_dim"], merged["ss_network_alpha"]) == (stated, stated)
    assert json.loads(merged["ss_network_args"]) == {"conv_dim": stated, "conv_alpha": stated, "algo": "lora"}


@pytest.mark.parametrize("arguments", ["not JSON", "null", "[1]", '{"algo": "lora"}'])
def test_other_network_arguments_are_kept(arguments: str) -> None:
    assert merged_metadata([adapter("a", ss_network_args=arguments)], [1.0], [4])["ss_network_args"] == arguments


@pytest.mark.parametrize("key", ["sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256"])
def test_hashes_of_inputs_are_not_claimed(key: str) -> None:
    assert key not in merged_metadata([adapter("a", **{key: "1"}), adapter("b", **{key: "2"})], [1, 1], [4])


def test_a_merge_of_merges_keeps_both_histories() -> None:
    once = adapter("once", **merged_metadata([FIRST, SECOND], [1, 1], [4]))
    twice = merged_metadata([once, FIRST], [1, 1], [4])
    inner = provenance(twice)["inputs"][0]["metadata"]["lorafold"]
    assert [entry["file"] for entry in json.loads(inner)["inputs"]] == ["a.safetensors", "b.safetensors"]


def test_the_result_is_deterministic() -> None:
    assert merged_metadata([FIRST, SECOND], [1, 2], [4]) == merged_metadata([FIRST, SECOND], [1, 2], [4])
