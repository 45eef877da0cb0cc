"""Whether a model with one adapter decides as it does with another, on inputs without labels.

n = decisions, C = classes or vocabulary, h = width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lorafold.common.errors import LorafoldError
from lorafold.models.run import at_rest, reads_from_left

Compared = Callable[["Answers", "Answers"], float]


@dataclass(frozen=True)
class Answers:
    """What a model says to a set of inputs.

    Args:
        values: logits (n, C): of every input, at the last token of a model that reads from left to right, at all
            tokens of other models with an output at each; of a model without a head the mean hidden states (n, h).
        are_logits: whether there is a head.
    """

    values: Tensor
    are_logits: bool


def answers(model: Any, batches: Iterable[Mapping[str, Tensor]]) -> Answers:
    """What a model of transformers, with whatever is attached to it, says to batches of inputs."""
    found, heads, last = [], False, reads_from_left(model)
    with at_rest(model):
        for batch in batches:
            output = model(**batch)
            mask = batch["attention_mask"].bool()
            logits = getattr(output, "logits", None)
            heads = logits is not None
            found.append(_pooled(output[0], mask) if logits is None else _decisive(logits, mask, last))
    return Answers(torch.cat(found), heads)


def agreement(one: Answers, other: Answers) -> float:
    """Share of decisions that are the same; without a head the mean cosine of the features, about their mean."""
    if one.are_logits:
        return float((one.values.argmax(-1) == other.values.argmax(-1)).float().mean())
    centre = other.values.mean(0)
    return float(torch.nn.functional.cosine_similarity(one.values - centre, other.values - centre).mean())


def divergence(one: Answers, other: Answers) -> float:
    """Mean KL(p_other || p_one) in nats.

    Raises:
        LorafoldError: a model without a head has no p.
    """
    if not one.are_logits:
        raise LorafoldError(
            "kl of a model without a head, which gives no probabilities",
            key="evaluator",
            remedy="Choose evaluator=agreement, or a model with its head.",
        )
    ours, theirs = (torch.log_softmax(each.values.double(), -1) for each in (one, other))
    return float((theirs.exp() * (theirs - ours)).sum(-1).mean())


COMPARISONS: dict[str, Compared] = {"agreement": agreement, "kl": divergence}


def _decisive(logits: Tensor, mask: Tensor, last: bool) -> Tensor:
    if logits.ndim == 2:
        return logits.float().cpu()
    if not last:
        return logits[mask].float().cpu()
    ends = mask.cumsum(1).argmax(1)  # of the first place where all tokens have been counted
    return logits[torch.arange(len(logits), device=logits.device), ends].float().cpu()


def _pooled(states: Tensor, mask: Tensor) -> Tensor:
    weights = mask[..., None].to(states.dtype)
    return ((states * weights).sum(1) / weights.sum(1)).float().cpu()
