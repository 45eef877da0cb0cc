"""Files of ComfyUI and the trainers around it: the names of a model's original code behind `diffusion_model.`.

`diffusion_model.N.lora_A.weight` (r, in, *kernel), `diffusion_model.N.lora_B.weight` (m, r, 1, ...), text encoders
behind `text_encoders.clip_l.transformer.` and the like, `N.diff` and `N.diff_b` as in a kohya file. scale = alpha / r
with `N.alpha`, else 1. Written without alpha, the scale folded into the factors: diffusers reads alphas of some of
these names only. The same names with lora_down and lora_up are read as kohya's, whose rules they follow. So are layers
without anything in front read and written, as model classes of diffusers (`save_lora_adapter`) and DiffSynth save them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from torch import Tensor

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.files.factor_pair import alpha_value, check_complete, factor_pair
from lorafold.adapters.files.tensor_file import TensorFile
from lorafold.adapters.formats.diffusers_keys import ALPHA, COMPONENT, DOWN, UP, split_parts
from lorafold.adapters.formats.fold_scale import unscaled_tensors
from lorafold.adapters.formats.layer_parts import check_extras, check_module, sort_tensors, write_hashed
from lorafold.adapters.formats.registry import format
from lorafold.adapters.module import Module
from lorafold.common.errors import LorafoldError

_FILE = "a ComfyUI file"
# What a name of this format does not have in front: other formats do.
_ELSEWHERE = re.compile(rf"{COMPONENT.pattern}|(?:_orig_mod\.|module\.)*base_model\.model\.|lora_|lycoris_")
_FACTOR = re.compile(r".+\.lora_[AB]\.(?:[^.]+\.)?weight")


def _detect(keys: Collection[str]) -> bool:
    return any(_FACTOR.fullmatch(key) and not _ELSEWHERE.match(key) for key in keys)


def _tensors(adapter: Adapter) -> dict[str, Tensor]:
    check_extras(adapter, _FILE)
    for module in adapter.modules.values():
        _check_module(module)
    pairs = {key: tensor for module in adapter.modules.values() for key, tensor in unscaled_tensors(module)}
    return {**pairs, **adapter.deltas, **adapter.extras}


def _check_module(module: Module) -> None:
    check_module(module, _FILE)
    if match := _ELSEWHERE.match(module.name):
        raise LorafoldError(
            f"{match[0]} in front, where a ComfyUI file has diffusion_model. or text_encoders.",
            key=module.name,
            remedy="Convert the adapter to comfyui, which renames its modules.",
        )


def _split(key: str) -> tuple[str, str] | None:
    names = split_parts(key)
    return names if names is not None and names[1] in (DOWN, UP, ALPHA) else None


@format(
    "comfyui",
    detect=_detect,
    tensors=_tensors,
    write=write_hashed,
    holds=["an additive tensor"],
    style="comfyui",
)
def read(file: TensorFile) -> Adapter:
    """The adapter in a file of such names.

    Raises:
        LorafoldError: an unknown tensor, an incomplete module, or a bad shape, dtype or alpha.
    """
    parts, deltas, extras = sort_tensors(file, _split)
    modules = {name: _module(file, name, keys) for name, keys in parts.items()}
    return Adapter("comfyui", modules, deltas=deltas, extras=extras, metadata=file.metadata)


def _module(file: TensorFile, name: str, keys: Mapping[str, str]) -> Module:
    check_complete(file, keys, (UP, DOWN))
    up, down = factor_pair(file, keys[UP], keys[DOWN])
    kernel, rank = tuple(down.shape[2:]), down.shape[0]
    scale = alpha_value(file, keys[ALPHA]) / rank if ALPHA in keys else 1.0
    return Module(name, up, down.flatten(1), scale, kernel, kind="conv" if kernel else "linear")
