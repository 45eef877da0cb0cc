"""The hidden states that a model of transformers makes of token ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from lorafold.pipelines.distill.autocast import autocast
from lorafold.pipelines.distill.features import Features

LAYERS = ("last", "all", "pooled")


@dataclass(frozen=True)
class HiddenStates:
    """A model, and inputs of one adapter as token ids.

    Args:
        model: of transformers, or any that returns hidden states (s, t, h) first.
        examples: of each input its tensors (tokens,) by name; `input_ids` at the least.
        layers: "last": the last hidden states; "all": those of every layer; "pooled": the mean of the last ones over
            the tokens.
        dtype: of the forward passes where it is not the model's own.
        skip_first: whether the first token does not count. In a language model that reads from left to right attention
            that has nowhere to go ends there, and its norm swamps all others.
    """

    model: Any
    examples: Sequence[Mapping[str, Tensor]]
    layers: str = "last"
    dtype: torch.dtype | None = None
    skip_first: bool = False

    @property
    def count(self) -> int:
        return len(self.examples)

    @property
    def hash(self) -> str:
        digest = hashlib.sha256()
        for example in self.examples:
            digest.update(json.dumps(example["input_ids"].tolist()).encode())
        return digest.hexdigest()

    def __call__(self, index: Sequence[int]) -> Features:
        device = next(self.model.parameters()).device
        batch = _padded([self.examples[i] for i in index], device)
        with autocast(device, self.dtype):
            states = _states(self.model, batch, self.layers == "all")
        mask = batch["attention_mask"]
        if self.skip_first:
            mask = mask * (mask.cumsum(1) > 1)
        if self.layers == "pooled":
            states, mask = tuple(_mean(state, mask) for state in states), torch.ones_like(mask[:, :1])
        return Features(tuple(state.to(torch.promote_types(state.dtype, torch.float32)) for state in states), mask)


def unpadded(batch: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Every input of a batch for itself, without padding."""
    mask = batch.get("attention_mask", torch.ones_like(batch["input_ids"])).bool().cpu()
    return [
        {name: values[row].cpu()[kept] for name, values in batch.items() if values.shape == mask.shape}
        for row, kept in enumerate(mask)
    ]


def _padded(examples: Sequence[Mapping[str, Tensor]], device: torch.device) -> dict[str, Tensor]:
    """A batch on the device, zeros on the right."""
    whole = [{"attention_mask": torch.ones_like(each["input_ids"]), **each} for each in examples]
    return {
        name: torch.nn.utils.rnn.pad_sequence([each[name] for each in whole], batch_first=True).to(device)
        for name in whole[0]
    }


def _states(model: Any, batch: Mapping[str, Tensor], every: bool) -> tuple[Tensor, ...]:
    """Of the last layer, or of every one: of the model without its head, which costs much and says no more."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    body = getattr(inner, "base_model", inner)
    options = {"use_cache": False} if "use_cache" in signature(body.forward).parameters else {}
    if every:
        return tuple(body(**batch, **options, output_hidden_states=True).hidden_states[1:])
    output = body(**batch, **options)
    return (output if isinstance(output, Tensor) else output[0],)


def _mean(state: Tensor, mask: Tensor) -> Tensor:
    """Over the tokens that count.  (s, 1, h)"""
    weights = mask[..., None].to(state.dtype)
    return (state * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True)
