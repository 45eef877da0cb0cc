"""diffusers' format: one safetensors file (pytorch_lora_weights.safetensors), the component in front of every name.

`unet.N.lora_A.weight` (r, in, *kernel), `unet.N.lora_B.weight` (m, r, 1, ...), `unet.N.lora_B.bias` (m,); for older
names see `diffusers_keys`. The scale of a module is that of `lora_adapter_metadata`, else alpha / r with an alpha
tensor, else 1. Written are today's names, with the scale folded into the factors: diffusers' pipelines disagree on
alpha tensors (Flux' reads them, the U-Nets' do not) and versions before 0.34 ignore the metadata, but all of them read
a missing scale as 1.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from torch import Tensor

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.files.factor_pair import alpha_value, bias_vector, check_complete, factor_pair
from lorafold.adapters.files.tensor_file import TensorFile
from lorafold.adapters.files.webui_hashes import write_with_hashes
from lorafold.adapters.formats.diffusers_config import METADATA_KEY, component, component_scalings, export_metadata
from lorafold.adapters.formats.diffusers_keys import ALPHA, BIAS, DOWN, UP, is_diffusers, split_key
from lorafold.adapters.formats.fold_scale import unscaled_tensors
from lorafold.adapters.formats.peft_config import Scaling
from lorafold.adapters.formats.refusals import unsupported
from lorafold.adapters.formats.registry import format
from lorafold.adapters.formats.xlabs import in_diffusers_names, is_xlabs
from lorafold.adapters.module import Module
from lorafold.common.errors import LorafoldError


def _detect(keys: Collection[str]) -> bool:
    return any(is_diffusers(key) for key in keys) or is_xlabs(keys)


def _tensors(adapter: Adapter) -> dict[str, Tensor]:
    for key in (*adapter.deltas, *adapter.extras):
        raise LorafoldError("a diffusers file holds LoRA factors only", key=key, remedy="Save in the input's format.")
    for module in adapter.modules.values():
        _check_module(module)
    return {key: tensor for module in adapter.modules.values() for key, tensor in unscaled_tensors(module)}


def _check_module(module: Module) -> None:
    if module.kind == "embedding":
        raise LorafoldError("a diffusers file cannot hold an embedding", key=module.name, remedy="Save as PEFT.")
    if component(module.name) is None:
        raise LorafoldError(
            "no component of a pipeline in front, such as unet., transformer. or text_encoder.",
            key=module.name,
            remedy="Convert the adapter to diffusers, which renames its modules.",
        )


def _write(adapter: Adapter, tensors: Mapping[str, Tensor], path: Path) -> None:
    entries = {key: value for key, value in adapter.metadata.items() if key != METADATA_KEY}
    metadata = {**entries, "format": "pt", **export_metadata(adapter.modules)}
    write_with_hashes(path, tensors, metadata)


@format(
    "diffusers",
    detect=_detect,
    tensors=_tensors,
    write=_write,
    holds=["a LoRA bias"],
    style="diffusers",
)
def read(file: TensorFile) -> Adapter:
    """The adapter in a file of diffusers names.

    Raises:
        LorafoldError: an unknown tensor, several adapters, an incomplete module, or a bad shape, dtype or scale.
    """
    file = in_diffusers_names(file) if is_xlabs(file.tensors) else file
    parts: dict[str, dict[str, str]] = {}  # module -> part -> key
    adapters: set[str | None] = set()
    for key in file.tensors:
        names = split_key(key)
        if names is None:
            raise unsupported(file.path, key)
        name, part, adapter = names
        _enter(file, parts.setdefault(name, {}), part, key)
        adapters |= {adapter} if part == DOWN else set()
    if len(adapters) > 1:
        raise LorafoldError(
            f"holds {len(adapters)} adapters: {', '.join(sorted(map(str, adapters)))}",
            path=file.path,
            remedy="Save each one alone.",
        )
    rules = component_scalings(file)
    modules = {name: _module(file, name, keys, rules) for name, keys in parts.items()}
    return Adapter("diffusers", modules, metadata=file.metadata)


def _enter(file: TensorFile, keys: dict[str, str], part: str, key: str) -> None:
    """Note the key of a part; two ages of names for one layer cannot both be right."""
    if part in keys:
        raise LorafoldError(
            f"the same part of the same layer as {keys[part]}",
            path=file.path,
            key=key,
            remedy="Export the adapter again with diffusers.",
        )
    keys[part] = key


def _module(file: TensorFile, name: str, keys: Mapping[str, str], rules: Mapping[str, Scaling]) -> Module:
    check_complete(file, keys, (UP, DOWN))
    up, down = factor_pair(file, keys[UP], keys[DOWN])
    kernel = tuple(down.shape[2:])
    scale = _scale(file, name, keys, down.shape[0], rules)
    bias = bias_vector(file, keys.get(BIAS), up.shape[0])
    return Module(name, up, down.flatten(1), scale, kernel, bias, "conv" if kernel else "linear")


def _scale(file: TensorFile, name: str, keys: Mapping[str, str], rank: int, rules: Mapping[str, Scaling]) -> float:
    """By the metadata of the component, else by the module's alpha, else 1; diffusers refuses both at once."""
    rule = rules.get(component(name) or "")
    if rule is None:
        return alpha_value(file, keys[ALPHA]) / rank if ALPHA in keys else 1.0
    if ALPHA in keys:
        raise LorafoldError(
            f"an alpha tensor beside {METADATA_KEY}, which states another",
            path=file.path,
            key=keys[ALPHA],
            remedy="Remove one of them; diffusers does not load such a file.",
        )
    stated, scale = rule.resolve(name.partition(".")[2])
    if stated != rank:
        raise LorafoldError(
            f"rank {rank}, but {METADATA_KEY} says {stated}; diffusers would not load this",
            path=file.path,
            key=keys[DOWN],
            remedy=f"Export the adapter again with diffusers, or remove {METADATA_KEY} if its scales are 1.",
        )
    return scale
