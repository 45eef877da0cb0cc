"""`lora_adapter_metadata`: PEFT's configuration of every component of a diffusers file, as JSON in its header.

Its keys are those of adapter_config.json with the component in front ("unet.r"). diffusers 0.34 and later follow it;
earlier versions know nothing of it. Source: diffusers 0.42, `loaders/lora_base.py` (writing), `utils/peft_utils.py`
(`_create_lora_config`: with metadata, nothing is inferred from the tensors).
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from lorafold.adapters.files.tensor_file import TensorFile
from lorafold.adapters.formats.diffusers_keys import COMPONENT
from lorafold.adapters.formats.peft_config import Scaling, scaling
from lorafold.adapters.module import Module
from lorafold.common.errors import LorafoldError

METADATA_KEY = "lora_adapter_metadata"


def component_scalings(file: TensorFile) -> dict[str, Scaling]:
    """The scale rule of every component that the header configures.

    Raises:
        LorafoldError: not a JSON object, or values that no LoRA has.
    """
    configs: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, value in _parsed(file).items():
        component, _, field = key.partition(".")
        configs[component][field] = value
    for component, config in configs.items():
        if config.get("use_dora"):
            raise LorafoldError(
                f"{METADATA_KEY} says {component}.use_dora: DoRA cannot be merged without the base weights",
                path=file.path,
                remedy="Extract a plain LoRA from base model plus adapter, and use that.",
            )
    return {component: scaling(file.path, config, file.tensors) for component, config in configs.items()}


def _parsed(file: TensorFile) -> dict[str, Any]:
    try:
        parsed = json.loads(file.metadata.get(METADATA_KEY) or "{}")
    except (ValueError, RecursionError) as error:
        raise _bad(file, f"not readable as JSON ({error})") from error
    if not isinstance(parsed, dict):
        raise _bad(file, "not a JSON object")
    return parsed


def _bad(file: TensorFile, problem: str) -> LorafoldError:
    return LorafoldError(problem, path=file.path, key=METADATA_KEY, remedy="Export the adapter again with diffusers.")


def export_metadata(modules: Mapping[str, Module]) -> dict[str, str]:
    """The entry for modules of scale 1, or none where it would say nothing.

    Where all ranks of a component agree, every version of diffusers infers scale 1 from the tensors. Where they do
    not, some (0.32) take the first module's rank for everyone's alpha, so ranks and alphas are spelled out; and then
    for every component, as diffusers infers nothing once there is such an entry.
    """
    components: dict[str, dict[str, int]] = defaultdict(dict)
    for name, module in modules.items():
        component, _, path = name.partition(".")
        components[component][path] = module.rank
    if all(len(set(ranks.values())) == 1 for ranks in components.values()):
        return {}
    bias = any(module.bias is not None for module in modules.values())
    fields = {
        f"{component}.{field}": value
        for component, ranks in components.items()
        for field, value in _config(ranks, text=component.startswith("text"), bias=bias).items()
    }
    return {METADATA_KEY: json.dumps(fields, indent=2, sort_keys=True)}


def _config(ranks: Mapping[str, int], *, text: bool, bias: bool) -> dict[str, Any]:
    """One component: alpha = rank for every module."""
    rank = Counter(ranks.values()).most_common(1)[0][0]
    pattern = {_pattern(path, text): value for path, value in ranks.items() if value != rank}
    # A list would match tails of paths too: "proj_out" the ones of all blocks.
    targets = "|".join(_pattern(path, text).removeprefix("^") for path in ranks)
    return {
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": pattern,
        "alpha_pattern": pattern,
        "target_modules": rf"(?:.*\.)?(?:{targets})" if text else targets,
        "lora_bias": bias,
    }


def _pattern(path: str, text: bool) -> str:
    """A regular expression for this path alone; transformers 5 has no "text_model." in front of a CLIP's."""
    return re.escape(path.removeprefix("text_model.")) if text else "^" + re.escape(path)


def component(name: str) -> str | None:
    """The component that a module's name starts with, if it is one of diffusers'."""
    match = COMPONENT.match(name)
    return None if match is None else match.group().removesuffix(".")
