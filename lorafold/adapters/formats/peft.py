"""PEFT's format: a folder of adapter_config.json and adapter_model.safetensors, with a card if lorafold made it.

`base_model.model.N.lora_A.weight` (r, in, *kernel), `...lora_B.weight` (m, r, 1, ...), `...lora_B.bias` (m,);
embeddings `...lora_embedding_A` (r, vocabulary), `...lora_embedding_B` (dim, r); convolutions of g groups have `lora_B`
(m, r / g, 1, ...). Some exports keep the adapter's name,
`lora_A.default.weight`; PEFT's own files have none. Every tensor without "lora_" is an absolute one. Read, but never
written, are `...lora_magnitude_vector` (m,) or (1, m, 1, ...), with ".weight" in some versions: DoRA; and
`...lokr_w1` or `...hada_w1_a` (see `lycoris`), with the scale alpha / r of the configuration. Wrappers, of a compiled
or twice wrapped model, are no part of a name.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.files.factor_pair import bias_vector, check_complete, factor_pair, floating, groups
from lorafold.adapters.files.locate import TENSORS_NAME
from lorafold.adapters.files.tensor_file import TensorFile, storable, write_tensors
from lorafold.adapters.formats.peft_card import CARD_NAME, card, is_card
from lorafold.adapters.formats.peft_config import CONFIG_NAME, Scaling, load_config, scaling
from lorafold.adapters.formats.peft_experts import experts, stacked
from lorafold.adapters.formats.peft_export import export_config
from lorafold.adapters.formats.refusals import unsupported
from lorafold.adapters.formats.registry import format
from lorafold.adapters.module import Module, Pending, sort_layers
from lorafold.adapters.parametrisations.dora import peft_magnitude
from lorafold.adapters.parametrisations.lycoris import PARTS, product_layer
from lorafold.common.errors import LorafoldError

_PREFIX = "base_model.model."
_DOWN, _UP, _BIAS = "lora_A.weight", "lora_B.weight", "lora_B.bias"
_EMBEDDING_DOWN, _EMBEDDING_UP = "lora_embedding_A", "lora_embedding_B"
_DORA = "lora_magnitude_vector"
_WRAPPERS = re.compile(r"(?:_orig_mod\.|module\.)*(?:base_model\.model\.(?:_orig_mod\.)*)+")
_PART = re.compile(
    rf"{re.escape(_PREFIX)}(?P<name>.+)\.(?P<factor>lora_(?:embedding_)?[AB]|{_DORA}|{PARTS})"
    r"(?:\.(?P<adapter>(?!(?:weight|bias)$)[^.]+))?(?P<leaf>\.weight|\.bias)?"
)


def _detect(keys: Collection[str]) -> bool:
    return any(_WRAPPERS.match(key) for key in keys)


def _plain(key: str) -> str:
    """The key as PEFT writes it."""
    return _WRAPPERS.sub(_PREFIX, key, count=1).replace("._orig_mod.", ".")


def _tensors(adapter: Adapter) -> dict[str, Tensor]:
    for key in adapter.deltas:
        raise LorafoldError("a PEFT adapter cannot hold additive tensors", key=key, remedy="Save as kohya.")
    modules, _ = stacked(adapter.modules)
    biased = any(module.bias is not None for module in modules.values())
    parts = (part for module in modules.values() for part in _parts(module, biased))
    return dict(parts) | dict(adapter.extras)


def _parts(module: Module, biased: bool) -> Iterator[tuple[str, Tensor]]:
    """The tensors of one module; if one module has a LoRA bias, PEFT expects one of all, so others get zeros."""
    base, (m, n) = _PREFIX + module.name, module.shape
    if module.kind == "embedding":
        if biased:
            raise LorafoldError(
                "an embedding, but other modules have a LoRA bias, which PEFT refuses to combine",
                key=module.name,
                remedy="Leave out the embedding or the adapter with lora_bias.",
            )
        yield f"{base}.{_EMBEDDING_DOWN}", module.down
        yield f"{base}.{_EMBEDDING_UP}", module.up
        return
    yield f"{base}.{_DOWN}", module.down.reshape(-1, n // math.prod(module.kernel), *module.kernel)
    yield f"{base}.{_UP}", module.up.reshape(m, -1, *(1 for _ in module.kernel))
    if biased:
        yield f"{base}.{_BIAS}", module.up.new_zeros(m) if module.bias is None else module.bias


def _write(adapter: Adapter, tensors: Mapping[str, Tensor], path: Path) -> None:
    path.mkdir()
    config = json.dumps(export_config(adapter), indent=2, sort_keys=True)
    (path / CONFIG_NAME).write_text(config, encoding="utf-8", newline="\n")
    write_tensors(path / TENSORS_NAME, tensors, {**adapter.metadata, "format": "pt"})
    if text := card(adapter):
        (path / CARD_NAME).write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


@format(
    "peft",
    detect=_detect,
    tensors=_tensors,
    write=_write,
    companions=(CONFIG_NAME,),
    described=lambda folder: [CARD_NAME] if is_card(folder / CARD_NAME) else [],
    holds=["a LoRA bias", "an embedding", "a whole weight"],
    style="peft",
    one_model=True,
)
def read(file: TensorFile) -> Adapter:
    """The adapter in a file of PEFT names, with the adapter_config.json beside it.

    Raises:
        LorafoldError: no configuration, not a plain LoRA, an unknown tensor, an incomplete module, or a bad shape.
    """
    config_path = file.path.parent / CONFIG_NAME
    return parse(file, load_config(config_path), config_path)


def parse(file: TensorFile, config: Mapping[str, Any], config_path: Path) -> Adapter:
    """The adapter in tensors of PEFT names, of a file or a live model, with a configuration that `check_plain` passes.

    Raises:
        LorafoldError: an unknown tensor, an incomplete module, or a bad shape.
    """
    parts, extras = _sort_keys(file)
    rule = scaling(config_path, config, file.tensors)
    dora = (_DORA,) if config.get("use_dora") else ()
    layers: dict[str, Module | Pending] = {}
    for name, keys in parts.items():
        if count := groups(file, keys.get(_UP), keys.get(_DOWN)):
            layers |= _groups(file, name, keys, rule, count)
        else:
            layers[name] = _layer(file, name, keys, rule, dora, bool(config.get("target_parameters")))
    modules, pending = sort_layers(layers)
    modules = {single.name: single for module in modules.values() for single in _singles(module, rule)}
    return Adapter("peft", modules, extras=extras, metadata=file.metadata, config=config, pending=pending)


def _singles(module: Module, rule: Scaling) -> Iterable[Module]:
    """The module, or one for each of the experts that it stacks."""
    rank, _ = rule.resolve(module.name)
    return [module] if module.rank == rank or "#" in module.name else experts(module, rank)


def _groups(file: TensorFile, name: str, keys: Mapping[str, str], rule: Scaling, count: int) -> dict[str, Module]:
    """One module for each group of a convolution's outputs, "NAME#g", so that a merge treats it by itself.

    PEFT gives `lora_B` the groups of the layer, but not `lora_A`, so that a group's update has all inputs.
    """
    for part, key in keys.items():
        if part not in (_UP, _DOWN):
            raise unsupported(file.path, key)
    ups, downs = (floating(file, keys[part]).chunk(count) for part in (_UP, _DOWN))
    rank, scale = rule.resolve(name)
    _check_rank(file, keys[_DOWN], len(downs[0]) * count, rank)
    kernel = tuple(downs[0].shape[2:])
    return {
        f"{name}#{g}": Module(f"{name}#{g}", up.flatten(1), down.flatten(1), scale, kernel, kind="conv")
        for g, (up, down) in enumerate(zip(ups, downs, strict=True))
    }


def _sort_keys(file: TensorFile) -> tuple[dict[str, dict[str, str]], dict[str, Tensor]]:
    """(module -> part -> key, absolute tensors by key)."""
    parts: dict[str, dict[str, str]] = {}
    extras: dict[str, Tensor] = {}
    adapters: set[str | None] = set()
    for key, tensor in file.tensors.items():
        plain = _plain(key)
        if match := _PART.fullmatch(plain):
            part = match["factor"] if match["factor"] == _DORA else match["factor"] + (match["leaf"] or "")
            parts.setdefault(match["name"], {})[part] = key
            adapters.add(match["adapter"])
        elif ".lora_" in key or not plain.startswith(_PREFIX):
            raise unsupported(file.path, key)
        else:
            extras[plain] = storable(file.path, key, tensor)
    if len(adapters) > 1:
        raise LorafoldError(
            f"holds {len(adapters)} adapters: {', '.join(sorted(str(name) for name in adapters))}",
            path=file.path,
            remedy="Save each one alone: model.save_pretrained(folder, selected_adapters=[name]).",
        )
    return parts, extras


def _layer(
    file: TensorFile, name: str, keys: Mapping[str, str], rule: Scaling, further: Collection[str], stacks: bool
) -> Module | Pending:
    """A layer that must also have the `further` parts; with `stacks`, its rank may be that of several experts."""
    if any(part.startswith(("lokr", "hada")) for part in keys):
        return Pending(product_layer(file, name, keys, rule.resolve(name)[1]), None, next(iter(keys.values())))
    module = _module(file, name, keys, rule, stacks)
    check_complete(file, keys, further)
    magnitude = peft_magnitude(file, keys.get(_DORA), module.shape[0])
    return module if magnitude is None else Pending(module, magnitude, keys[_DORA])


def _module(file: TensorFile, name: str, keys: Mapping[str, str], rule: Scaling, stacks: bool) -> Module:
    embedding = _EMBEDDING_UP in keys or _EMBEDDING_DOWN in keys
    up_part, down_part = (_EMBEDDING_UP, _EMBEDDING_DOWN) if embedding else (_UP, _DOWN)
    check_complete(file, keys, (up_part, down_part))
    for part, key in keys.items():
        if part not in (up_part, down_part, _DORA) and (embedding or part != _BIAS):
            raise unsupported(file.path, key)
    up, down = factor_pair(file, keys[up_part], keys[down_part])
    rank, scale = rule.resolve(name)
    if not stacks or down.shape[0] % rank:
        _check_rank(file, keys[down_part], down.shape[0], rank)
    kernel = tuple(down.shape[2:])
    kind = "embedding" if embedding else "conv" if kernel else "linear"
    return Module(name, up, down.flatten(1), scale, kernel, bias_vector(file, keys.get(_BIAS), up.shape[0]), kind)


def _check_rank(file: TensorFile, key: str, rank: int, stated: int) -> None:
    if rank != stated:
        raise LorafoldError(
            f"rank {rank}, but {CONFIG_NAME} says {stated}; PEFT would not load this",
            path=file.path,
            key=key,
            remedy="Correct r and rank_pattern in adapter_config.json, or export the adapter again with PEFT.",
        )
