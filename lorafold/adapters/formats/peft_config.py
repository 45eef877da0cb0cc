"""Reading adapter_config.json: whether it is a plain LoRA, and rank and scale of each module.

PEFT resolves r and lora_alpha of a module independently: the first key of rank_pattern (alpha_pattern) that matches
the module's path or its tail after a dot, else the global value. The scale is lora_alpha / r, with rsLoRA
lora_alpha / sqrt(r). Source: PEFT 0.21, `tuners/lora/{model,layer}.py`, `utils/other.py`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorafold.common.errors import LorafoldError
from lorafold.common.safe_regex import unusable

# Larger ranks and alphas are no numbers that anyone meant.
_LARGEST = 1e30
CONFIG_NAME = "adapter_config.json"

_REPAIR = "Correct adapter_config.json, or export the adapter again with PEFT."
# Fields that make the update something else than scale * B @ A.
_VARIANTS = (
    "use_qalora",
    "use_bdlora",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "velora_config",
)
# Of LoHa and LoKr alone.
_LYCORIS_FIELDS = (
    *("alpha", "rank_dropout", "module_dropout", "use_effective_conv2d", "decompose_both", "decompose_factor"),
    *("rank_dropout_scale", "init_weights"),
)


def load_config(path: Path) -> dict[str, Any]:
    """The configuration of a plain LoRA.

    Raises:
        LorafoldError: no JSON object there, another PEFT method, or a variant of LoRA.
    """
    config = _as_lora(read_json(path))
    check_plain(path, config)
    return config


def read_json(path: Path) -> Any:
    """What is in the configuration beside an adapter's tensors.

    Raises:
        LorafoldError: no JSON there.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise LorafoldError(
            "missing; the scale of the tensors is written there",
            path=path,
            remedy="Put the adapter's adapter_config.json beside its tensors.",
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise LorafoldError(f"not readable as JSON ({error})", path=path, remedy=_REPAIR) from error


def _as_lora(config: Any) -> Any:
    """LoHa and LoKr become plain LoRA as they are read; their alpha has another name, and fields of their own go."""
    if not isinstance(config, dict) or config.get("peft_type") not in ("LOHA", "LOKR"):
        return config
    kept = {key: value for key, value in config.items() if key not in _LYCORIS_FIELDS}
    return {**kept, "peft_type": "LORA", "lora_alpha": config.get("alpha", 8)}


def check_plain(path: Path, config: Any) -> None:
    """Raise LorafoldError unless `config`, which was read from `path`, is that of a plain LoRA."""
    if not isinstance(config, dict):
        raise LorafoldError("not a JSON object", path=path, remedy=_REPAIR)
    if config.get("peft_type") != "LORA":
        raise LorafoldError(
            f"{config.get('peft_type')!r}, expected 'LORA'",
            path=path,
            key="peft_type",
            remedy="Only LoRA adapters can be merged; convert it to LoRA with PEFT.",
        )
    for key in ("target_modules", "exclude_modules", "modules_to_save"):
        value = config.get(key)
        plain = isinstance(value, list | tuple | set) and all(isinstance(item, str) for item in value)
        if not (value is None or plain or (isinstance(value, str) and key != "modules_to_save")):
            raise LorafoldError(f"{value!r}, expected a list of names", path=path, key=key, remedy=_REPAIR)
    for key in _VARIANTS:
        if config.get(key):
            raise LorafoldError(
                f"{config[key]!r}: not a plain LoRA",
                path=path,
                key=key,
                remedy="Convert it with PEFT (merge into the base model, extract a plain LoRA), and merge that.",
            )


@dataclass(frozen=True)
class Pattern:
    """rank_pattern or alpha_pattern, compiled once: an adapter may have as many keys as modules.

    Args:
        exact: the pattern as given.
        compiled: its keys as PEFT's regular expressions, with their values, in order.
        default: the global r or lora_alpha.
    """

    exact: Mapping[str, float]
    compiled: tuple[tuple[re.Pattern[str], float], ...]
    default: float

    def resolve(self, name: str) -> float:
        """The value for the module path `name`."""
        for pattern, value in self.compiled:
            if pattern.match(name):
                return value
        return self.exact.get(name, self.default)


@dataclass(frozen=True)
class Scaling:
    """Expected rank and scale of every module.

    Args:
        rank: r with rank_pattern.
        alpha: lora_alpha with alpha_pattern.
        rslora: whether the scale is alpha / sqrt(r) instead of alpha / r.
    """

    rank: Pattern
    alpha: Pattern
    rslora: bool

    def resolve(self, name: str) -> tuple[int, float]:
        """(rank, scale) of the module path `name`."""
        rank = int(self.rank.resolve(name))
        return rank, self.alpha.resolve(name) / (math.sqrt(rank) if self.rslora else rank)


def scaling(path: Path, config: Mapping[str, Any], names: Collection[str]) -> Scaling:
    """The scale rule in `config`, which was read from `path`.

    Args:
        names: of what it will be asked for, or longer ones: how long that takes depends on them.

    Raises:
        LorafoldError: a rank that is not a positive integer, an alpha that is not finite, or a bad pattern.
    """
    for key in ("rank_pattern", "alpha_pattern"):
        bad = unusable(config.get(key) or {}, names) if isinstance(config.get(key), dict) else None
        if bad is not None:
            raise LorafoldError(
                f"{bad!r} is not a regular expression, or could take forever",
                path=path,
                key=key,
                remedy="Correct adapter_config.json: names of modules need no * and +.",
            )
    return Scaling(
        rank=_pattern(path, config, ("r", "rank_pattern"), _is_rank, "a positive integer"),
        alpha=_pattern(path, config, ("lora_alpha", "alpha_pattern"), _is_finite, "a finite number"),
        rslora=bool(config.get("use_rslora")),
    )


def _is_rank(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _LARGEST


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _pattern(
    path: Path, config: Mapping[str, Any], names: tuple[str, str], valid: Callable[[Any], bool], expected: str
) -> Pattern:
    """The global value and the pattern, `names`, every value of which must be `valid`."""
    default_name, name = names
    exact = config.get(name) or {}
    default = config.get(default_name, 8)  # PEFT's default of both r and lora_alpha
    if not isinstance(exact, dict):
        raise LorafoldError(f"{exact!r}, expected a JSON object", path=path, key=name, remedy=_REPAIR)
    for key, value in ((default_name, default), *((f"{name}[{key!r}]", value) for key, value in exact.items())):
        if not valid(value):
            raise LorafoldError(f"{value!r}, expected {expected}", path=path, key=key, remedy=_REPAIR)
    try:
        compiled = tuple((re.compile(rf"(.*\.)?({key})$"), value) for key, value in exact.items())
    except re.error as error:  # alone it is one
        raise LorafoldError(f"not a regular expression ({error})", path=path, key=name, remedy=_REPAIR) from error
    return Pattern(exact, compiled, default)
