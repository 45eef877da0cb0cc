"""What the header of a merged file says about itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lorafold._version import __version__
from lorafold.adapters.adapter import Adapter
from lorafold.adapters.metadata.base_model import base_model
from lorafold.adapters.metadata.modelspec import title, with_modelspec
from lorafold.adapters.metadata.training import TAGS, holds_tags, tag_frequency, with_network

# Hashes of the input's own bytes.
HASHES = ("sshs_", "modelspec.hash_sha256")
# Ranks and scales of the input's layers; its format writes them anew.
_LAYOUT = "lora_adapter_metadata"
# Settings that say where things are and how fast they go, not what comes out.
_ELSEWHERE = ("adapters", "base", "tuned", "allow_different_bases", "output", "page", "evaluator", "tracker", "threads")


def merged_metadata(
    adapters: Sequence[Adapter],
    weights: Sequence[float],
    ranks: Sequence[int],
    alphas: Sequence[float] | None = None,
    form: str | None = None,
) -> dict[str, str]:
    """`__metadata__` for the merge of `adapters`, or for what one became: the same arguments give the same entries.

    The first adapter's entries hold, then those that only later ones have; hashes of the inputs are dropped. Titles,
    trigger words and tags of a merge are those of all inputs. A kohya file has what sd-scripts looks for, rank and
    alpha being those of the result; where the base model is known, any file but PEFT's has `modelspec`. The entry
    "lorafold" is a JSON object with the version and, for each input, its file, weight and every entry that differs from
    the merged one, so nothing is lost.

    Args:
        adapters: the inputs, in order.
        weights: one number per adapter.
        ranks: of the modules of the result.
        alphas: likewise, scale times rank; None: equal to the ranks, as in formats that have no alphas.
        form: format of the result; None: that of the first adapter.
    """
    form = form or adapters[0].format
    guess = next((base for base in map(base_model, adapters) if base), None)
    family = guess.family if guess else None
    merged = _first_holds(adapters)
    if len(adapters) > 1:
        merged |= _united(adapters)
    if form == "kohya" or "ss_network_dim" in merged:
        merged = with_network(merged, ranks, (alphas if form == "kohya" else None) or ranks, family)
    if form != "peft":
        merged = with_modelspec(merged, adapters, family)
    inputs = [_input(adapter, weight, merged) for adapter, weight in zip(adapters, weights, strict=True)]
    return merged | {"lorafold": _compact({"version": __version__, "inputs": inputs})}


def signed(
    adapter: Adapter,
    command: str,
    config: Mapping[str, Any],
    hashes: Sequence[str | None],
    reference: str | None = None,
    kept: Sequence[float | None] = (),
) -> Adapter:
    """The adapter that a command made, saying so: its entry "lorafold" names command, settings and inputs.

    Args:
        adapter: with the metadata of `merged_metadata`.
        command: such as "merge".
        config: all settings, resolved. Of choices the name is written down, of all of them together the SHA-256, but
            for those that do not change what comes out.
        hashes: SHA-256 of each input; None where it was not taken.
        reference: likewise of what the adapter was matched to, if there is such a thing.
        kept: the share of each input's energy that the result keeps, where it is known; to three digits.
    """
    entry = json.loads(adapter.metadata["lorafold"])
    settings = {key: value for key, value in config.items() if key not in _ELSEWHERE}
    method = {key: _name(value) for key, value in settings.items()}
    entry |= {"command": command, "method": method, "config_sha256": _sha256(settings)}
    entry["inputs"] = [given | {"sha256": sha} for given, sha in zip(entry["inputs"], hashes, strict=True)]
    for given, share in zip(entry["inputs"], kept, strict=False):
        given |= {} if share is None else {"kept": round(share, 3)}
    if reference is not None:
        entry["reference"] = {"sha256": reference}
    return replace(adapter, metadata={**adapter.metadata, "lorafold": _compact(entry)})


def _first_holds(adapters: Sequence[Adapter]) -> dict[str, str]:
    merged: dict[str, str] = {}
    for adapter in adapters:
        kept = {key: value for key, value in adapter.metadata.items() if not key.startswith((*HASHES, _LAYOUT))}
        merged = {**kept, **merged}
    merged.pop("lorafold", None)
    return merged


def _united(adapters: Sequence[Adapter]) -> dict[str, str]:
    """A name, by which web interfaces call the file, and the tags of all data sets."""
    united = {}
    if tags := tag_frequency([adapter.metadata.get(TAGS, "") for adapter in adapters]):
        united[TAGS] = tags
    if any("ss_output_name" in adapter.metadata for adapter in adapters):
        united["ss_output_name"] = title(adapters)
    return united


def _input(adapter: Adapter, weight: float, merged: Mapping[str, str]) -> dict[str, Any]:
    """The provenance of one input."""
    differing = {key: value for key, value in adapter.metadata.items() if merged.get(key) != value}
    if TAGS in differing and holds_tags(merged.get(TAGS), differing[TAGS]):
        del differing[TAGS]
    name = None if adapter.path is None else adapter.path.name
    return {"file": name, "weight": weight, "metadata": differing}


def _name(value: Any) -> Any:
    """The name of a choice, which is a mapping with a name and options."""
    return value.get("name", value) if isinstance(value, Mapping) else value


def _sha256(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(_compact(settings).encode()).hexdigest()


def _compact(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
