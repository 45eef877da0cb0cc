"""llama.cpp's format: one GGUF file of type "adapter", under llama.cpp's names.

`N.weight.lora_a` (r, in), `N.weight.lora_b` (m, r); of the experts of a layer (E, r, in) and (E, m, r); of
`token_embd` `lora_a` is (vocabulary, r). scale = alpha / r with the entry `adapter.lora.alpha`; without it, or if it is
0, 1. Written by the package gguf. Source: llama.cpp, `convert_lora_to_gguf.py`, `src/llama-adapter.{h,cpp}`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.files.factor_pair import check_complete, floating, linear_pair
from lorafold.adapters.files.tensor_file import TensorFile
from lorafold.adapters.formats.fold_scale import folded
from lorafold.adapters.formats.layer_parts import check_linear, sort_parts
from lorafold.adapters.formats.peft_experts import experts, in_layers, of_layers, stacked
from lorafold.adapters.formats.registry import format
from lorafold.adapters.module import Module
from lorafold.common.errors import LorafoldError

ARCHITECTURE = "general.architecture"
_ALPHA = "adapter.lora.alpha"
_INVOCATION = "adapter.alora.invocation_tokens"
# What an entry must say.
_TYPES = {"general.type": "adapter", "adapter.type": "lora"}
# Texts about the adapter, which what is made of it says too.
_CARRIED = ("general.name", "general.author", "general.description", "general.license", "lorafold")
_UP, _DOWN = "weight.lora_b", "weight.lora_a"
_PART = re.compile(rf"(?P<name>.+)\.(?P<part>{_UP}|{_DOWN})")
_NORM = re.compile(r".+_norm\.weight")
_EMBEDDING = "token_embd"


def _detect(keys: Collection[str]) -> bool:
    return any(_PART.fullmatch(key) for key in keys)


def _tensors(adapter: Adapter) -> dict[str, Tensor]:
    norms = {key: tensor for key, tensor in adapter.extras.items() if _NORM.fullmatch(key)}
    check_linear(
        replace(adapter, extras={key: tensor for key, tensor in adapter.extras.items() if key not in norms}),
        "a GGUF adapter",
        ("linear", "embedding"),
    )
    modules, ranks, alpha = _stacked(adapter)
    tensors = dict(norms)
    for name, module in modules.items():
        at_alpha = replace(folded(replace(module, scale=module.scale * ranks[name] / alpha)), scale=alpha / ranks[name])
        tensors |= _parts(at_alpha, ranks[name], name in adapter.modules)
    return tensors


def _stacked(adapter: Adapter) -> tuple[dict[str, Module], dict[str, int], float]:
    """Experts of a layer together, the rank of each module, and the alpha that most of them have."""
    modules, ranks = stacked(adapter.modules)
    alphas = Counter(module.scale * ranks[name] for name, module in modules.items() if module.scale)
    return modules, ranks, alphas.most_common(1)[0][0] if alphas else 1.0


def _parts(module: Module, rank: int, alone: bool) -> dict[str, Tensor]:
    up, down = (module.up, module.down) if alone else in_layers(module, rank)
    return {
        f"{module.name}.{_DOWN}": down.mT if module.name == _EMBEDDING else down,
        f"{module.name}.{_UP}": up,
    }


def _write(adapter: Adapter, tensors: Mapping[str, Tensor], path: Path) -> None:
    try:
        from gguf import GGUFWriter
    except ImportError:
        raise LorafoldError(
            "GGUF files are written by the package gguf, which is missing", remedy="pip install 'lorafold[gguf]'."
        ) from None
    if ARCHITECTURE not in adapter.config:
        raise LorafoldError(
            "missing, and llama.cpp needs it",
            key=ARCHITECTURE,
            remedy="Convert the adapter with target=gguf base=FOLDER.",
        )
    writer = GGUFWriter(path, str(adapter.config[ARCHITECTURE]))
    for key, value in {**adapter.metadata, **_TYPES}.items():
        writer.add_string(key, value)
    writer.add_float32(_ALPHA, _stacked(adapter)[2])
    for key, tensor in tensors.items():
        writer.add_tensor(key, *_packed(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@format("gguf", detect=_detect, tensors=_tensors, write=_write, suffix=".gguf", holds=["an embedding"], one_model=True)
def read(file: TensorFile) -> Adapter:
    """The adapter in a GGUF file.

    Raises:
        LorafoldError: no adapter for all inputs, an unknown tensor, an incomplete module, or a bad shape or alpha.
    """
    _check_entries(file)
    alpha = _alpha(file)
    norms = {key: floating(file, key) for key in file.tensors if _NORM.fullmatch(key)}
    factors = {key: tensor for key, tensor in file.tensors.items() if key not in norms}
    modules: dict[str, Module] = {}
    for name, keys in sort_parts(replace(file, tensors=factors), _PART).items():
        modules |= {module.name: module for module in _modules(file, name, keys, alpha)}
    texts = {key: file.metadata[key] for key in _CARRIED if key in file.metadata}
    return Adapter("gguf", modules, extras=norms, metadata=texts, config={ARCHITECTURE: file.metadata[ARCHITECTURE]})


def _check_entries(file: TensorFile) -> None:
    for key, expected in _TYPES.items():
        if file.metadata.get(key) != expected:
            raise LorafoldError(
                f"{file.metadata.get(key)!r}, expected {expected!r}",
                path=file.path,
                key=key,
                remedy="Convert the adapter again with llama.cpp's convert_lora_to_gguf.py.",
            )
    if _INVOCATION in file.metadata:
        raise LorafoldError(
            "an activated LoRA, which does nothing before its invocation tokens",
            path=file.path,
            key=_INVOCATION,
            remedy="It cannot be merged.",
        )
    if not file.metadata.get(ARCHITECTURE):
        raise LorafoldError(
            "missing, and llama.cpp needs it", path=file.path, key=ARCHITECTURE, remedy="Convert the adapter again."
        )


def _alpha(file: TensorFile) -> float:
    """0 where there is none."""
    try:
        alpha = float(file.metadata.get(_ALPHA, "0"))
    except ValueError:
        alpha = math.nan
    if not math.isfinite(alpha):
        raise LorafoldError(
            f"{file.metadata[_ALPHA]}, expected a finite number",
            path=file.path,
            key=_ALPHA,
            remedy="Convert the adapter again.",
        )
    return alpha


def _modules(file: TensorFile, name: str, keys: Mapping[str, str], alpha: float) -> Iterator[Module]:
    """The layer; or its experts."""
    check_complete(file, keys, (_UP, _DOWN))
    embedding = name == _EMBEDDING
    up, down = linear_pair(file, keys[_UP], keys[_DOWN], [keys[_DOWN]] if embedding else ())
    rank = down.shape[-2]
    scale = alpha / rank if alpha else 1.0
    if down.ndim == 3:
        yield from experts(of_layers(name, up, down, scale), rank)
    else:
        yield Module(name, up, down, scale, kind="embedding" if embedding else "linear")


def _packed(tensor: Tensor) -> tuple[Any, ...]:
    """What the writer takes: numpy has no bfloat16, so such numbers go as bytes; llama.cpp multiplies no float64."""
    from gguf import GGMLQuantizationType

    plain = tensor.detach().cpu().contiguous()
    if plain.dtype != torch.bfloat16:
        return ((plain.float() if plain.dtype == torch.float64 else plain).numpy(),)
    return plain.view(torch.uint8).numpy(), None, GGMLQuantizationType.BF16
