"""Updates too small for float16: what is said is what happens."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from torch import Tensor

import lorafold
from tests import oracles
from tests.builders import one_thread as one_thread
from tests.builders import random_adapter

SHAPES = {"small": (40, 30), "large": (320, 768)}


def merged(size: float, **options: Any) -> dict[str, Tensor]:
    adapters = [random_adapter("kohya", SHAPES, 8, seed=seed, scale=size) for seed in (1, 2)]
    return oracles.updates(lorafold.merge(adapters, rank=8, **options).adapter)


def changes(size: float, **options: Any) -> dict[str, float]:
    """‖ΔW' - ΔW‖ / ‖ΔW‖ between float16 and float32."""
    exact, narrow = (merged(size, dtype=dtype, **options) for dtype in ("float32", "float16"))
    return {name: float((narrow[name] - delta).norm() / delta.norm()) for name, delta in exact.items()}


@pytest.mark.parametrize("options", [{}, {"scale": 1e-4}, {"scale": "mean_norm"}], ids=str)
@pytest.mark.parametrize("power", [0, -6, -8, -9, -10, -11, -12, -14, -20])
def test_what_float16_changes_is_said(power: int, options: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    found = changes(10.0**power, **options)
    told = re.findall(r"^(\d) of 2 modules .* up to (\S+) % \((\w+),", "\n".join(caplog.messages), re.MULTILINE)
    assert len(told) == any(change > 1e-2 for change in found.values())
    for count, change, name in told:
        assert int(count) == sum(change > 1e-2 for change in found.values())
        assert float(change) / 100 == pytest.approx(found[name], rel=0.1)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_of_other_dtypes_and_of_nothing_at_all_there_is_nothing_to_say(
    dtype: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        merged(1e-20, dtype=dtype)
        merged(0.0, dtype="float16")
    assert not caplog.messages
