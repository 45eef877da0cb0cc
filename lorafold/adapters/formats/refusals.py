"""Tensors that are no plain LoRA, by name: each is refused with what it is and what to do about it."""

from __future__ import annotations

import re
from pathlib import Path

from lorafold.common.errors import LorafoldError

_BAKE = "Extract a plain LoRA from base model plus adapter with the tool that made it, and merge that."

# (pattern anywhere in the key, what it is, remedy)
_VARIANTS = (
    (
        r"dora_scale|lora_magnitude_vector|\.magnitude$",
        "DoRA, which lorafold reads in kohya and PEFT files only",
        _BAKE,
    ),
    (r"\.hada_", "LoHa (a Hadamard product), which lorafold reads by its names in kohya files only", _BAKE),
    (r"\.lokr_", "LoKr (a Kronecker product), which lorafold reads by its names in kohya files only", _BAKE),
    (r"\.oft_", "OFT or BOFT (an orthogonal transform), not a plain LoRA", _BAKE),
    (r"\.[ab]m?[12]\.weight$", "GLoRA, not a plain LoRA", _BAKE),
    (
        r"\.(key|query)_norm\.scale$|\.norm_(added_)?[qk]\.weight$",
        "a control LoRA, which replaces norms of the model",
        _BAKE,
    ),
    (r"\.set_weight$", "a weight that replaces that of the base model", _BAKE),
    (r"\.reshape_weight$", "an adapter that changes the shape of a layer", _BAKE),
    (r"\.bias_(indices|values|size)$", "a sparse bias", _BAKE),
)


def known_variant(path: Path, key: str) -> LorafoldError | None:
    """The refusal of `key` if it marks a known variant of LoRA."""
    for pattern, what, remedy in _VARIANTS:
        if re.search(pattern, key):
            return LorafoldError(f"this is {what}", path=path, key=key, remedy=remedy)
    return None


def unsupported(path: Path, key: str) -> LorafoldError:
    """The refusal of a tensor that a format does not know."""
    return known_variant(path, key) or LorafoldError(
        "not a tensor that lorafold knows in this format, and skipping it would change the adapter",
        path=path,
        key=key,
        remedy=_BAKE,
    )
