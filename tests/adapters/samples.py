"""Adapters written by safetensors' own writer, and updates computed densely: independent of what is tested."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from lorafold.adapters import Module

PREFIX = "base_model.model."


def normal(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Reproducible numbers of order 1."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + 31 * sum(shape))).to(dtype)


def kohya_pair(name: str = "lora_unet_a", m: int = 6, n: int = 5, r: int = 2) -> dict[str, Tensor]:
    """One linear module without alpha."""
    return {f"{name}.lora_down.weight": normal(r, n), f"{name}.lora_up.weight": normal(m, r, seed=1)}


def peft_pair(name: str = "block.q_proj", m: int = 6, n: int = 5, r: int = 2, adapter: str = "") -> dict[str, Tensor]:
    """One linear module; `adapter` is an adapter's name left in the keys, with its dot (".default")."""
    return {
        f"{PREFIX}{name}.lora_A{adapter}.weight": normal(r, n),
        f"{PREFIX}{name}.lora_B{adapter}.weight": normal(m, r, seed=1),
    }


def kohya_file(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> Path:
    save_file(dict(tensors), path, None if metadata is None else dict(metadata))
    return path


def peft_folder(path: Path, tensors: Mapping[str, Tensor], **config: Any) -> Path:
    """r = lora_alpha = 2 unless `config` says otherwise."""
    path.mkdir(exist_ok=True)
    save_file(dict(tensors), path / "adapter_model.safetensors", {"format": "pt"})
    full = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"], **config}
    (path / "adapter_config.json").write_text(json.dumps(full))
    return path


def update(module: Module) -> Tensor:
    """Delta W (m, n) in float64."""
    return module.scale * module.up.double() @ module.down.double()
