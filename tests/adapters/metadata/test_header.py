"""What a merged file says: true entries only, and every other one still found under its input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lorafold.adapters import Adapter, Module
from lorafold.adapters.metadata.header import merged_metadata, signed


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
        "ss_network_args": "{}",
        "ss_network_module": "networks.lora",
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


def test_the_order_of_the_entries_of_a_file_does_not_matter() -> None:
    turned = [replace(each, metadata=dict(reversed(each.metadata.items()))) for each in (FIRST, SECOND)]
    one, other = (merged_metadata(adapters, [1, 2], [4]) for adapters in ([FIRST, SECOND], turned))
    assert one == other


def attn2(width: int) -> dict[str, Module]:
    name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
    return {name: Module(name, torch.zeros(5, 2), torch.zeros(2, width), 1.0)}


def test_a_merge_for_a_known_base_model_has_all_that_sd_scripts_and_modelspec_ask_for(monkeypatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    inputs = [replace(adapter(name), modules=attn2(2048)) for name in ("a.safetensors", "b.safetensors")]
    merged = merged_metadata(inputs, [1, 1], [4, 8])
    merged.pop("lorafold")
    assert merged == {
        "ss_base_model_version": "sdxl_base_v1-0",
        "ss_v2": "False",
        "ss_network_module": "networks.lora",
        "ss_network_dim": "Dynamic",
        "ss_network_alpha": "Dynamic",
        "ss_network_args": "{}",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
        "modelspec.title": "a + b",
        "modelspec.merged_from": "a, b",
        "modelspec.resolution": "1024x1024",
    }


def test_what_an_adapter_says_of_its_base_model_holds() -> None:
    said = {"ss_base_model_version": "sd_v1", "modelspec.architecture": "mine/lora", "ss_resolution": "(640, 768)"}
    merged = merged_metadata([adapter("a", **said)], [1.0], [4])
    assert merged["modelspec.architecture"] == "mine/lora"
    assert merged["modelspec.resolution"] == "640x768"
    assert merged["modelspec.title"] == "a"
    assert "modelspec.merged_from" not in merged


def test_a_merge_is_called_after_its_inputs_and_is_as_old_as_the_latest(monkeypatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    spec = {"modelspec.title": "Anime", "modelspec.date": "2023-01-01", "modelspec.trigger_phrase": "anm, girl"}
    later = {"modelspec.trigger_phrase": "oil,anm", "modelspec.date": "2023-02-01"}
    inputs = [adapter("a", **spec), adapter("b", ss_output_name="oil", **later)]
    merged = merged_metadata(inputs, [1, 1], [4])
    assert merged["modelspec.title"] == merged["ss_output_name"] == "Anime + oil"
    assert merged["modelspec.merged_from"] == "Anime, oil"
    assert merged["modelspec.trigger_phrase"] == "anm, girl, oil"
    assert merged["modelspec.date"] == "2023-02-01"
    assert provenance(merged)["inputs"][0]["metadata"]["modelspec.date"] == "2023-01-01"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert merged_metadata(inputs, [1, 1], [4])["modelspec.date"] == "2023-11-14T22:13:20"


@pytest.mark.parametrize(
    ("versions", "prediction"),
    [
        (["sd_v1"], "epsilon"),
        (["sd_v2_v", "sd_v2_v"], "v"),
        (["sd_v2_v", "sd_v2"], None),
        (["sdxl_base_v1-0"], None),  # of which there are both
        (["flux1"], None),
    ],
)
def test_what_the_base_model_predicts_is_said_where_its_version_says_so(versions: list[str], prediction: str) -> None:
    inputs = [adapter(f"{i}", ss_base_model_version=version) for i, version in enumerate(versions)]
    assert merged_metadata(inputs, [1.0] * len(inputs), [4]).get("modelspec.prediction_type") == prediction
    stated = [adapter("a", **{"ss_base_model_version": "sd_v1", "modelspec.prediction_type": "v"})]
    assert merged_metadata(stated, [1.0], [4])["modelspec.prediction_type"] == "v"


def test_tags_are_those_of_all_data_sets() -> None:
    tags = [{"1_cat": {"cat": 2}, "1_x": {"old": 1}}, {"1_dog": {"dog": 3}, "1_x": {"old": 1, "new": 5}}]
    inputs = [adapter(name, ss_tag_frequency=json.dumps(found)) for name, found in zip("ab", tags, strict=True)]
    merged = merged_metadata(inputs, [1, 1], [4])
    expected = {"1_cat": {"cat": 2}, "1_x": {"old": 2, "new": 5}, "1_dog": {"dog": 3}}
    assert json.loads(merged["ss_tag_frequency"]) == expected
    assert all("ss_tag_frequency" in entry["metadata"] for entry in provenance(merged)["inputs"])  # 1_x was not lost


def test_tags_that_are_all_there_are_not_written_twice() -> None:
    inputs = [adapter(name, ss_tag_frequency=json.dumps({f"1_{name}": {name: 2}})) for name in "ab"]
    merged = merged_metadata([*inputs, inputs[0]], [1, 1, 1], [4])
    assert json.loads(merged["ss_tag_frequency"]) == {"1_a": {"a": 2}, "1_b": {"b": 2}}
    assert [entry["metadata"] for entry in provenance(merged)["inputs"]] == [{}, {}, {}]


@pytest.mark.parametrize("tags", ["no JSON", "[]", '{"1_a": 3}'])
def test_tags_of_another_form_do_not_stop_a_merge(tags: str) -> None:
    merged = merged_metadata([adapter("a", ss_tag_frequency=tags), adapter("b")], [1, 1], [4])
    assert merged["ss_tag_frequency"] == tags


def test_an_algorithm_that_the_file_no_longer_has() -> None:
    arguments = json.dumps({"algo": "loha", "dropout": "0"})
    merged = merged_metadata([adapter("a", ss_network_args=arguments)], [1.0], [4])
    assert json.loads(merged["ss_network_args"]) == {"algo": "lora", "dropout": "0"}


def test_alphas_of_their_own() -> None:
    merged = merged_metadata([FIRST], [1.0], [4, 4], [2.0, 2.0])
    assert (merged["ss_network_dim"], merged["ss_network_alpha"]) == ("4", "2")
    assert merged_metadata([FIRST], [1.0], [4, 4], [2.0, 1.0])["ss_network_alpha"] == "Dynamic"


def test_a_peft_folder_gets_no_entries_of_other_formats() -> None:
    peft = Adapter("peft", attn2(768), metadata={"format": "pt"}, path=Path("/x/a"))
    assert merged_metadata([peft, peft], [1, 1], [4]).keys() == {"format", "lorafold"}


def test_a_signature_names_command_settings_and_inputs() -> None:
    merged = replace(FIRST, metadata=merged_metadata([FIRST, SECOND], [1, 1], [4]))
    config = {"adapters": ["/x/a"], "rank": 4, "core": {"name": "ties", "density": 0.5}, "threads": 2}
    found = provenance(dict(signed(merged, "merge", config, ["aa", "bb"]).metadata))
    assert (found["command"], found["method"]) == ("merge", {"rank": 4, "core": "ties"})
    assert [entry["sha256"] for entry in found["inputs"]] == ["aa", "bb"]
    same = provenance(dict(signed(merged, "merge", {**config, "threads": 1, "output": "x"}, ["aa", "bb"]).metadata))
    assert same == found
    config["core"] = {"name": "ties", "density": 0.4}
    other = provenance(dict(signed(merged, "merge", config, ["aa", "bb"]).metadata))
    assert other["config_sha256"] != found["config_sha256"]


def test_a_setting_that_is_a_mapping_without_a_name_is_kept_whole() -> None:
    merged = replace(FIRST, metadata=merged_metadata([FIRST], [1.0], [4]))
    found = provenance(dict(signed(merged, "merge", {"weights": {"layer": 0.5}}, ["aa"]).metadata))
    assert found["method"] == {"weights": {"layer": 0.5}}


def test_another_format_with_kohyas_entries_states_the_ranks_of_its_layers() -> None:
    merged = merged_metadata([FIRST], [1.0], [4, 4], [2.0, 2.0], "diffusers")
    assert (merged["ss_network_dim"], merged["ss_network_alpha"]) == ("4", "4")


@pytest.mark.parametrize(
    ("version", "module"),
    [
        ("sd_v1", "networks.lora"),
        ("sdxl_base_v1-0", "networks.lora"),
        ("flux1", "networks.lora_flux"),
        ("wan", "networks.lora_wan"),
    ],
)
def test_the_module_of_sd_scripts_is_that_of_the_base_model(version: str, module: str) -> None:
    """Whichever of the inputs says what that is."""
    inputs = [adapter("a"), adapter("b", ss_base_model_version=version)]
    assert merged_metadata(inputs, [1, 1], [4])["ss_network_module"] == module
