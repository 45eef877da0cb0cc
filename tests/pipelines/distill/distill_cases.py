"""Tiny models of transformers with random adapters, and token ids for each of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from lorafold.adapters import Adapter, Module, save
from tests.builders import changed, random_adapter

WORDS = 50
SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": WORDS,
    "max_position_embeddings": 16,
}
BERT_SHAPES = {
    f"encoder.layer.{layer}.{name}": shape
    for layer in range(2)
    for name, shape in {"attention.self.query": (16, 16), "output.dense": (16, 24)}.items()
}
LLAMA_SHAPES = {
    f"model.layers.{layer}.{name}": shape
    for layer in range(2)
    for name, shape in {"self_attn.q_proj": (16, 16), "mlp.down_proj": (16, 24)}.items()
}


def bert() -> Any:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    return BertModel(BertConfig(**SIZES))


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES))


MODELS = {"bert": (bert, BERT_SHAPES), "llama": (llama, LLAMA_SHAPES)}


def adapters(shapes: dict[str, tuple[int, int]] = BERT_SHAPES, rank: int = 3, count: int = 2) -> list[Adapter]:
    return [random_adapter("peft", shapes, rank, seed=seed, scale=0.4) for seed in range(count)]


def inputs(seed: int, count: int = 20) -> list[dict[str, Tensor]]:
    """Batches of inputs of 3 to 7 tokens, padded."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for _ in range(count // 4):
        ids = torch.randint(1, WORDS, (4, 7), generator=generator)
        lengths = torch.randint(3, 8, (4, 1), generator=generator)
        mask = (torch.arange(7) < lengths).long()
        batches.append({"input_ids": ids * mask, "attention_mask": mask})
    return batches


def on_disk(place: Path, kind: str = "bert", count: int = 20) -> None:
    """MODEL, adapters a and b, a_in.safetensors and b_in.safetensors with token ids: as a user has them."""
    build, shapes = MODELS[kind]
    build().save_pretrained(place / "MODEL")
    for seed, (name, adapter) in enumerate(zip("ab", adapters(shapes), strict=True)):
        save(changed(adapter, as_float32), place / name)
        own = inputs(seed, count)
        save_file({key: torch.cat([batch[key] for batch in own]) for key in own[0]}, place / f"{name}_in.safetensors")


def as_pissa(source: Path, target: Path) -> Path:
    """The same factors, of an adapter that was initialised by PiSSA."""
    shutil.copytree(source, target)
    config = json.loads((target / "adapter_config.json").read_text())
    (target / "adapter_config.json").write_text(json.dumps({**config, "init_lora_weights": "pissa"}))
    return target


def as_float32(module: Module) -> Module:
    return replace(module, up=module.up.float(), down=module.down.float())
