"""What the node's inputs say: which files with which weights, and the settings of their merge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorafold.common.options import choices
from lorafold.integrations.comfyui.host import lora_path
from lorafold.pipelines.merge.recipes import recipe
from lorafold.pipelines.merge.settings import CHOSEN, MergeSettings

SLOTS = range(1, 5)
NONE = "None"  # as in ComfyUI's other menus
CHOSEN_STRENGTH, SUM = "chosen strength", "sum"


def methods() -> list[str]:
    """What a merge is called in the node: the command's default, the plain sum, and published methods by name."""
    return [CHOSEN_STRENGTH, SUM, *choices("method")]


@dataclass(frozen=True)
class Choice:
    """Files, each with its weight, and how they merge."""

    paths: tuple[Path, ...]
    settings: MergeSettings


def choice_of(inputs: Mapping[str, Any]) -> Choice:
    """What is chosen, without slots that are empty or have a weight of 0.

    Weights count as the strengths of ComfyUI's own loaders: 1 each is the sum of both in full, and only `chosen
    strength` brings them to a common one. A GPU has the models of the workflow to hold, so the CPU merges.
    """
    picked = list(_picked(inputs))
    weights = [weight for _, weight in picked]
    rank = inputs["rank"] or "max"
    settings = _settings(inputs["method"], weights=weights, rank=rank, device="cpu")
    return Choice(tuple(lora_path(name) for name, _ in picked), settings)


def _picked(inputs: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for slot in SLOTS:
        name, weight = inputs.get(f"lora_{slot}", NONE), inputs.get(f"weight_{slot}", 1.0)
        if name != NONE and weight:
            yield name, float(weight)


def _settings(method: str, **changes: Any) -> MergeSettings:
    if method == CHOSEN_STRENGTH:
        return MergeSettings(**CHOSEN, **changes)
    return MergeSettings(core="sum", **changes) if method == SUM else recipe(method, **changes)
