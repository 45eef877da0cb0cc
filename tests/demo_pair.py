"""The shipped pair module by module, and comparisons of whole merges: the largest relative error of any module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from lorafold import MergeResult
from lorafold.adapters import Adapter, Module
from lorafold.commands.merge.config import MergeConfig
from lorafold.commands.merge.run import merge
from lorafold.runs.run import Run
from tests import oracles
from tests.builders import Source, changed, demo
from tests.oracles import updates

WEIGHTS = [0.6, 0.4]
# Where the minimiser has no closed form, merges are compared at a tolerance that determines ΔW to 1e-6.
TIGHT = {"name": "riemannian_adam", "tol": 1e-9}
NAMES = [*demo()[0].modules]
# Six modules of all shapes, where every module would only take longer. In the last, sweeps at rank 16 pass a saddle.
FEW = [*NAMES[:5], "encoder.layer.1.attention.self.key"]


@cache
def inputs(name: str) -> list[Tensor]:
    """The updates ΔW_i of a module of the shipped pair."""
    return [oracles.update(adapter.modules[name]) for adapter in demo()]


def spaces(name: str) -> list[tuple[Tensor, Tensor]]:
    """Their column and row spaces; the factors have full rank, so a QR decomposition gives them."""
    modules = [adapter.modules[name] for adapter in demo()]
    return [tuple(torch.linalg.qr(frame)[0] for frame in frames(module)) for module in modules]


def worst(result: MergeResult, expected: Callable[[str], Tensor]) -> float:
    """The largest relative error of any module, `expected` being a function of its name."""
    return max(oracles.relative(delta, expected(name)) for name, delta in updates(result.adapter).items())


def change(one: MergeResult, other: MergeResult) -> float:
    """The largest relative difference of any module of two merges."""
    assert one.adapter.modules.keys() == other.adapter.modules.keys()
    return worst(one, updates(other.adapter).__getitem__)


def run_metrics(**settings: Any) -> dict[str, Any]:
    """The content of `metrics.json` after a merge of the pair by the command, without its page."""
    with TemporaryDirectory() as folder:
        return merge(Run(Path(folder), Path(folder), alone=False), MergeConfig(**settings, page=False))


def few() -> list[Adapter]:
    """The pair with the modules FEW."""
    return [changed(adapter, only=FEW) for adapter in demo()]


def frames(module: Module) -> tuple[Tensor, Tensor]:
    return module.up.double(), module.down.double().mT


def gauged(adapter: Adapter, seed: int) -> Adapter:
    """(B G, G⁻¹ A) with random G of condition 10."""
    source = Source(seed)

    def turn(module: Module) -> Module:
        G = source.conditioned(module.rank, module.rank, 10.0)
        return replace(module, up=module.up @ G, down=torch.linalg.inv(G) @ module.down)

    return changed(adapter, turn)
