"""What must be true of the inputs before anything is learnt from them."""

from __future__ import annotations

from collections.abc import Sequence

from lorafold.common.errors import LorafoldError
from lorafold.pipelines.distill.features import Probe
from lorafold.pipelines.distill.loss import Task

LEAST_INPUTS = 10


def check_count(adapters: Sequence[object], inputs: Sequence[object]) -> None:
    """Raise LorafoldError unless every adapter has inputs."""
    if len(inputs) != len(adapters):
        raise LorafoldError(
            f"{len(inputs)} sets of inputs for {len(adapters)} adapters",
            key="inputs",
            remedy="Give each adapter its own inputs.",
        )


def check_inputs(probes: Sequence[Probe]) -> None:
    """Refuse too few inputs, and one adapter's for another.

    Raises:
        LorafoldError: fewer than 10 in one set, or the same in two.
    """
    for number, probe in enumerate(probes, 1):
        if probe.count < LEAST_INPUTS:
            raise LorafoldError(
                f"{probe.count} inputs for adapter {number}, expected at least {LEAST_INPUTS}, as some are held back",
                key="inputs",
                remedy="128 or more of the adapter's own task serve best.",
            )
    hashes = [probe.hash for probe in probes]
    for number, own in enumerate(hashes):
        if (first := hashes.index(own)) < number:
            raise LorafoldError(
                f"adapters {first + 1} and {number + 1} have the same inputs",
                key="inputs",
                remedy="Give each adapter inputs of its own task: what it does to others' is of no use.",
            )


def check_effect(task: Task, name: str) -> None:
    """Raise LorafoldError where an adapter does nothing to its inputs: there is nothing to learn then."""
    for which in (task.seen, task.held_back):
        scale = task.targets.scale(which)
        if not bool((scale > 0).all() and scale.isfinite().all()):
            raise LorafoldError(
                f"{name} changes nothing of what the model makes of its inputs (E‖h_base - h‖² = {float(scale.min())})",
                key="inputs",
                remedy="Give the model that the adapter was trained on, and inputs of its task.",
            )
