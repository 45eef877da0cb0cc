"""GGUF adapters against llama.cpp's rules, its own package, and files made as its converter makes them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lorafold.adapters import Adapter, Module, load, save
from lorafold.adapters.naming.language import LLAMA_CPP, MODELS, to_tool, to_transformers
from lorafold.common.errors import LorafoldError
from lorafold.pipelines.convert.pipeline import convert
from lorafold.pipelines.merge.pipeline import merge
from tests.adapters.language import HEADS, KV_HEADS, base_folder, gguf_file, interleaved, peft_adapter, same_updates
from tests.adapters.samples import normal, update

gguf = pytest.importorskip("gguf")
Q = "model.layers.0.self_attn.q_proj"


def computed_by_llama_cpp(path: Path) -> dict[str, torch.Tensor]:
    """Updates (m, n) by llama.cpp's names, as `llama_adapter_lora_weight::get_scale` scales them."""
    reader = gguf.GGUFReader(path)
    alpha = float(reader.fields["adapter.lora.alpha"].contents())
    assert reader.fields["general.type"].contents() == "adapter" and reader.fields["adapter.type"].contents() == "lora"
    tensors = {
        tensor.name: torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy()).double()
        for tensor in reader.tensors
    }
    updates = {}
    for key, b in tensors.items():
        name, _, leaf = key.rpartition(".")
        if leaf == "lora_b":
            a = tensors[f"{name}.lora_a"]
            a = a.mT if name == "token_embd.weight" else a
            updates[name] = (alpha / b.shape[-1] if alpha else 1.0) * b @ a
    return updates


@pytest.mark.parametrize(
    ("kind", "permuted"), [("llama", True), ("mistral", True), ("qwen2", False), ("gemma3", False)]
)
def test_what_its_converter_makes_is_read_exactly(tmp_path: Path, kind: str, permuted: bool) -> None:
    before, base = peft_adapter(), base_folder(tmp_path / "base", model_type=kind)
    architecture = MODELS[kind].llama_cpp
    path = gguf_file(tmp_path / "a.gguf", before, architecture=architecture, permuted=permuted)
    same_updates(convert(path, format="peft", base=str(base)).adapter, before)


