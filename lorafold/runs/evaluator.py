"""A judge of merged adapters: one of lorafold's, or what the user brings: `evaluator=package.module:function`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from lorafold.common.errors import LorafoldError

Evaluator = Callable[[str], Any]  # path of the merged adapter -> a number, or a mapping of names to numbers

OWN = ("agreement", "kl")


def evaluator_of(config: Any, adapters: Sequence[Path], base: Path) -> Evaluator | None:
    """The judge that the settings of a command name; None where they name none, or know no such setting.

    Args:
        config: with `evaluator`, and for those of lorafold `evaluator_model`, `evaluator_inputs` and `device`.
        adapters: the files that are merged.
        base: where the user stands.

    Raises:
        LorafoldError: no such function, or not what it needs.
    """
    name = getattr(config, "evaluator", None)
    if not name:
        return None
    if name in OWN:
        from lorafold.runs.agreement import agreement_evaluator  # models are no concern of others

        return agreement_evaluator(name, adapters, config.evaluator_model, config.evaluator_inputs, config.device, base)
    return find_evaluator(name, base)


def find_evaluator(name: str, base: Path) -> Evaluator:
    """Import the function; modules in the folder `base`, where the user stands, are found as well.

    Raises:
        LorafoldError: no such function.
    """
    module, _, attribute = name.partition(":")
    if str(base) not in sys.path:
        sys.path.append(str(base))
    try:
        function = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise LorafoldError(
            f"evaluator={name!r} cannot be imported ({error})",
            remedy="Write evaluator=package.module:function, with a module that `python -c 'import ...'` finds, or "
            f"{' or '.join(OWN)}.",
        ) from error
    if not callable(function):
        raise LorafoldError(f"evaluator={name!r} is no function", remedy="It is called with the adapter's path.")
    found: Evaluator = function
    return found


def evaluate(function: Evaluator, adapter: Path) -> dict[str, float]:
    """What the function says about the merged adapter, by name; a single number is called `value`.

    Raises:
        LorafoldError: it returned something else.
    """
    returned = function(str(adapter))
    named = returned if isinstance(returned, Mapping) else {"value": returned}
    try:
        return {str(key): float(value) for key, value in named.items()}
    except (TypeError, ValueError):
        raise LorafoldError(
            f"the evaluator returned {returned!r}, expected a number or a mapping of names to numbers",
            remedy="Return for example {'accuracy': 0.71}.",
        ) from None
