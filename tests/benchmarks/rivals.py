"""What other tools do with the same files, timed on a sample of modules and extrapolated by shape.

Only the arithmetic is timed: reading and writing are left out, to the rivals' advantage.

m = out, n = in, r_i = rank of adapter i, N = adapters.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from cases import Case
from safetensors import safe_open
from shapes import Layer
from synthetic import DOWN, PREFIX, UP, tensor_file
from torch import Tensor, nn

# Modules of one shape to time: as many as together hold so many numbers, but from one to eight.
_NUMBERS = 2**24
_MODULES = 8
# A sample is timed again until it has taken so many seconds.
_ENOUGH = 5.0


@dataclass(frozen=True)
class Update:
    """The updates of one module: scale_i up_i down_i of every adapter."""

    kernel: tuple[int, ...]
    ups: tuple[Tensor, ...]  # (m, r_i)
    downs: tuple[Tensor, ...]  # (r_i, n)
    alphas: tuple[float, ...]

    def dense_mean(self) -> Tensor:
        """Σ ΔW_i / N.  (m, n)"""
        scales = (alpha / down.shape[0] for alpha, down in zip(self.alphas, self.downs, strict=True))
        terms = (s * up @ down for s, up, down in zip(scales, self.ups, self.downs, strict=True))
        return sum(terms) / len(self.ups)  # type: ignore[return-value]


Rival = Callable[[Sequence[Update], int], Callable[[], Any]]  # (modules, rank) -> what is timed


def thin_svd(updates: Sequence[Update], rank: int) -> Callable[[], Any]:
    """torch.linalg.svd(full_matrices=False) of the dense sum."""
    return lambda: [_cut(torch.linalg.svd(update.dense_mean(), full_matrices=False), rank) for update in updates]


def full_svd(updates: Sequence[Update], rank: int) -> Callable[[], Any]:
    """torch.linalg.svd(full_matrices=True) of the dense sum, the default of kohya's and PEFT's tools."""
    return lambda: [_cut(torch.linalg.svd(update.dense_mean()), rank) for update in updates]


def lowrank_svd(updates: Sequence[Update], rank: int) -> Callable[[], Any]:
    """torch.svd_lowrank of the dense sum: twice the rank, two power iterations."""

    def run() -> list[Any]:
        found = (torch.svd_lowrank(W, q=min(2 * rank, *W.shape)) for W in (u.dense_mean() for u in updates))
        return [_cut((U, S, V.mT), rank) for U, S, V in found]

    return run


def peft(updates: Sequence[Update], rank: int, **options: Any) -> Callable[[], Any]:
    """PEFT's add_weighted_adapter on a model of these layers alone."""
    names = [f"adapter{i}" for i in range(len(updates[0].ups))]
    model = _peft_model(updates, names)
    weights = [1 / len(names)] * len(names)
    return partial(model.add_weighted_adapter, names, weights, "merged", svd_rank=rank, **options)


RIVALS: dict[str, Rival] = {
    "PEFT svd": partial(peft, combination_type="svd"),
    "PEFT ties_svd": partial(peft, combination_type="ties_svd", density=0.5),
    "thin SVD": thin_svd,
    "full_matrices SVD": full_svd,
    "svd_lowrank": lowrank_svd,
}


def measure_rivals(
    case: Case, paths: Sequence[Path], device: str, names: Sequence[str], runs: int
) -> dict[str, dict[str, Any]]:
    """Extrapolated seconds for all modules, per rival, with what they rest on.

    Every sample is timed `runs` times, fewer where it takes long, and the median counts.
    """
    groups: dict[tuple[int, int], list[Layer]] = defaultdict(list)
    for layer in case.layers:
        groups[layer.m, layer.n].append(layer)
    per_module: dict[str, dict[str, float]] = {name: {} for name in names}
    sampled = 0
    for (m, n), layers in groups.items():
        updates = list(_read(case, paths, _sample(layers), device))
        sampled += len(updates)
        for name in names:
            seconds = _median_seconds(RIVALS[name], updates, case.rank, device, runs)
            per_module[name][f"{m}x{n}"] = seconds / len(updates)
    counts = {f"{m}x{n}": len(layers) for (m, n), layers in groups.items()}
    return {
        name: {
            "seconds": sum(counts[shape] * value for shape, value in seconds.items()),
            "sampled_modules": sampled,
            "seconds_per_module": seconds,
        }
        for name, seconds in per_module.items()
    }


def warm_up(device: str, names: Sequence[str]) -> None:
    """Everything once on one small module: imports, thread pools, handles."""
    small = Update((), (torch.randn(64, 4, device=device),) * 2, (torch.randn(4, 64, device=device),) * 2, (4, 4))
    for name in names:
        RIVALS[name]([small], 4)()


def _sample(layers: Sequence[Layer]) -> list[Layer]:
    """Spread over the depth of the model."""
    count = min(len(layers), _MODULES, max(1, _NUMBERS // (layers[0].m * layers[0].n)))
    return [layers[i * len(layers) // count] for i in range(count)]


def _read(case: Case, paths: Sequence[Path], layers: Sequence[Layer], device: str) -> Iterator[Update]:
    """Factors in float32, as PEFT loads half-precision ones."""
    with ExitStack() as stack:
        files = [stack.enter_context(safe_open(tensor_file(path), framework="pt")) for path in paths]
        for layer in layers:
            base = PREFIX[case.format] + layer.name
            ups, downs = (
                tuple(file.get_tensor(base + part[case.format]).flatten(1).float().to(device) for file in files)
                for part in (UP, DOWN)
            )
            yield Update(layer.kernel, ups, downs, case.alphas)


def _median_seconds(rival: Rival, updates: Sequence[Update], rank: int, device: str, runs: int) -> float:
    times: list[float] = []
    while len(times) < runs and sum(times) < _ENOUGH:
        times.append(_seconds(rival(updates, rank), device))
    return median(times)


def _seconds(run: Callable[[], Any], device: str) -> float:
    start = perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return perf_counter() - start


def _cut(svd: Any, rank: int) -> tuple[Tensor, Tensor]:
    U, S, Vh = svd
    root = S[:rank].sqrt()
    return U[:, :rank] * root, root[:, None] * Vh[:rank]


def _peft_model(updates: Sequence[Update], names: Sequence[str]) -> Any:
    from peft import LoraConfig, get_peft_model

    base = nn.Module()
    base.layers = nn.ModuleList(_base_layer(update) for update in updates)
    targets = [f"layers.{i}" for i in range(len(updates))]
    model: Any = None
    for i, name in enumerate(names):
        rank, alpha = updates[0].downs[i].shape[0], updates[0].alphas[i]
        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets)
        if model is None:
            model = get_peft_model(base, config, adapter_name=name)
        else:
            model.add_adapter(name, config)
        for module, update in zip(base.layers, updates, strict=True):
            _fill(module.lora_A[name].weight, update.downs[i])
            _fill(module.lora_B[name].weight, update.ups[i])
    return model


def _base_layer(update: Update) -> nn.Module:
    """Its own weight is never touched, so it takes no memory."""
    m, n, device = update.ups[0].shape[0], update.downs[0].shape[1], update.ups[0].device
    if update.kernel:
        return nn.Conv2d(n, m, update.kernel, bias=False, device="meta").to_empty(device=device)
    return nn.Linear(n, m, bias=False, device="meta").to_empty(device=device)


def _fill(weight: Tensor, factor: Tensor) -> None:
    weight.data.copy_(factor.reshape(weight.shape))
