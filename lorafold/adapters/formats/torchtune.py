"""torchtune's names: a folder of adapter_config.json, as PEFT has it, and adapter_model.safetensors.

`layers.i.attn.q_proj.lora_a.weight` (r, in), `...lora_b.weight` (m, r); the rows of q and k are in Meta's order, not in
that of transformers. torchtune itself saves them as a pickle, which is never opened. Source: torchtune,
`modules/peft/lora.py` and `models/convert_weights.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from torch import Tensor

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.files.factor_pair import check_complete, linear_pair
from lorafold.adapters.files.locate import TENSORS_NAME
from lorafold.adapters.files.tensor_file import TensorFile, write_tensors
from lorafold.adapters.formats.fold_scale import of_one_rank
from lorafold.adapters.formats.layer_parts import check_linear, sort_parts
from lorafold.adapters.formats.peft_config import CONFIG_NAME, load_config, scaling
from lorafold.adapters.formats.registry import format
from lorafold.adapters.module import Module
from lorafold.common.errors import LorafoldError

_UP, _DOWN = "lora_b.weight", "lora_a.weight"
_PART = re.compile(rf"(?P<name>(?:layers\.\d+\.|output\b|tok_embeddings\b).*?)\.?(?P<part>{_UP}|{_DOWN})")


def _detect(keys: Collection[str]) -> bool:
    return any(_PART.fullmatch(key) for key in keys)


def _tensors(adapter: Adapter) -> dict[str, Tensor]:
    check_linear(adapter, "a torchtune adapter")
    return {
        f"{module.name}.{part}": factor
        for module in of_one_rank(adapter.modules.values())
        for part, factor in ((_DOWN, module.down), (_UP, module.up))
    }


def _write(adapter: Adapter, tensors: Mapping[str, Tensor], path: Path) -> None:
    path.mkdir()
    module = of_one_rank(adapter.modules.values())[0]
    targets = sorted({name.rpartition(".")[2] for name in adapter.modules})
    stated = {"r": module.rank, "lora_alpha": module.scale * module.rank, "target_modules": targets}
    config = json.dumps({**adapter.config, "peft_type": "LORA", **stated}, indent=2, sort_keys=True)
    (path / CONFIG_NAME).write_text(config, encoding="utf-8", newline="\n")
    write_tensors(path / TENSORS_NAME, tensors, {**adapter.metadata, "format": "pt"})


@format("torchtune", detect=_detect, tensors=_tensors, write=_write, companions=(CONFIG_NAME,), one_model=True)
def read(file: TensorFile) -> Adapter:
    """The adapter in a file of torchtune's names, with the adapter_config.json beside it.

    Raises:
        LorafoldError: no configuration, not a plain LoRA, an unknown tensor, an incomplete module, or a bad shape.
    """
    config_path = file.path.parent / CONFIG_NAME
    config = load_config(config_path)
    rule = scaling(config_path, config, file.tensors)
    modules = {}
    for name, keys in sort_parts(file, _PART).items():
        check_complete(file, keys, (_UP, _DOWN))
        up, down = linear_pair(file, keys[_UP], keys[_DOWN])
        rank, scale = rule.resolve(name)
        if down.shape != (rank, down.shape[-1]):
            raise LorafoldError(
                f"shape {tuple(down.shape)}, but {CONFIG_NAME} says rank {rank}",
                path=file.path,
                key=keys[_DOWN],
                remedy="Correct r in adapter_config.json.",
            )
        modules[name] = Module(name, up, down, scale)
    return Adapter("torchtune", modules, metadata=file.metadata, config=config)
