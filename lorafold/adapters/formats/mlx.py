"""MLX's format (mlx-lm): a folder of adapter_config.json and adapters.safetensors, under transformers' names.

`N.lora_a` (in, r), `N.lora_b` (r, m); of an embedding (vocabulary, r) and (r, dim); of the experts of a layer
(E, r, in) and (E, m, r). The configuration has one scale and one rank for all. Read, but never written, is `N.m` (m,):
DoRA. Source: mlx-lm, `tuner/{lora,dora,utils}.py`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.files.factor_pair import check_complete, linear_pair
from lorafold.adapters.files.locate import MLX_NAME
from lorafold.adapters.files.tensor_file import TensorFile, write_tensors
from lorafold.adapters.formats.fold_scale import of_one_rank
from lorafold.adapters.formats.layer_parts import check_linear, sort_parts
from lorafold.adapters.formats.peft_config import CONFIG_NAME, read_json
from lorafold.adapters.formats.peft_experts import experts, in_layers, of_layers, stacked
from lorafold.adapters.formats.refusals import unsupported
from lorafold.adapters.formats.registry import format
from lorafold.adapters.module import Module, Pending, sort_layers
from lorafold.adapters.parametrisations.dora import peft_magnitude
from lorafold.common.errors import LorafoldError

_FILE = "an MLX adapter"
_UP, _DOWN, _DORA = "lora_b", "lora_a", "m"
_PART = re.compile(rf"(?P<name>.+)\.(?P<part>{_UP}|{_DOWN}|{_DORA})")
_FACTOR = re.compile(rf".+(?<!\.weight)\.(?:{_UP}|{_DOWN})")
_EMBEDDING = re.compile(r"(^|\.)(embed_tokens|wte|word_embeddings|tok_embeddings)$")
_LAYER = re.compile(r".*?\blayers\.\d+\.")
_REMEDY = "Correct adapter_config.json, or train with mlx_lm.lora, which writes it."


def _detect(keys: Collection[str]) -> bool:
    return any(_FACTOR.fullmatch(key) for key in keys)


def _tensors(adapter: Adapter) -> dict[str, Tensor]:
    check_linear(adapter, _FILE, ("linear", "embedding"))
    alike = {module.name: module for module in of_one_rank(adapter.modules.values())}
    modules, ranks = stacked(alike)
    return dict(part for name, module in modules.items() for part in _parts(module, ranks[name], name in alike))


def _parts(module: Module, rank: int, alone: bool) -> Iterator[tuple[str, Tensor]]:
    up, down = (module.up.mT, module.down.mT) if alone else in_layers(module, rank)
    yield f"{module.name}.{_DOWN}", down
    yield f"{module.name}.{_UP}", up


def _write(adapter: Adapter, tensors: Mapping[str, Tensor], path: Path) -> None:
    path.mkdir()
    config = json.dumps(_config(adapter), indent=4, sort_keys=True)
    (path / CONFIG_NAME).write_text(config, encoding="utf-8", newline="\n")
    write_tensors(path / MLX_NAME, tensors, {**adapter.metadata, "format": "mlx"})


def _config(adapter: Adapter) -> dict[str, Any]:
    """The adapter's own, with rank, scale and layers as they are; num_layers=-1: in all layers of the model."""
    module = of_one_rank(adapter.modules.values())[0]
    names = {re.sub(r"#\d+$", "", name) for name in adapter.modules}
    keys = sorted({_LAYER.sub("", name) for name in names})
    parameters = {"rank": module.rank, "scale": module.scale, "dropout": 0.0, "keys": keys}
    return {**adapter.config, "fine_tune_type": "lora", "num_layers": -1, "lora_parameters": parameters}


@format(
    "mlx",
    detect=_detect,
    tensors=_tensors,
    write=_write,
    companions=(CONFIG_NAME,),
    file=MLX_NAME,
    holds=["an embedding"],
    one_model=True,
)
def read(file: TensorFile) -> Adapter:
    """The adapter in a file of MLX's names, with the adapter_config.json beside it.

    Raises:
        LorafoldError: no configuration with a scale, an unknown tensor, an incomplete module, or a bad shape.
    """
    config_path = file.path.parent / CONFIG_NAME
    config = read_json(config_path)
    scale = _scale(config, config_path)
    layers: dict[str, Module | Pending] = {}
    for name, keys in sort_parts(file, _PART).items():
        layers |= _layers(file, name, keys, scale, config.get("fine_tune_type") == "dora")
    modules, pending = sort_layers(layers)
    return Adapter("mlx", modules, metadata=file.metadata, config=config, pending=pending)


def _scale(config: Any, path: Path) -> float:
    kind = config.get("fine_tune_type", "lora") if isinstance(config, dict) else None
    parameters = config.get("lora_parameters") if kind in ("lora", "dora") else None
    scale = parameters.get("scale") if isinstance(parameters, dict) else None
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not math.isfinite(scale):
        raise LorafoldError(
            f"scale {scale!r} of fine_tune_type {kind!r}, expected a number in lora_parameters of lora or dora",
            path=path,
            key="lora_parameters",
            remedy=_REMEDY,
        )
    return float(scale)


def _layers(
    file: TensorFile, name: str, keys: Mapping[str, str], scale: float, dora: bool
) -> dict[str, Module | Pending]:
    """The layer; or its experts."""
    check_complete(file, keys, (_UP, _DOWN, _DORA) if dora else (_UP, _DOWN))
    of_experts = file.tensors[keys[_DOWN]].ndim == 3
    up, down = linear_pair(file, keys[_UP], keys[_DOWN], () if of_experts else keys.values())
    kind = "embedding" if _EMBEDDING.search(name) else "linear"
    if _DORA in keys and (of_experts or kind == "embedding"):
        raise unsupported(file.path, keys[_DORA])
    if of_experts:
        return {one.name: one for one in experts(of_layers(name, up, down, scale), down.shape[1])}
    module = Module(name, up, down, scale, kind=kind)
    magnitude = peft_magnitude(file, keys.get(_DORA), module.shape[0])
    return {name: module if magnitude is None else Pending(module, magnitude, keys[_DORA])}
