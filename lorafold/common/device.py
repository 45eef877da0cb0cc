"""Where torch computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from lorafold.common.errors import LorafoldError


@dataclass(frozen=True)
class Place:
    """Settings that hold, and where to compute."""

    device: torch.device


def device_of(name: str) -> torch.device:
    """The device of a setting: auto, cpu, cuda or cuda:N.

    Raises:
        LorafoldError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise LorafoldError(f"device={name!r} is unknown", remedy="Choose auto, cpu or cuda.") from None
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and not torch.cuda.is_available()):
        raise LorafoldError(f"device={name!r} is not available here", remedy="Use device=auto or device=cpu.")
    return device


@contextmanager
def gpu_in_turn(number: int) -> Iterator[None]:
    """Of several GPUs, `cuda` and `auto` are the one whose turn it is: those of a sweep's runs, by their number."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count < 2:
        yield
        return
    with torch.cuda.device(number % count):
        yield
