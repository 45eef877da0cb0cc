"""The configuration of a merged PEFT adapter: what all inputs' say of the tensors beside the factors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lorafold.adapters.adapter import Adapter
from lorafold.common.errors import LorafoldError

# Settings that say which weights the other tensors belong to.
_ALIKE = {
    "general.architecture": "these are models of different kinds",
    "target_parameters": "one order of these says which factors belong to which",
    "layer_replication": "it repeats layers of the base model, so that layers of one number are not the same ones",
    "trainable_token_indices": "they do not say in one way which rows of the embedding they replace",
}


def merged_config(adapters: Sequence[Adapter]) -> Mapping[str, Any]:
    """The first adapter's configuration, with the settings of all that say where their whole weights belong.

    PEFT drops tensors of a file, without a word, that its configuration does not announce.

    Raises:
        LorafoldError: settings that contradict each other.
    """
    configured = [adapter for adapter in adapters if adapter.config]
    if not configured or adapters[0] is not configured[0]:
        return adapters[0].config
    first, *others = configured
    merged = dict(first.config)
    for other in others:
        for key, reason in _ALIKE.items():
            _check_alike(merged.get(key), other, key, reason)
        if rows := other.config.get("trainable_token_indices"):
            merged["trainable_token_indices"] = rows
        if saved := [*(merged.get("modules_to_save") or ()), *(other.config.get("modules_to_save") or ())]:
            merged["modules_to_save"] = list(dict.fromkeys(saved))
        if (bias := _bias(merged.get("bias"), other.config.get("bias"))) is not None:
            merged["bias"] = bias
        if other.config.get("ensure_weight_tying"):
            merged["ensure_weight_tying"] = True
    return merged


def _check_alike(ours: Any, other: Adapter, key: str, reason: str) -> None:
    theirs = other.config.get(key)
    both = ours and theirs if key == "trainable_token_indices" else ours or theirs
    if both and ours != theirs:
        raise LorafoldError(
            f"{theirs} here but {ours} in another adapter: {reason}",
            path=other.path,
            key=key,
            remedy="Merge adapters in which they agree.",
        )


def _bias(ours: Any, theirs: Any) -> Any:
    """Which biases are in the file: none, those of the adapted layers, or all."""
    kinds = {kind for kind in (ours, theirs) if kind not in (None, "none")}
    return (kinds.pop() if len(kinds) == 1 else "all") if kinds else ours
