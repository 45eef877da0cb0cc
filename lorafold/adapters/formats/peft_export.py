"""Writing adapter_config.json so that PEFT resolves every module to its own rank and scale."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.formats.peft_experts import stacked
from lorafold.adapters.parametrisations.changed_base import CHANGES_BASE
from lorafold.common.errors import LorafoldError
from lorafold.common.safe_regex import unusable

# What PEFT needs and an adapter from elsewhere does not bring.
_DEFAULTS: dict[str, Any] = {
    "peft_type": "LORA",
    "task_type": None,
    "base_model_name_or_path": None,
    "bias": "none",
    "fan_in_fan_out": False,
    "inference_mode": True,
    "init_lora_weights": True,
    "lora_dropout": 0.0,
    "modules_to_save": None,
}


def export_config(adapter: Adapter) -> dict[str, Any]:
    """The adapter's own configuration with ranks, scales and targets as its modules have them.

    scale = lora_alpha / r by PEFT's rule: the most frequent (r, lora_alpha) is the global one, and every other module
    has an entry in rank_pattern or alpha_pattern.

    Raises:
        LorafoldError: a module that PEFT cannot adapt with this configuration.
    """
    modules, ranks = stacked(adapter.modules)
    alphas = {name: _alpha(module.scale, ranks[name]) for name, module in modules.items()}
    rank, alpha = Counter((ranks[name], alphas[name]) for name in modules).most_common(1)[0][0]
    _check_start(adapter.config, set(ranks.values()))
    return {
        **_DEFAULTS,
        **adapter.config,
        **_targets(
            adapter.config, [name for name, m in modules.items() if name in adapter.modules or m.kind == "conv"]
        ),
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {_anchored(name): value for name, value in ranks.items() if value != rank},
        "alpha_pattern": {_anchored(name): value for name, value in alphas.items() if value != alpha},
        "use_rslora": False,
        "use_dora": False,
        "lora_bias": any(module.bias is not None for module in modules.values()),
    }


def _check_start(config: Mapping[str, Any], ranks: Collection[int]) -> None:
    """PiSSA and its kin change the base model by what their rank leaves over, so only that rank fits it."""
    start = str(config.get("init_lora_weights"))
    if start.startswith(CHANGES_BASE) and set(ranks) != {config.get("r")}:
        raise LorafoldError(
            f"init_lora_weights={start} changes the base model by what rank {config.get('r')} leaves over, but these "
            f"modules have rank {', '.join(map(str, sorted(ranks)))}",
            remedy=f"Use rank={config.get('r')}, or convert the adapters to plain LoRA with PEFT before.",
        )


def _alpha(scale: float, rank: int) -> float:
    """The alpha with alpha / r = scale; an integer where that is exact, as people write it."""
    alpha = scale * rank
    return round(alpha) if round(alpha) / rank == scale else alpha


def _anchored(name: str) -> str:
    """A pattern key that PEFT's rule matches to this path alone: unanchored, "fc" would also match "block.fc"."""
    return "^" + re.escape(name)


def _targets(config: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """target_modules as it is if it covers all modules, else their exact list without exceptions."""
    for name in names:
        if any(f".{saved}." in f".{name}." for saved in config.get("modules_to_save") or ()):
            raise LorafoldError(
                "adapted by LoRA here, but modules_to_save replaces it as a whole",
                key=name,
                remedy="Leave out the adapter with modules_to_save, or this module.",
            )
    patterns = [value for key in ("target_modules", "exclude_modules") if isinstance(value := config.get(key), str)]
    asked = not config.get("layers_to_transform") and unusable(patterns, names) is None
    if asked and all(_is_targeted(config, name) for name in names):
        return {}
    exceptions = ("exclude_modules", "layers_to_transform", "layers_pattern")
    return {"target_modules": sorted(names), **{key: None for key in exceptions if key in config}}


def _is_targeted(config: Mapping[str, Any], name: str) -> bool:
    """PEFT's `check_target_module_exists` without layers_to_transform."""
    return _matches(config.get("target_modules"), name) and not _matches(config.get("exclude_modules"), name)


def _matches(patterns: str | Collection[str] | None, name: str) -> bool:
    """A string is a regular expression for the whole path, a list holds paths or their tails after a dot."""
    if isinstance(patterns, str):
        return re.fullmatch(patterns, name) is not None
    return any(name == pattern or name.endswith(f".{pattern}") for pattern in patterns or ())
