"""kohya's format (sd-scripts, LyCORIS, ComfyUI): one safetensors file, an alpha tensor beside each pair.

`N.lora_down.weight` (r, in, *kernel), `N.lora_up.weight` (m, r, 1, ...), `N.lora_mid.weight` (r, r, *kernel) if the
kernel is Tucker-decomposed, `N.alpha` (scalar). scale = alpha / r; without alpha, 1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from lorafold.adapters.adapter import Adapter, Module
from lorafold.adapters.factors import check_complete, contract_tucker, factor_pair, floating
from lorafold.adapters.registry import register
from lorafold.adapters.tensor_file import TensorFile, write_tensors
from lorafold.adapters.unsupported import unsupported
from lorafold.errors import LorafoldError

_UP, _DOWN, _MID, _ALPHA = "lora_up.weight", "lora_down.weight", "lora_mid.weight", "alpha"
_PART = re.compile(rf"(?P<name>.+)\.(?P<part>{_UP}|{_DOWN}|{_MID}|{_ALPHA})")
# Differences of whole weights, biases and norms; every consumer adds them to the base, unscaled.
_DELTA = re.compile(r".+\.(diff|diff_b|w_norm|b_norm)")


def _detect(keys: Collection[str]) -> bool:
    return any(key.endswith((f".{_UP}", f".{_DOWN}")) for key in keys)


def _tensors(adapter: Adapter) -> dict[str, Tensor]:
    return {key: tensor for module in adapter.modules.values() for key, tensor in _parts(module)} | _others(adapter)


def _parts(module: Module) -> Iterator[tuple[str, Tensor]]:
    """The tensors of one module. alpha = scale * r, so the factors keep their bits."""
    if module.bias is not None or module.kind == "embedding":
        raise LorafoldError(
            "a kohya file can hold neither a LoRA bias nor an embedding", key=module.name, remedy="Save as PEFT."
        )
    (m, n), r = module.shape, module.rank
    yield f"{module.name}.{_DOWN}", module.down.reshape(r, n // math.prod(module.kernel), *module.kernel)
    yield f"{module.name}.{_UP}", module.up.reshape(m, r, *(1 for _ in module.kernel))
    yield f"{module.name}.{_ALPHA}", torch.tensor(module.scale * r, dtype=torch.float32)


def _others(adapter: Adapter) -> dict[str, Tensor]:
    """The additive tensors; absolute ones have no place in a kohya file."""
    for key in adapter.extras:
        raise LorafoldError("a kohya file cannot hold whole weights", key=key, remedy="Save as PEFT.")
    return dict(adapter.deltas)


def _write(adapter: Adapter, tensors: Mapping[str, Tensor], path: Path) -> None:
    write_tensors(path, tensors, adapter.metadata)


@register("kohya", detect=_detect, tensors=_tensors, write=_write)
def read(file: TensorFile) -> Adapter:
    """The adapter in a file of kohya names.

    Raises:
        LorafoldError: an unknown tensor, an incomplete module, or a bad shape, dtype or alpha.
    """
    parts: dict[str, dict[str, str]] = {}  # module -> part -> key
    deltas: dict[str, Tensor] = {}
    for key in file.tensors:
        if match := _PART.fullmatch(key):
            parts.setdefault(match["name"], {})[match["part"]] = key
        elif _DELTA.fullmatch(key):
            deltas[key] = floating(file, key)
        else:
            raise unsupported(file.path, key)
    modules = {name: _module(file, name, keys) for name, keys in parts.items()}
    return Adapter("kohya", modules, deltas=deltas, metadata=file.metadata)


def _module(file: TensorFile, name: str, keys: Mapping[str, str]) -> Module:
    check_complete(file, keys, (_UP, _DOWN))
    up, down = factor_pair(file, keys[_UP], keys[_DOWN])
    if _MID in keys:
        down = contract_tucker(file, keys[_MID], down)
    kernel, rank = tuple(down.shape[2:]), down.shape[0]
    scale = _alpha(file, keys[_ALPHA]) / rank if _ALPHA in keys else 1.0
    return Module(name, up, down.flatten(1), scale, kernel, kind="conv" if kernel else "linear")


def _alpha(file: TensorFile, key: str) -> float:
    """One finite number of any real dtype: some trainers store the integer that they were given."""
    tensor = file.tensors[key]
    value = tensor.item() if tensor.numel() == 1 and not tensor.is_complex() else math.nan
    if not math.isfinite(value):
        raise LorafoldError(
            f"alpha {tensor.flatten()[:3].tolist()} of shape {tuple(tensor.shape)}, expected one finite number",
            path=file.path,
            key=key,
            remedy="The file is damaged: download or export it again.",
        )
    return float(value)
