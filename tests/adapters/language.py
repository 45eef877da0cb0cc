"""Adapters of small language models as MLX, llama.cpp and torchtune save them, by rules written down here once more."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from lorafold.adapters import Adapter, Module
from tests.adapters.samples import normal

WIDTH, HEADS, KV_HEADS, HEAD = 12, 3, 1, 6
# Rows of every layer of a block.
ROWS = {
    "self_attn.q_proj": HEADS * HEAD,
    "self_attn.k_proj": KV_HEADS * HEAD,
    "self_attn.v_proj": KV_HEADS * HEAD,
    "mlp.gate_proj": 20,
}
LLAMA_CPP = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v"}
LLAMA_CPP |= {"mlp.gate_proj": "ffn_gate"}
CONFIG = {
    "model_type": "llama",
    "hidden_size": WIDTH,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "head_dim": HEAD,
}


def base_folder(path: Path, **config: Any) -> Path:
    """A base model's folder with nothing but its config.json."""
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps({**CONFIG, **config}))
    return path


def peft_adapter(rank: int = 2, scale: float = 1.5, blocks: int = 2) -> Adapter:
    """Under transformers' names."""
    names = {f"model.layers.{i}.{layer}": rows for i in range(blocks) for layer, rows in ROWS.items()}
    modules = {
        name: Module(name, normal(rows, rank, seed=i), normal(rank, WIDTH, seed=i + 50), scale)
        for i, (name, rows) in enumerate(names.items())
    }
    return Adapter("peft", modules)


def interleaved(rows: Tensor) -> Tensor:
    """Row h of a head of size d, in order: 0, d/2, 1, d/2 + 1, ...: what llama.cpp and torchtune make of q and k."""
    order = [
        head + half * HEAD // 2 + i for head in range(0, len(rows), HEAD) for i in range(HEAD // 2) for half in (0, 1)
    ]
    return rows[order]


def gguf_file(
    path: Path, adapter: Adapter, *, architecture: str = "llama", permuted: bool = True, **entries: Any
) -> Path:
    """What convert_lora_to_gguf.py makes of an adapter whose modules have one alpha."""
    tensors = {}
    for name, module in adapter.modules.items():
        number, _, layer = name.removeprefix("model.layers.").partition(".")
        swapped = permuted and layer in ("self_attn.q_proj", "self_attn.k_proj")
        tensors[f"blk.{number}.{LLAMA_CPP[layer]}.weight.lora_a"] = module.down
        tensors[f"blk.{number}.{LLAMA_CPP[layer]}.weight.lora_b"] = interleaved(module.up) if swapped else module.up
    first = next(iter(adapter.modules.values()))
    return gguf_tensors(path, tensors, architecture, **{"adapter.lora.alpha": first.scale * first.rank, **entries})


def gguf_tensors(path: Path, tensors: Mapping[str, Tensor], architecture: str = "llama", **entries: Any) -> Path:
    """An adapter of these tensors, written by llama.cpp's package."""
    writer = pytest.importorskip("gguf").GGUFWriter(path, architecture)
    for key, value in {"general.type": "adapter", "adapter.type": "lora", **entries}.items():
        if isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, list):
            writer.add_array(key, value)
        elif value is not None:
            writer.add_string(key, value)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def mlx_folder(path: Path, tensors: Mapping[str, Tensor], scale: Any = 20.0, **config: Any) -> Path:
    """What mlx_lm.lora saves."""
    path.mkdir(exist_ok=True)
    settings = {
        "fine_tune_type": "lora",
        "num_layers": 2,
        "lora_parameters": {"rank": 2, "scale": scale, "dropout": 0.0},
    }
    (path / "adapter_config.json").write_text(json.dumps({**settings, **config}))
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path / "adapters.safetensors")
    return path


def torchtune_folder(path: Path, adapter: Adapter) -> Path:
    """An adapter's state in torchtune, as safetensors, beside the configuration that torchtune writes for PEFT."""
    path.mkdir(exist_ok=True)
    names = {"self_attn.": "attn.", "mlp.gate_proj": "mlp.w1"}
    tensors = {}
    for name, module in adapter.modules.items():
        ours = name.removeprefix("model.")
        for theirs, replacement in names.items():
            ours = ours.replace(theirs, replacement)
        swapped = name.endswith(("q_proj", "k_proj"))
        tensors[f"{ours}.lora_a.weight"] = module.down
        tensors[f"{ours}.lora_b.weight"] = interleaved(module.up) if swapped else module.up
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path / "adapter_model.safetensors")
    first = next(iter(adapter.modules.values()))
    config = {
        "peft_type": "LORA",
        "r": first.rank,
        "lora_alpha": first.scale * first.rank,
        "target_modules": ["q_proj"],
    }
    (path / "adapter_config.json").write_text(json.dumps(config))
    return path


def same_updates(one: Adapter, other: Adapter, tolerance: float = 1e-6) -> None:
    """Names and updates are equal."""
    assert one.modules.keys() == other.modules.keys()
    for name, module in one.modules.items():
        mine, theirs = (m.scale * m.up.double() @ m.down.double() for m in (module, other.modules[name]))
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)