@pytest.mark.parametrize(("kind", "permuted"), [("llama", True), ("qwen3", False)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_what_is_written_llama_cpp_computes(tmp_path: Path, kind: str, permuted: bool, dtype: torch.dtype) -> None:
    plain = peft_adapter().modules.items()
    modules = {name: replace(m, up=m.up.to(dtype), down=m.down.to(dtype)) for name, m in plain}
    before, base = Adapter("peft", modules), base_folder(tmp_path / "base", model_type=kind)
    result = convert(before, target="gguf", base=str(base))
    assert {link.action for link in result.links} == {"renamed"} and len(result.links) == len(before.modules)
    path = save(result.adapter, tmp_path / "a.gguf")
    computed = computed_by_llama_cpp(path)
    assert len(computed) == len(before.modules)
    for name, module in before.modules.items():
        rows = interleaved if permuted and name.endswith(("q_proj", "k_proj")) else lambda rows: rows
        theirs = computed[f"{to_tool(name, LLAMA_CPP)}.weight"]
        torch.testing.assert_close(theirs, rows(update(module)), rtol=1e-6, atol=1e-6)
    same_updates(convert(path, format="peft", base=str(base)).adapter, before)


def test_attention_is_what_transformers_computes(tmp_path: Path) -> None:
    """Interleaved rows under llama.cpp's rotation of neighbours give the scores of halves under transformers'."""
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    d, adapter = 6, peft_adapter(blocks=1)
    base = base_folder(tmp_path / "base")
    path = save(convert(adapter, format="gguf", base=str(base)).adapter, tmp_path / "a.gguf")
    theirs, x = computed_by_llama_cpp(path), normal(5, 12).double()
    angles = torch.outer(torch.arange(5.0), 10000 ** (-torch.arange(0, d, 2) / d)).double()

    def turned(rows: torch.Tensor) -> torch.Tensor:  # (position, head, d): neighbours are the two parts of a number
        numbers = torch.view_as_complex((x @ rows.mT).reshape(5, -1, d // 2, 2))
        return torch.view_as_real(numbers * torch.polar(torch.ones_like(angles), angles)[:, None]).flatten(2)

    q, k = (turned(theirs[f"blk.0.attn_{part}.weight"]) for part in "qk")
    ours = [
        (x @ update(adapter.modules[f"model.layers.0.self_attn.{part}_proj"]).mT).reshape(5, -1, d) for part in "qk"
    ]
    cos, sin = (torch.cat([table, table], dim=-1)[:, None] for table in (angles.cos(), angles.sin()))
    wanted = [part.squeeze(0) for part in apply_rotary_pos_emb(*ours, cos, sin, unsqueeze_dim=0)]
    scores, expected = (torch.einsum("ihd, jkd -> ihjk", *pair) for pair in ((q, k), wanted))
    assert scores.shape == (5, HEADS, 5, KV_HEADS)
    torch.testing.assert_close(scores, expected, rtol=1e-6, atol=1e-6)


def test_ranks_and_scales_that_differ_stay(tmp_path: Path) -> None:
    modules = {
        "blk.0.attn_q": Module("blk.0.attn_q", normal(6, 3), normal(3, 5), 2.0),
        "blk.0.attn_v": Module("blk.0.attn_v", normal(6, 2), normal(2, 5), 3.0),
        "blk.0.ffn_up": Module("blk.0.ffn_up", normal(6, 1), normal(1, 5), -0.3),
        "token_embd": Module("token_embd", normal(5, 2), normal(2, 9), 0.7, kind="embedding"),
        "output": Module("output", normal(9, 2), torch.zeros(2, 5), 0.0),
    }
    modules |= {
        f"blk.0.ffn_up_exps#{e}": Module(f"blk.0.ffn_up_exps#{e}", normal(6, 1 + e), normal(1 + e, 5), 1.0 + e)
        for e in range(2)
    }
    before = Adapter("gguf", modules, config={"general.architecture": "llama"})
    path = save(before, tmp_path / "a.gguf")
    same_updates(load(path), before)
    computed = computed_by_llama_cpp(path)
    for name, module in modules.items():
        layer, _, expert = name.partition("#")
        found = computed[f"{layer}.weight"]
        torch.testing.assert_close(found[int(expert)] if expert else found, update(module), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("alpha", [None, 0.0])
def test_without_alpha_the_scale_is_one(tmp_path: Path, alpha: float | None) -> None:
    path = gguf_file(tmp_path / "a.gguf", peft_adapter(), **{"adapter.lora.alpha": alpha})
    assert {module.scale for module in load(path).modules.values()} == {1.0}


def test_what_is_quantised_to_8_bits_is_read_as_its_package_reads_it(tmp_path: Path) -> None:
    writer, factors = gguf.GGUFWriter(tmp_path / "a.gguf", "qwen2"), {"a": normal(2, 64), "b": normal(32, 2).mT}
    packed = {
        name: gguf.quants.quantize(f.contiguous().numpy(), gguf.GGMLQuantizationType.Q8_0)
        for name, f in factors.items()
    }
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_tensor("blk.0.attn_q.weight.lora_a", packed["a"], raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("blk.0.attn_q.weight.lora_b", normal(32, 2).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    down = load(tmp_path / "a.gguf").modules["blk.0.attn_q"].down
    assert torch.equal(down, torch.from_numpy(gguf.quants.dequantize(packed["a"], gguf.GGMLQuantizationType.Q8_0)))
    assert not torch.equal(down, factors["a"]) and torch.allclose(down, factors["a"], atol=0.02)


def test_two_merge_without_a_base_and_say_what_they_were(tmp_path: Path) -> None:
    """Both have their rows in one order, so that nothing depends on it."""
    one, other = (peft_adapter(scale=scale) for scale in (1.0, 2.5))
    paths = [gguf_file(tmp_path / f"{i}.gguf", adapter) for i, adapter in enumerate((one, other))]
    merged = merge(paths, weights=[0.5, 0.5], core="sum", rank="max").adapter
    again = load(save(merged, tmp_path / "merged.gguf"))
    assert '"weight":0.5' in again.metadata["lorafold"]
    base = str(base_folder(tmp_path / "base"))
    for name, module in convert(again, format="peft", base=base).adapter.modules.items():
        expected = 0.5 * update(one.modules[name]) + 0.5 * update(other.modules[name])
        torch.testing.assert_close(update(module), expected, rtol=1e-5, atol=1e-5)


def test_a_peft_adapter_joins_where_it_is_known_how(tmp_path: Path) -> None:
    one, other, base = peft_adapter(), peft_adapter(scale=0.25), str(base_folder(tmp_path / "base"))
    path = gguf_file(tmp_path / "a.gguf", one)
    with pytest.raises(LorafoldError, match=r"rows of this layer have another order.*base=FOLDER"):
        merge([other, path], core="sum")
    merged = merge([other, path], weights=[1, 1], core="sum", rank="max", base=base).adapter
    for name, module in merged.modules.items():
        expected = update(one.modules[name]) + update(other.modules[name])
        torch.testing.assert_close(update(module), expected, rtol=1e-5, atol=1e-5)
    plain = gguf_file(tmp_path / "q.gguf", one, architecture="qwen2", permuted=False)
    assert merge([plain, other], core="sum").adapter.format == "gguf"


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ({"general.type": "model"}, "general.type: 'model', expected 'adapter'"),
        ({"adapter.type": "control_vector"}, "adapter.type: 'control_vector', expected 'lora'"),
        ({"adapter.alora.invocation_tokens": [1, 2]}, "an activated LoRA"),
        ({"adapter.lora.alpha": float("inf")}, "inf, expected a finite number"),
        ({"adapter.lora.alpha": "much"}, "much, expected a finite number"),
    ],
)
def test_entries_of_another_kind_are_refused(tmp_path: Path, entries: dict[str, Any], problem: str) -> None:
    with pytest.raises(LorafoldError, match=problem):
        load(gguf_file(tmp_path / "a.gguf", peft_adapter(), **entries))


def test_models_of_different_kinds_do_not_merge(tmp_path: Path) -> None:
    one = gguf_file(tmp_path / "a.gguf", peft_adapter())
    other = gguf_file(tmp_path / "b.gguf", peft_adapter(), architecture="qwen2", permuted=False)
    with pytest.raises(LorafoldError, match="qwen2 here but llama in another adapter: these are models of different"):
        merge([one, other])


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"model_type": "phi3"}, "'phi3', expected one of llama"),
        ({"model_type": "qwen2"}, "'llama', but the base model is qwen2"),
        ({"hidden_size": 24}, "18 x 12, but 18 x 24 by"),
        ({"head_dim": 4}, "18 x 12, but 12 x 12 by"),
        ({"head_dim": 5}, "head_dim: 5, expected an even number"),
        ({"num_attention_heads": 0}, "num_attention_heads: 0, expected a positive integer"),
    ],
)
def test_a_base_model_that_does_not_fit_is_refused(tmp_path: Path, config: dict[str, Any], problem: str) -> None:
    path, base = gguf_file(tmp_path / "a.gguf", peft_adapter()), base_folder(tmp_path / "base", **config)
    with pytest.raises(LorafoldError, match=problem):
        convert(path, format="peft", base=str(base))


@pytest.mark.parametrize(
    ("name", "config", "problem"),
    [
        ("lm_head", {"tie_word_embeddings": True}, "no such weight of its own"),
        ("model.layers.0.mlp.experts.0.up_proj", {}, "gguf has no such layer"),
        ("lm_head", None, "format=gguf depends on the base model.*base=FOLDER"),
    ],
)
def test_what_llama_cpp_has_no_layer_for_is_refused(tmp_path, name, config, problem) -> None:
    adapter = Adapter("peft", {name: Module(name, normal(6, 2), normal(2, 12), 1.0)})
    base = None if config is None else str(base_folder(tmp_path / "base", **config))
    with pytest.raises(LorafoldError, match=problem):
        convert(adapter, format="gguf", base=base)


def test_without_its_package_writing_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    adapter = Adapter("gguf", {"a": Module("a", normal(3, 1), normal(1, 3), 1.0)}, config={"general.architecture": "x"})
    with pytest.raises(LorafoldError, match=r"pip install 'lorafold\[gguf\]'"):
        save(adapter, tmp_path / "a.gguf")
    assert not list(tmp_path.iterdir())


def test_an_adapter_of_no_architecture_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(LorafoldError, match=r"general\.architecture: missing.*base=FOLDER"):
        save(Adapter("gguf", {"a": Module("a", normal(3, 1), normal(1, 3), 1.0)}), tmp_path / "a.gguf")


@pytest.mark.parametrize("kind", MODELS)
def test_names_are_those_of_its_package(kind: str) -> None:
    """Every layer that the dictionary knows, and, of a real model of transformers, every linear layer."""
    transformers = pytest.importorskip("transformers")
    small = {
        "num_hidden_layers": 2,
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_attention_heads": 2,
        "vocab_size": 8,
    }
    config = transformers.AutoConfig.for_model("gemma3_text" if kind == "gemma3" else kind, pad_token_id=0, **small)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    names = [name for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear | torch.nn.Embedding)]
    architecture = next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == MODELS[kind].llama_cpp)
    table = gguf.get_tensor_name_map(architecture, 2)
    assert len(names) == 16
    for name in names:
        theirs = to_tool(name, LLAMA_CPP)
        assert theirs is not None and to_transformers(theirs, LLAMA_CPP) == name
        if name != "lm_head" or not kind.startswith("gemma"):  # which llama.cpp leaves out
            assert theirs == table.get_name(name)
