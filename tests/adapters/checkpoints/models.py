"""Whole models on the disk, small, in every layout: written by safetensors' own writer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.adapters.samples import normal

LLAMA = {
    f"model.layers.{i}.{layer}.weight": (m, n)
    for i in range(2)
    for layer, m, n in (("self_attn.q_proj", 24, 16), ("mlp.up_proj", 40, 16), ("mlp.down_proj", 16, 40))
}


def llama(dtype: torch.dtype = torch.float32, seed: int = 0) -> dict[str, Tensor]:
    """The tensors of a language model: matrices, norms, an embedding and a head."""
    shapes = {**LLAMA, "model.embed_tokens.weight": (50, 16), "lm_head.weight": (50, 16)}
    norms = {f"model.layers.{i}.input_layernorm.weight": torch.ones(16) for i in range(2)}
    return {key: value.to(dtype) for key, value in (_matrices(shapes, seed) | norms).items()}


def _matrices(shapes: Mapping[str, tuple[int, int]], seed: int) -> dict[str, Tensor]:
    return {key: normal(*shape, seed=seed + place) for place, (key, shape) in enumerate(shapes.items())}


def model_file(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path, dict(metadata or {"format": "pt"}))
    return path


def model_folder(path: Path, tensors: Mapping[str, Tensor], shards: int = 2) -> Path:
    """With config.json, and an index where there are several shards."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text('{"model_type": "llama"}')
    if shards == 1:
        model_file(path / "model.safetensors", tensors)
        return path
    keys = sorted(tensors)
    places: dict[str, str] = {}
    for number in range(shards):
        name = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = keys[number::shards]
        model_file(path / name, {key: tensors[key] for key in part})
        places |= dict.fromkeys(part, name)
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return path


def changed(tensors: Mapping[str, Tensor], rank: int = 2, size: float = 0.1, only: str = "layers") -> dict[str, Tensor]:
    """With an update of low rank of every matrix whose key has `only` in it, rounded as the tensors are."""
    result = dict(tensors)
    for place, (key, tensor) in enumerate(tensors.items()):
        if tensor.ndim > 1 and only in key:
            m, n = len(tensor), tensor[0].numel()
            update = normal(m, rank, seed=place).double() @ normal(rank, n, seed=place + 1).double()
            result[key] = (tensor.double() + size * update.view_as(tensor)).to(tensor.dtype)
    return result
