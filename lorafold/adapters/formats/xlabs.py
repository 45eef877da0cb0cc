"""XLabs' names of a Flux LoRA, read as diffusers': its attention processors fuse q, k and v, as Flux itself does.

`double_blocks.i.processor.qkv_lora1.down.weight` (images; 2: text) and `proj_lora1`, `single_blocks.i.processor.
qkv_lora` and `proj_lora`; scale 1. Source: diffusers, `loaders/lora_conversion_utils.py`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import replace

from torch import Tensor

from lorafold.adapters.files.tensor_file import TensorFile
from lorafold.adapters.formats.diffusers_keys import DOWN, UP
from lorafold.adapters.formats.refusals import unsupported
from lorafold.common.errors import LorafoldError

_KEY = re.compile(
    r"(?:diffusion_model\.)?(?P<stack>double|single)_blocks\.(?P<i>\d+)\.processor\."
    r"(?P<layer>(?:qkv|proj)_lora[12]?)\.(?P<way>down|up)\.weight"
)
_STACKS = {"double": "transformer_blocks", "single": "single_transformer_blocks"}
# Layers of diffusers whose rows a layer's are, one after the other.
_LAYERS = {
    ("double", "qkv_lora1"): ("attn.to_q", "attn.to_k", "attn.to_v"),
    ("double", "qkv_lora2"): ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    ("double", "proj_lora1"): ("attn.to_out.0",),
    ("double", "proj_lora2"): ("attn.to_add_out",),
    ("single", "qkv_lora"): ("attn.to_q", "attn.to_k", "attn.to_v"),
    ("single", "proj_lora"): ("proj_out",),
}


def is_xlabs(keys: Collection[str]) -> bool:
    """Whether these are names of XLabs."""
    return any(map(_KEY.fullmatch, keys))


def in_diffusers_names(file: TensorFile) -> TensorFile:
    """The file as if diffusers had written it: its tensors, or views of their rows."""
    return replace(file, tensors={key: tensor for old in file.tensors for key, tensor in _renamed(file, old)})


def _renamed(file: TensorFile, key: str) -> Iterator[tuple[str, Tensor]]:
    match, tensor = _KEY.fullmatch(key), file.tensors[key]
    layers = _LAYERS.get((match["stack"], match["layer"]), ()) if match else ()
    if not match or not layers:
        raise unsupported(file.path, key)
    if match["way"] == "up" and (tensor.ndim == 0 or len(tensor) % len(layers)):
        raise LorafoldError(
            f"shape {tuple(tensor.shape)}, expected rows for {len(layers)} layers",
            path=file.path,
            key=key,
            remedy="The file is damaged: download or export it again.",
        )
    rows = tensor.chunk(len(layers)) if match["way"] == "up" else [tensor] * len(layers)
    for layer, part in zip(layers, rows, strict=True):
        name = f"transformer.{_STACKS[match['stack']]}.{match['i']}.{layer}"
        yield f"{name}.{UP if match['way'] == 'up' else DOWN}", part
