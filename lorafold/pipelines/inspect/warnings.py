"""What looks wrong in an adapter, in one line each, with what it means."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from lorafold.adapters import Adapter
from lorafold.adapters.conversion.servers import uneven
from lorafold.adapters.metadata.base_model import contradiction
from lorafold.adapters.module import Pending
from lorafold.adapters.parametrisations.changed_base import CHANGES_BASE

Json = Mapping[str, Any]
# Scales that trainers choose lie between alpha = 1 at a high rank and a few times the rank.
_LARGE = 10.0
_LARGE_OF_MLX = 40.0  # whose default is 20, whatever the rank
# Share of the parameters that a file can be reduced to without loss, for that to be worth saying.
_WORTH_SAYING = 0.9


def warnings(
    adapter: Adapter, modules: Sequence[Json], keys: Collection[str], pending: Mapping[str, Pending]
) -> list[str]:
    """The most serious first.

    Args:
        modules: as `inspect_metrics` describes them.
        keys: names of the tensors in the file.
        pending: layers that were no pair of factors in the file.
    """
    return [
        *_not_finite(modules),
        *_zero(modules),
        *_scales(modules, _LARGE_OF_MLX if adapter.format == "mlx" else _LARGE),
        *_base(adapter),
        *_servers(adapter),
        *_forms(pending, modules),
        *_alphas(adapter, keys, pending),
        *_digits(modules),
        *_spare(modules),
    ]


def _not_finite(modules: Sequence[Json]) -> Iterator[str]:
    if bad := [module for module in modules if not module["finite"]]:
        yield f"{_count(bad, modules)} NaN or Inf, {_example(bad)}: training diverged, use an earlier checkpoint"


def _zero(modules: Sequence[Json]) -> Iterator[str]:
    idle = [module for module in modules if module["norm"] == 0]
    if len(idle) == len(modules):
        yield "every update is zero: this adapter changes nothing"
    elif idle:
        yield f"{_count(idle, modules)} an update of zero, {_example(idle)}: left untrained or switched off"


def _scales(modules: Sequence[Json], most: float) -> Iterator[str]:
    if negative := [module for module in modules if module["scale"] < 0]:
        yield f"{_count(negative, modules)} a negative scale, {_example(negative)}: they subtract"
    if large := [module for module in modules if module["scale"] > most]:
        worst = max(module["scale"] for module in large)
        yield f"{_count(large, modules)} a scale above {most:g}, up to {worst:g}: is alpha right?"


def _base(adapter: Adapter) -> Iterator[str]:
    if problem := contradiction(adapter):
        yield f"{problem}: one of them is wrong"
    start = adapter.config.get("init_lora_weights")
    if str(start).startswith(CHANGES_BASE):
        yield f"init_lora_weights={start}: this adapter belongs to a changed base model; merging needs base=PATH"


def _servers(adapter: Adapter) -> Iterator[str]:
    if uneven(adapter):
        yield "ranks or scales differ between modules, which vLLM ignores: for it, lorafold convert target=vllm"


def _forms(pending: Mapping[str, Pending], modules: Sequence[Json]) -> Iterator[str]:
    forms = [(module, pending[module["name"]]) for module in modules if module["name"] in pending]
    if dora := [module for module, layer in forms if layer.magnitude is not None]:
        yield f"{_count(dora, modules)} DoRA: merging needs base=PATH, and norms are those before the magnitude"
    if rebuilt := [module for module, layer in forms if layer.magnitude is None]:
        yield f"{_count(rebuilt, modules)} no plain pair of factors: ranks are those of the pair that lorafold makes"


def _alphas(adapter: Adapter, keys: Collection[str], pending: Mapping[str, Pending]) -> Iterator[str]:
    if adapter.format == "kohya" and keys:
        plain = [name for name in adapter.modules if name not in pending]
        missing = [name for name in plain if f"{name}.alpha" not in keys]
        if missing:
            yield f"no alpha in {len(missing)} of {len(plain)} modules, such as {missing[0]}: their scale is 1"


def _digits(modules: Sequence[Json]) -> Iterator[str]:
    if few := [module for module in modules if module["subnormal"]]:
        yield f"{_count(few, modules)} mostly float16 subnormals (below 6.1e-5), {_example(few)}: they have few digits"


def _spare(modules: Sequence[Json]) -> Iterator[str]:
    """Rank that no update uses."""
    sizes = [(sum(module["shape"]), module["rank"], module["used"]) for module in modules if module["used"]]
    held = sum(size * rank for size, rank, _ in sizes)
    used = sum(size * rank for size, _, rank in sizes)
    if used < _WORTH_SAYING * held:
        yield f"{used / held:.0%} of the parameters hold all of the updates: resize energy=1 loses nothing"


def _count(affected: Sequence[Json], modules: Sequence[Json]) -> str:
    return f"{len(affected)} of {len(modules)} modules {'has' if len(affected) == 1 else 'have'}"


def _example(affected: Sequence[Json]) -> str:
    return f"such as {affected[0]['name']}"
