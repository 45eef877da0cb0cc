"""kohya's format (sd-scripts, LyCORIS, ComfyUI): one safetensors file, an alpha tensor beside each pair.

`N.lora_down.weight` (r, in, *kernel), `N.lora_up.weight` (m, r, 1, ...), `N.lora_mid.weight` (r, r, *kernel) if the
kernel is Tucker-decomposed, `N.alpha` (scalar). scale = alpha / r; without alpha, 1. Read, but never written, are also
LoHa and LoKr (see `lycoris`), projections in parts (see `split`), and `N.dora_scale`, (m, 1, ...) or (1, in, 1, ...).
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.files.factor_pair import alpha_value, check_complete, contract_tucker, factor_pair, floating
from lorafold.adapters.files.tensor_file import TensorFile, write_tensors
from lorafold.adapters.files.webui_hashes import with_hashes
from lorafold.adapters.formats.refusals import unsupported
from lorafold.adapters.formats.registry import format
from lorafold.adapters.formats.split_qkv import split_pair
from lorafold.adapters.module import Module, Pending, sort_layers
from lorafold.adapters.parametrisations.dora import lycoris_magnitude
from lorafold.adapters.parametrisations.lycoris import product_layer
from lorafold.common.errors import LorafoldError

_UP, _DOWN, _MID, _ALPHA = "lora_up.weight", "lora_down.weight", "lora_mid.weight", "alpha"
_DORA = "dora_scale"
_SPLIT = r"lora_(?:up|down)\.\d{1,3}\.weight"
_PRODUCT = r"hada_w[12]_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?|lokr_t2"
_PART = re.compile(rf"(?P<name>.+)\.(?P<part>{_UP}|{_DOWN}|{_MID}|{_ALPHA}|{_DORA}|{_SPLIT}|{_PRODUCT})")
_ANY_FACTOR = re.compile(rf".+\.(?:{_UP}|{_DOWN}|{_SPLIT}|{_PRODUCT})")
# Differences of whole weights, biases and norms; every consumer adds them to the base, unscaled.
_DELTA = re.compile(r".+\.(diff|diff_b|w_norm|b_norm)")
_PARTS = "LoRA in parts"
_ONE_KIND = "A layer has one update: export the adapter again."


def _detect(keys: Collection[str]) -> bool:
    return any(_ANY_FACTOR.fullmatch(key) for key in keys) or all(_DELTA.fullmatch(key) for key in keys)


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
    write_tensors(path, tensors, with_hashes(tensors, adapter.metadata))


@format(
    "kohya",
    detect=_detect,
    tensors=_tensors,
    write=_write,
    holds=["an additive tensor"],
    style="kohya",
)
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
    for key in (f"{name}.diff" for name in parts if f"{name}.diff" in deltas):
        raise LorafoldError("a whole difference beside factors", path=file.path, key=key, remedy=_ONE_KIND)
    layers = {name: _layer(file, name, keys) for name, keys in parts.items()}
    modules, pending = sort_layers(layers)
    return Adapter("kohya", modules, deltas=deltas, metadata=file.metadata, pending=pending)


def _layer(file: TensorFile, name: str, keys: Mapping[str, str]) -> Module | Pending:
    kinds = {_kind(part) for part in keys} - {None}
    if len(kinds) > 1:
        found = " and ".join(sorted(map(str, kinds)))
        raise LorafoldError(f"{found} for one layer", path=file.path, key=next(iter(keys.values())), remedy=_ONE_KIND)
    key = next(iter(keys.values()))
    if kinds & {"LoHa", "LoKr"}:
        product = product_layer(file, name, keys)
        return Pending(product, lycoris_magnitude(file, keys.get(_DORA), product.shape, product.kernel), key)
    module = _module(file, name, keys, kinds == {_PARTS})
    magnitude = lycoris_magnitude(file, keys.get(_DORA), module.shape, module.kernel)
    return module if magnitude is None else Pending(module, magnitude, keys[_DORA])


def _kind(part: str) -> str | None:
    """What a part alone tells about the update of its layer."""
    if part in (_ALPHA, _DORA):
        return None
    if part.startswith("lora_"):
        return "LoRA" if part in (_UP, _DOWN, _MID) else _PARTS
    return "LoHa" if part.startswith("hada_") else "LoKr"


def _module(file: TensorFile, name: str, keys: Mapping[str, str], split: bool) -> Module:
    if split:
        up, down, rank = split_pair(file, keys)
    else:
        check_complete(file, keys, (_UP, _DOWN))
        up, down = factor_pair(file, keys[_UP], keys[_DOWN])
        if _MID in keys:
            down = contract_tucker(file, keys[_MID], down)
        rank = down.shape[0]
    kernel = tuple(down.shape[2:])
    scale = alpha_value(file, keys[_ALPHA]) / rank if _ALPHA in keys else 1.0
    return Module(name, up, down.flatten(1), scale, kernel, kind="conv" if kernel else "linear")
