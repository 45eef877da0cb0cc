"""A cycle of RiemannianAdam on the Grassmann manifold as one step over fixed buffers: a CUDA graph, replayed.

A step is a hundred small kernels, whose launches take twenty times as long as their work. b = modules, r = rank.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lorafold.geometry.frames import polar_near
from lorafold.objectives import Objective
from lorafold.solvers._solution import Point, point

# geoopt's defaults.
_FIRST, _SECOND, _EPS = 0.9, 0.999, 1e-8
# Steps before the recording, in which libraries set up what they need.
_WARM_UP = 3


@dataclass(frozen=True)
class _Side:
    """One parameter and its moments; all are overwritten in place."""

    frame: Tensor  # (b, d, r)
    mean: Tensor  # of the gradients (b, d, r)
    square: Tensor  # of their norms (b, 1, 1)


class AdamCycle:
    """geoopt's RiemannianAdam from a point, with nothing that depends on the host once a step has begun."""

    def __init__(self, objective: Objective, at: Point, rates: Tensor, steps: int) -> None:
        """`rates`: one learning rate per module (b,), which falls along a cosine over the steps."""
        self._objective, self._at, self._steps = objective, at, steps
        self._sides = tuple(
            _Side(frame.clone(), torch.zeros_like(frame), torch.zeros_like(frame[:, :1, :1]))
            for frame in (at.left, at.right)
        )
        self._rates = rates[:, None, None].clone()
        self._schedule = torch.tensor(
            [_numbers(step, steps) for step in range(steps)], dtype=rates.dtype, device=rates.device
        )
        self._step = torch.zeros(1, dtype=torch.int64, device=rates.device)
        self._sound = torch.ones((), dtype=torch.bool, device=rates.device)

    def run(self) -> Point | None:
        """Where the cycle ends, or None if a step was so long that it takes a retraction of another kind."""
        if self._rates.is_cuda:
            self._replay()
        else:
            for _ in range(self._steps):
                self._advance()
        return point(self._objective, *(side.frame for side in self._sides)) if bool(self._sound) else None

    def _replay(self) -> None:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(min(_WARM_UP, self._steps)):
                self._advance()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._advance()
        self._reset()
        for _ in range(self._steps):
            graph.replay()

    def _reset(self) -> None:
        for side, frame in zip(self._sides, (self._at.left, self._at.right), strict=True):
            side.frame.copy_(frame)
            side.mean.zero_()
            side.square.zero_()
        self._step.zero_()
        self._sound.fill_(True)

    def _advance(self) -> None:
        factor, first, second = self._schedule.index_select(0, self._step).unbind(1)
        evaluation = self._objective.evaluate(*(side.frame for side in self._sides))
        for side, gradient in zip(self._sides, (evaluation.left, evaluation.right), strict=True):
            self._move(side, gradient, factor * self._rates, first, second)
        self._step += 1

    def _move(self, side: _Side, gradient: Tensor, rate: Tensor, first: Tensor, second: Tensor) -> None:
        tangent = _horizontal(side.frame, gradient)
        side.mean.mul_(_FIRST).add_(tangent, alpha=1 - _FIRST)
        side.square.mul_(_SECOND).add_(tangent.square().sum((1, 2), keepdim=True), alpha=1 - _SECOND)
        direction = side.mean * (rate / (first * ((side.square / second).sqrt() + _EPS)))
        frame, sound = polar_near(side.frame - direction)
        side.frame.copy_(frame)
        side.mean.copy_(_horizontal(frame, side.mean))
        self._sound &= sound.all()


def _numbers(step: int, steps: int) -> tuple[float, float, float]:
    """The factor on the learning rate, and what corrects the moments' bias."""
    return (1 + math.cos(math.pi * step / steps)) / 2, 1 - _FIRST ** (step + 1), 1 - _SECOND ** (step + 1)


def _horizontal(frame: Tensor, vector: Tensor) -> Tensor:
    return vector - frame @ (frame.mT @ vector)
