"""A model while adapters are compared on it: its own weights stay, dropout is off; all as before afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from lorafold.models.layers import modules_of


@contextmanager
def still(model: Any, checkpointing: bool = False) -> Iterator[None]:
    """Inside, no weight of the model takes part in gradients, and nothing in it is random.

    Args:
        model: a torch module or a pipeline of diffusers.
        checkpointing: whether its layers are computed again for their gradients, where it knows how to.
    """
    layers = list(dict.fromkeys(modules_of(model).values()))
    training = [layer.training for layer in layers]
    learning = [(p, p.requires_grad) for layer in layers for p in layer.parameters(recurse=False)]
    try:
        for layer in layers:
            layer.training = False
        for parameter, _ in learning:
            parameter.requires_grad_(False)
        with _checkpointed(layers if checkpointing else []):
            yield
    finally:
        for layer, mode in zip(layers, training, strict=True):
            layer.training = mode
        for parameter, wanted in learning:
            parameter.requires_grad_(wanted)


@contextmanager
def _checkpointed(layers: list[nn.Module]) -> Iterator[None]:
    """Models of transformers and diffusers have a switch; the layers of the former look at `training`, too."""
    owners: list[Any] = [each for each in layers if hasattr(each, "gradient_checkpointing_enable")]
    owners += [each for each in layers if hasattr(each, "enable_gradient_checkpointing")]
    before = [each for each in layers if getattr(each, "gradient_checkpointing", None) is False]
    try:
        for owner in owners:
            _switch(owner)
        changed: list[Any] = [each for each in before if getattr(each, "gradient_checkpointing", False)]
        for each in changed:
            each.training = True  # of this module alone: the dropout inside stays off
        yield
    finally:
        for each in before:
            each.gradient_checkpointing = False  # type: ignore[assignment]
            each.training = False


def _switch(owner: Any) -> None:
    if hasattr(owner, "enable_gradient_checkpointing"):
        owner.enable_gradient_checkpointing()
    else:
        owner.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
