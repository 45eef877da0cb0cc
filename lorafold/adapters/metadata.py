"""What the header of a merged file says about itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lorafold import __version__
from lorafold.adapters.adapter import Adapter

# Hashes of the input's own bytes.
_HASHES = ("sshs_", "modelspec.hash_sha256")


def merged_metadata(adapters: Sequence[Adapter], weights: Sequence[float], ranks: Sequence[int]) -> dict[str, str]:
    """`__metadata__` for the merge of `adapters`: the same arguments give the same entries.

    The first adapter's entries hold, then those that only later ones have; hashes of the inputs are dropped. In a
    kohya file ss_network_dim, ss_network_alpha and the convolutions' pair in ss_network_args describe the result. The
    entry "lorafold" is a JSON object with the version and, for each input, its file, weight and every entry that
    differs from the merged one, so nothing is lost.

    Args:
        adapters: the inputs, in order.
        weights: one number per adapter.
        ranks: of the modules of the result, whose alpha equals their rank.
    """
    merged: dict[str, str] = {}
    for adapter in adapters:
        kept = {key: value for key, value in adapter.metadata.items() if not key.startswith(_HASHES)}
        merged = {**kept, **merged}
    merged.pop("lorafold", None)
    if adapters[0].format == "kohya":
        merged = _with_rank(merged, str(ranks[0]) if len(set(ranks)) == 1 else "Dynamic")
    inputs = [_input(adapter, weight, merged) for adapter, weight in zip(adapters, weights, strict=True)]
    return merged | {"lorafold": _compact({"version": __version__, "inputs": inputs})}


def _input(adapter: Adapter, weight: float, merged: Mapping[str, str]) -> dict[str, Any]:
    """The provenance of one input."""
    differing = {key: value for key, value in adapter.metadata.items() if merged.get(key) != value}
    name = None if adapter.path is None else adapter.path.name
    return {"file": name, "weight": weight, "metadata": differing}


def _with_rank(metadata: Mapping[str, str], rank: str) -> dict[str, str]:
    """The entries that state rank and alpha, `rank` in each; "Dynamic" is sd-scripts' word for more than one."""
    stated = {"ss_network_dim": rank, "ss_network_alpha": rank}
    try:
        arguments = json.loads(metadata.get("ss_network_args", "null"))
    except ValueError:
        arguments = None
    if isinstance(arguments, dict) and {"conv_dim", "conv_alpha"} & arguments.keys():
        stated["ss_network_args"] = json.dumps(arguments | {"conv_dim": rank, "conv_alpha": rank})
    return {**metadata, **stated}


def _compact(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
