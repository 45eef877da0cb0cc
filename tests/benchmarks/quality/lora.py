"""Models as functions of their weights, to which low-rank factors may be added, and how such factors are trained.

m = out, n = in, r = rank, t = tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import sqrt
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

Weights = Mapping[str, Tensor]
Factors = Mapping[str, tuple[Tensor, Tensor]]  # down (r, n) and up (m, r) by module
_WARM_UP, _DECAY, _LONGEST_GRADIENT = 0.06, 0.01, 1.0
_BUCKET = 16  # batches whose examples are sorted by length together


@dataclass(frozen=True)
class Recipe:
    """How an adapter is trained.

    Args:
        rank, alpha: of the adapter.
        rate: the highest learning rate, after a linear warm-up and before a linear decay to nothing.
        steps, batch: how many, and of how many examples.
        seed: of the data, the factors and the order.
    """

    rank: int
    alpha: int
    rate: float
    steps: int
    batch: int = 32
    seed: int = 0


def linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    """W x + b, and up · down · x where the weights have such factors, in the dtype of W.  (t, n) to (t, m)"""
    weight = weights[f"{name}.weight"]
    x = x.to(weight.dtype)
    y = functional.linear(x, weight, weights.get(f"{name}.bias"))
    if f"{name}.down" in weights:
        y = y + functional.linear(functional.linear(x, weights[f"{name}.down"]), weights[f"{name}.up"])
    return y


def start(weights: Weights, modules: Iterable[str], recipe: Recipe) -> Factors:
    """Factors of an update that is zero at first: down as PEFT draws it, up zero."""
    random = torch.Generator().manual_seed(recipe.seed)
    factors = {}
    for module in modules:
        out, into = weights[f"{module}.weight"].shape
        down = torch.empty(recipe.rank, into).uniform_(-1 / sqrt(into), 1 / sqrt(into), generator=random)
        factors[module] = (down.requires_grad_(), torch.zeros(out, recipe.rank, requires_grad=True))
    return factors


def joined(weights: Weights, factors: Factors, recipe: Recipe) -> Weights:
    """The weights with the factors, scaled by alpha / rank."""
    scale = recipe.alpha / recipe.rank
    downs = {f"{module}.down": down for module, (down, _) in factors.items()}
    return {**weights, **downs, **{f"{module}.up": scale * up for module, (_, up) in factors.items()}}


def fit(
    loss: Callable[[Sequence[int]], Tensor],
    factors: Factors,
    further: Sequence[tuple[nn.Parameter, float]],
    lengths: Sequence[int],
    recipe: Recipe,
    report: Callable[[int, float], None] | None = None,
) -> None:
    """Train the factors in place, and `further` parameters, each with its own rate.

    Args:
        loss: of the examples with these numbers.
        lengths: of all examples; those of a batch are alike.
        report: called with the step and its loss.
    """
    parameters = [factor for pair in factors.values() for factor in pair]
    groups = [{"params": parameters, "lr": recipe.rate, "weight_decay": _DECAY}]
    groups += [{"params": [parameter], "lr": rate, "weight_decay": 0.0} for parameter, rate in further]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99))
    warm = max(1, round(_WARM_UP * recipe.steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, (recipe.steps - step) / max(1, recipe.steps - warm))
    )
    for step, numbers in enumerate(islice(_batches(lengths, recipe), recipe.steps), 1):
        value = loss(numbers)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(parameters, _LONGEST_GRADIENT)
        optimizer.step()
        schedule.step()
        if report:
            report(step, value.item())


def _batches(lengths: Sequence[int], recipe: Recipe) -> Iterator[list[int]]:
    """Without end: all examples in a random order, sorted by length within buckets, again and again."""
    random = np.random.default_rng(recipe.seed)
    while True:
        order = random.permutation(len(lengths))
        buckets = np.array_split(order, max(1, len(order) // (recipe.batch * _BUCKET)))
        order = np.concatenate([bucket[np.argsort(np.take(lengths, bucket), kind="stable")] for bucket in buckets])
        batches = [order[start : start + recipe.batch].tolist() for start in range(0, len(order), recipe.batch)]
        yield from (batches[number] for number in random.permutation(len(batches)))


def norm(factors: Factors, recipe: Recipe) -> float:
    """‖ΔW‖ over all modules, from the Gram matrices of the factors."""
    pairs = ((down.detach(), up.detach()) for down, up in factors.values())
    squares = sum((up.mT @ up * (down @ down.mT)).sum() for down, up in pairs)
    return recipe.alpha / recipe.rank * float(squares) ** 0.5


def save(factors: Factors, recipe: Recipe, base: str, folder: Path, dtype: torch.dtype, task_type: str | None) -> None:
    """Write the factors as PEFT's files; `base` is the name of the model on its hub."""
    from peft import LoraConfig

    targets = sorted({module.rpartition(".")[2] for module in factors})
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        target_modules=targets,
        base_model_name_or_path=base,
        inference_mode=True,
        task_type=task_type,
    )
    config.target_modules = targets  # PEFT keeps a set, and writes it in any order
    config.save_pretrained(str(folder))
    tensors = {
        f"base_model.model.{module}.lora_{letter}.weight": factor.detach().to(dtype).contiguous()
        for module, pair in factors.items()
        for letter, factor in zip("AB", pair, strict=True)
    }
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
