"""The frames of one adapter in core space, and when they need a singular value decomposition."""

from __future__ import annotations

import pytest
import torch

from lorafold.core_space import _frames
from lorafold.core_space._frames import adapter_frames
from tests.builders import Source
from tests.builders import one_thread as one_thread


def factors(condition: float):
    source = Source(0)
    up, down = (torch.stack([source.conditioned(9, 4, condition) for _ in range(3)]) for _ in range(2))
    return up, down, torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


def test_sound_factors_need_no_singular_value_decomposition(monkeypatch):
    monkeypatch.setattr(_frames, "_revealed", None)
    up, down, scale = factors(100.0)
    frames = adapter_frames(up, down, scale)
    assert frames.dims.tolist() == [4, 4, 4]
    torch.testing.assert_close(frames.left @ frames.core @ frames.right.mT, scale[:, None, None] * up @ down.mT)


@pytest.mark.parametrize("weak", ["up", "down", "scale"])
def test_directions_that_carry_nothing_are_left_out(weak):
    up, down, scale = factors(10.0)
    given = {"up": up, "down": down, "scale": scale}
    given[weak] = given[weak].clone()
    given[weak][1] = 0
    if weak != "scale":
        given[weak][2, :, 3] = given[weak][2, :, 0]
    frames = adapter_frames(**given)
    assert frames.dims.tolist() == ([4, 0, 4] if weak == "scale" else [4, 0, 3])
    expected = given["scale"][:, None, None] * given["up"] @ given["down"].mT
    torch.testing.assert_close(frames.left @ frames.core @ frames.right.mT, expected)
