"""How far a model with the merged adapter is from the models with one adapter each, on their inputs.

N = adapters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lorafold.pipelines.distill.features import Probe, Targets


@dataclass(frozen=True)
class Task:
    """One adapter's inputs: what the model makes of them with it, and which of them are learnt from."""

    probe: Probe
    targets: Targets
    seen: Sequence[int]
    held_back: Sequence[int]

    @cached_property
    def scale(self) -> Tensor:
        """E‖h_base - h_i‖² over the inputs that are learnt from.  (layers,)"""
        return self.targets.scale(self.seen)

    def loss(self, index: Sequence[int]) -> Tensor:
        """E‖h - h_i‖² / E‖h_base - h_i‖² over some inputs, the mean over the layers; on the way of gradients."""
        features = self.probe(index)
        errors = self.targets.squared_error(features, index) / features.mask.sum()
        return (errors / self.scale.to(errors)).mean()

    @torch.no_grad()
    def held_back_loss(self, size: int) -> float:
        """The same over the inputs held back, where the model without adapters is at 1."""
        total = torch.zeros_like(self.scale)
        for start in range(0, len(self.held_back), size):
            index = self.held_back[start : start + size]
            total += self.targets.squared_error(self.probe(index), index).cpu().double()
        tokens = self.targets.tokens[torch.as_tensor(self.held_back)].sum()
        return float((total / tokens / self.targets.scale(self.held_back)).mean())
