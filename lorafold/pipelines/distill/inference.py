"""A model while adapters are compared on it: its own weights stay, dropout is off; all as before afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

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
    """The switch that transformers and diffusers have; by hand, for theirs adds hooks that stay."""
    switched: list[Any] = [each for each in layers if getattr(each, "gradient_checkpointing", None) is False]
    function = partial(checkpoint, use_reentrant=False)
    try:
        for layer in switched:
            layer.gradient_checkpointing, layer._gradient_checkpointing_func = True, function
            layer.training = True  # of this module alone, which looks at it: the dropout inside stays off
        yield
    finally:
        for layer in switched:
            layer.gradient_checkpointing = False
            del layer._gradient_checkpointing_func
