"""Published methods by name: `conf/method/<name>.yaml`, which the command reads through Hydra, as settings.

Free of torch and of Hydra.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import yaml

from lorafold.common.errors import unknown
from lorafold.common.options import CONF, choices
from lorafold.common.settings import apply_changes
from lorafold.pipelines.merge.settings import MergeOptions, MergeSettings


def recipe(name: str, **changes: Unpack[MergeOptions]) -> MergeSettings:
    """The settings of a published method, as `lorafold merge method=NAME` has them.

        lorafold.merge(adapters, lorafold.recipe("ctm", rank=16))

    Args:
        name: of a file in `conf/method`.
        changes: single settings by name, in place of the method's.

    Raises:
        LorafoldError: no method of that name.
    """
    if name not in choices("method"):
        raise unknown("method", name, choices("method"))
    content: dict[str, Any] = yaml.safe_load((CONF / "method" / f"{name}.yaml").read_text(encoding="utf-8"))
    chosen = dict(map(_choice, content.pop("defaults")))
    for key, value in content.items():
        start = chosen.get(key, getattr(MergeSettings, key))
        chosen[key] = {**_named(start), **value} if isinstance(value, dict) else value
    return apply_changes(MergeSettings, None, {**chosen, **changes})


def _choice(entry: Mapping[str, str]) -> tuple[str, Any]:
    """`override /core: ctm/ties` of a defaults list -> ("core", what that file says)."""
    ((key, value),) = entry.items()
    group = key.removeprefix("override /")
    return group, yaml.safe_load((CONF / group / f"{value}.yaml").read_text(encoding="utf-8"))


def _named(choice: Any) -> dict[str, Any]:
    """A choice that is a name alone, as a mapping."""
    return {"name": choice} if isinstance(choice, str) else choice
