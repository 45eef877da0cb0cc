"""Adapters whose initialisation changed the base model: PiSSA and OLoRA as plain LoRA of the model as it was.

m = out, n = in, r = rank, s = scale.

PEFT begins with factors B₀A₀ taken from the weight W and trains on W - s B₀A₀, so that the adapter changes W by
ΔW = s (BA - B₀A₀) = s [B, B₀] [A; -A₀], of rank 2r; PEFT's own conversion (`subtract_mutated_init`) is the same, from
factors that were kept. Here they come from W again: of PiSSA s B₀A₀ is the best approximation of W of rank r, of OLoRA
B₀A₀ is Q[:, :r] R[:r] of W = QR. What depends on random numbers or data is refused: pissa_niter, CorDA, LoRA-GA, LoftQ.

Source: PEFT 0.21, `tuners/lora/layer.py`: pissa_init, olora_init.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.module import Module
from lorafold.adapters.parametrisations.base_weights import BaseWeights, open_base
from lorafold.common.errors import LorafoldError

# Initialisations after which the base model's weights are no longer those of its checkpoint.
CHANGES_BASE = ("pissa", "olora", "corda", "lora_ga", "loftq")


def as_plain(adapter: Adapter, path: Path, base: str | Path | None) -> Adapter:
    """The adapter as plain LoRA of the base model.

    Args:
        path: of its file, for messages.
        base: weights of the model before the adapter was initialised; needed where that changed them.

    Raises:
        LorafoldError: no base where it is needed, one that does not fit, or initial factors that cannot be repeated.
    """
    start = str(adapter.config.get("init_lora_weights")).lower()
    if not start.startswith(CHANGES_BASE):
        return adapter
    if start not in _INITIAL:
        raise _refusal(start, path, "which cannot be repeated from the weights alone", "")
    if base is None:
        raise _refusal(
            start,
            path,
            "and it is no adapter of the model as it was",
            "base=PATH of that model, where need be to `lorafold convert` first, or ",
        )
    if adapter.pending or any(module.kind != "linear" for module in adapter.modules.values()):
        raise _refusal(start, path, "of which lorafold converts linear layers without DoRA alone", "")
    transposed = bool(adapter.config.get("fan_in_fan_out"))
    if transposed and start == "olora":  # PEFT takes QR of the weight as it is stored
        raise _refusal(start, path, "with fan_in_fan_out, which lorafold does not convert", "")
    weights = open_base(base)
    modules = {name: _plain(each, weights, transposed, _INITIAL[start]) for name, each in adapter.modules.items()}
    return replace(adapter, modules=modules, config={**adapter.config, "init_lora_weights": True})


def _plain(module: Module, weights: BaseWeights, transposed: bool, initial: Callable[..., Factors]) -> Module:
    """s [B, B₀] [A; -A₀]."""
    up, down = initial(weights.matrix(module, transposed).double(), module.rank, module.scale)
    dtype = torch.promote_types(module.up.dtype, torch.float32)
    return replace(
        module,
        up=torch.cat([module.up.double(), up], 1).to(dtype),
        down=torch.cat([module.down.double(), -down]).to(dtype),
    )


Factors = tuple[Tensor, Tensor]  # B₀ (m, r) and A₀ (r, n)


def _pissa(weight: Tensor, rank: int, scale: float) -> Factors:
    """By eigenvectors of the Gram matrix of the smaller side, exactly: random sketches would leave a difference."""
    if weight.shape[0] > weight.shape[1]:
        down, up = _pissa(weight.mT, rank, scale)
        return up.mT, down.mT
    frame = torch.linalg.eigh(weight @ weight.mT)[1][:, -rank:]
    return frame, frame.mT @ weight / scale


def _olora(weight: Tensor, rank: int, scale: float) -> Factors:
    Q, R = torch.linalg.qr(weight)
    return Q[:, :rank], R[:rank]


_INITIAL: Mapping[str, Callable[[Tensor, int, float], Factors]] = {"pissa": _pissa, "olora": _olora}


def _refusal(start: str, path: Path, why: str, way: str) -> LorafoldError:
    return LorafoldError(
        f"init_lora_weights={start}: this adapter belongs to a base model that its initialisation changed, {why}",
        path=path,
        key="init_lora_weights",
        remedy=f"Give {way}the adapter as PEFT converts it: save_pretrained(..., "
        "path_initial_model_for_weight_conversion=INITIAL).",
    )
