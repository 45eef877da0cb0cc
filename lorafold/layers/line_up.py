"""From adapters to layers: what belongs together, checked before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from lorafold.adapters import Adapter, Module, check_finite, load
from lorafold.adapters.conversion.match import matched
from lorafold.adapters.metadata.base_check import check_bases, warn_of_strangers
from lorafold.adapters.parametrisations.full_difference import factor_full_differences
from lorafold.adapters.parametrisations.truncation import exactly
from lorafold.common.errors import LorafoldError
from lorafold.common.settings import INPUT_RANK
from lorafold.core_space import Layer, NonFiniteError


def check_list(adapters: Sequence[str | Path | Adapter]) -> None:
    """Raise LorafoldError unless there is at least one adapter, in a list."""
    if isinstance(adapters, str | Path) or not adapters:
        raise LorafoldError(f"adapters={adapters!r}, expected a list of at least one", remedy="For example [a, b].")


def load_all(
    adapters: Sequence[str | Path | Adapter],
    base: str | Path | None = None,
    rank: int = INPUT_RANK,
    allow_different_bases: bool = False,
) -> list[Adapter]:
    """Read what is not an adapter yet; all in the format of the first, their layers under its names.

    A whole difference of a weight becomes factors where another adapter has factors for that layer.

    Args:
        base, rank: see `load`.
        allow_different_bases: see `check_bases`.

    Raises:
        LorafoldError: no adapter, different architectures, or formats between which a layer has no counterpart.
    """
    check_list(adapters)
    read = read_all(adapters, base, rank)
    check_bases(read, allow_different_bases)
    loaded = matched(read, base)
    warn_of_strangers(loaded)
    factored = {name for adapter in loaded for name in adapter.modules}
    return [factor_full_differences(adapter, factored, rank) for adapter in loaded]


def read_all(
    adapters: Sequence[str | Path | Adapter], base: str | Path | None = None, rank: int = INPUT_RANK
) -> list[Adapter]:
    """Read what is not an adapter yet, each in its own format; `base` and `rank` see `load`."""
    return [item if isinstance(item, Adapter) else load(item, base=base, rank=rank) for item in adapters]


def line_up(adapters: Sequence[Adapter], *, thin: bool = True) -> list[Layer]:
    """Every module that any adapter has, in the order of the first adapter that has it.

    Args:
        thin: write factors that are wider than their layer as their product and an identity: the same update for less
            work, which grows with the rank.

    Raises:
        LorafoldError: adapters disagree on the shape of a module, or no adapter has any.
    """
    names = list(dict.fromkeys(name for adapter in adapters for name in adapter.modules))
    if not names:
        raise LorafoldError("no adapted module in any adapter", path=adapters[0].path, remedy="Is this a LoRA?")
    return [_layer(name, adapters, _thin if thin else _factors) for name in names]


@contextmanager
def non_finite_named(adapters: Sequence[Adapter]) -> Iterator[None]:
    """Where NaN or Inf turns up, say in which file and under which key."""
    try:
        yield
    except NonFiniteError:
        for adapter in adapters:
            check_finite(adapter)
        raise LorafoldError(
            "finite factors whose products overflow float64",
            path=adapters[0].path,
            remedy="Look for a module with an absurd alpha or weight.",
        ) from None


def template(name: str, adapters: Sequence[Adapter]) -> Module:
    """The module as the first adapter that has it lays it out."""
    return next(adapter.modules[name] for adapter in adapters if name in adapter.modules)


def _layer(name: str, adapters: Sequence[Adapter], factors: Callable[[Module], tuple[Tensor, Tensor]]) -> Layer:
    first = template(name, adapters)
    modules = [adapter.modules.get(name) for adapter in adapters]
    for adapter, module in zip(adapters, modules, strict=True):
        if module is not None and not _fits(first, module):
            raise LorafoldError(
                f"ΔW is {_describe(module)} here but {_describe(first)} in another adapter",
                path=adapter.path,
                key=name,
                remedy="These adapters are for different base models; merge adapters of one base model.",
            )
    m, n = first.shape
    pairs = [(torch.zeros(m, 0), torch.zeros(0, n)) if module is None else factors(module) for module in modules]
    return Layer(
        name,
        ups=tuple(up for up, _ in pairs),
        downs=tuple(down for _, down in pairs),
        scales=tuple(0.0 if module is None else module.scale for module in modules),
    )


def _factors(module: Module) -> tuple[Tensor, Tensor]:
    return module.up, module.down


def _thin(module: Module) -> tuple[Tensor, Tensor]:
    """The factors, or their product and an identity."""
    if module.rank <= min(module.shape):
        return _factors(module)
    return exactly(module.up.double() @ module.down.double())[:2]


def _fits(first: Module, module: Module) -> bool:
    """Equal shapes; a 1 x 1 convolution also faces a linear layer."""
    one, other = (module.kernel if math.prod(module.kernel) > 1 else () for module in (first, module))
    return first.shape == module.shape and one == other and (first.kind, module.kind).count("embedding") != 1


def _describe(module: Module) -> str:
    kernel = "x".join(map(str, module.kernel))
    return f"{module.shape[0]} x {module.shape[1]} ({module.kind}{f' {kernel}' if kernel else ''})"
