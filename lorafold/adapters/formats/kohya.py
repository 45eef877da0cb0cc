"""kohya's format (sd-scripts, LyCORIS, ComfyUI): one safetensors file, an alpha tensor beside each pair.

`N.lora_down.weight` (r, in, *kernel), `N.lora_up.weight` (m, r, 1, ...), `N.lora_mid.weight` (r, r, *kernel) if the
kernel is Tucker-decomposed, `N.alpha` (scalar). scale = alpha / r; without alpha, 1. Read, but never written, are also
LoHa and LoKr (see `lycoris`), projections in parts (see `split`), and `N.dora_scale`, (m, 1, ...) or (1, in, 1, ...).
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping

import torch
from torch import Tensor

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.files.factor_pair import alpha_value, check_complete, contract_tucker, factor_pair
from lorafold.adapters.files.tensor_file import TensorFile
from lorafold.adapters.formats.layer_parts import DELTA, check_extras, check_module, sort_tensors, write_hashed
from lorafold.adapters.formats.registry import format
from lorafold.adapters.formats.split_qkv import split_pair
from lorafold.adapters.module import Module, Pending, sort_layers
from lorafold.adapters.parametrisations.dora import lycoris_magnitude
from lorafold.adapters.parametrisations.lycoris import PARTS, product_layer
from lorafold.common.errors import LorafoldError

_FILE = "a kohya file"
_UP, _DOWN, _MID, _ALPHA = "lora_up.weight", "lora_down.weight", "lora_mid.weight", "alpha"
_DORA = "dora_scale"
_SPLIT = r"lora_(?:up|down)\.\d{1,3}\.weight"
_PART = re.compile(rf"(?P<name>.+)\.(?P<part>{_UP}|{_DOWN}|{_MID}|{_ALPHA}|{_DORA}|{_SPLIT}|{PARTS})")
# PEFT's own LoHa and LoKr have the scale in their configuration.
_ANY_FACTOR = re.compile(rf"(?!.*base_model\.model\..*\.(?:{PARTS})).+\.(?:{_UP}|{_DOWN}|{_SPLIT}|{PARTS})")
_PARTS = "LoRA in parts"
_ONE_KIND = "A layer has one update: export the adapter again."


def _detect(keys: Collection[str]) -> bool:
    return any(_ANY_FACTOR.fullmatch(key) for key in keys) or all(DELTA.fullmatch(key) for key in keys)


def _tensors(adapter: Adapter) -> dict[str, Tensor]:
    check_extras(adapter, _FILE)
    factors = {key: tensor for module in adapter.modules.values() for key, tensor in _parts(module)}
    return {**factors, **adapter.deltas, **adapter.extras}


def _parts(module: Module) -> Iterator[tuple[str, Tensor]]:
    """The tensors of one module. alpha = scale * r, so the factors keep their bits."""
    check_module(module, _FILE)
    (m, n), r = module.shape, module.rank
    yield f"{module.name}.{_DOWN}", module.down.reshape(r, n // math.prod(module.kernel), *module.kernel)
    yield f"{module.name}.{_UP}", module.up.reshape(m, r, *(1 for _ in module.kernel))
    yield f"{module.name}.{_ALPHA}", torch.tensor(module.scale * r, dtype=torch.float32)


def _split(key: str) -> tuple[str, str] | None:
    match = _PART.fullmatch(key)
    return (match["name"], match["part"]) if match else None


@format(
    "kohya",
    detect=_detect,
    tensors=_tensors,
    write=write_hashed,
    holds=["an additive tensor"],
    style="kohya",
)
def read(file: TensorFile) -> Adapter:
    """The adapter in a file of kohya names.

    Raises:
        LorafoldError: an unknown tensor, an incomplete module, or a bad shape, dtype or alpha.
    """
    parts, deltas, extras = sort_tensors(file, _split)
    for key in (f"{name}.diff" for name in parts if f"{name}.diff" in deltas):
        raise LorafoldError("a whole difference beside factors", path=file.path, key=key, remedy=_ONE_KIND)
    layers = {name: _layer(file, name, keys) for name, keys in parts.items()}
    modules, pending = sort_layers(layers)
    return Adapter("kohya", modules, deltas=deltas, extras=extras, metadata=file.metadata, pending=pending)


def _layer(file: TensorFile, name: str, keys: Mapping[str, str]) -> Module | Pending:
    kinds = {_kind(part) for part in keys} - {None}
    if len(kinds) > 1:
        listing = " and ".join(sorted(map(str, kinds)))
        raise LorafoldError(f"{listing} for one layer", path=file.path, key=next(iter(keys.values())), remedy=_ONE_KIND)
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
