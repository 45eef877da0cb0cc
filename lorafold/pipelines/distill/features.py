"""What is compared of two models on the same inputs.

s = inputs of a batch, t = tokens (or 1), h = width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Features:
    """What a model makes of a batch of inputs."""

    states: tuple[Tensor, ...]  # one of each layer that is compared (s, t, h)
    mask: Tensor  # 1 where a token counts (s, t)


class Probe(Protocol):
    """A model with inputs of one adapter at hand."""

    @property
    def count(self) -> int:
        """How many inputs there are."""

    @property
    def hash(self) -> str:
        """Of the inputs."""

    def __call__(self, index: Sequence[int]) -> Features:
        """What the model, with whatever is attached to it, makes of these inputs."""


@dataclass(frozen=True)
class Targets:
    """What a model makes of its adapter's inputs, with the adapter on; and how far it is from that without.

    Kept per input without padding, in the dtype of the forward passes, in the memory of the CPU.
    """

    states: tuple[tuple[Tensor, ...], ...]  # by input and layer (tokens, h)
    gaps: Tensor  # Σ over tokens of ‖h_base - h_i‖² (inputs, layers)
    tokens: Tensor  # (inputs,)

    def scale(self, index: Sequence[int]) -> Tensor:
        """E‖h_base - h_i‖² over some inputs, which counts as 1.  (layers,)"""
        chosen = torch.as_tensor(index)
        return self.gaps[chosen].sum(0) / self.tokens[chosen].sum()

    def squared_error(self, features: Features, index: Sequence[int]) -> Tensor:
        """Σ over tokens of ‖h - h_i‖² over the inputs of a batch.  (layers,)"""
        counted = features.mask.bool()
        errors = []
        for layer, state in enumerate(features.states):
            theirs = torch.cat([self.states[i][layer] for i in index]).to(state)
            errors.append((state[counted] - theirs).square().sum())
        return torch.stack(errors)


@torch.no_grad()
def collected(probe: Probe, size: int) -> list[tuple[Tensor, ...]]:
    """The features of all inputs, by input and layer, without padding (tokens, h)."""
    found = []
    for start in range(0, probe.count, size):
        index = range(start, min(start + size, probe.count))
        features = probe(index)
        for row in range(len(index)):
            kept = features.mask[row].bool()
            found.append(tuple(state[row, kept].cpu() for state in features.states))
    return found


def targets_of(with_adapter: Sequence[tuple[Tensor, ...]], without: Sequence[tuple[Tensor, ...]]) -> Targets:
    """From the features of all inputs with the adapter on and off."""
    pairs = zip(with_adapter, without, strict=True)
    gaps = [[(h - base).double().square().sum() for h, base in zip(*pair, strict=True)] for pair in pairs]
    tokens = torch.tensor([len(states[0]) for states in with_adapter])
    return Targets(tuple(with_adapter), torch.tensor(gaps), tokens)
