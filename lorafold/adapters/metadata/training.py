"""The entries `ss_*`, in which kohya's tools describe what was trained: of a merge, what all inputs say together."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lorafold.adapters.metadata.base_model import Family

MIXED = "Dynamic"  # sd-scripts' word for ranks and alphas that differ
TAGS = "ss_tag_frequency"
_PLAIN = ("lora", "locon")  # algorithms of LyCORIS whose files hold what lorafold writes


def with_network(
    metadata: Mapping[str, str], ranks: Sequence[int], alphas: Sequence[float], family: Family | None
) -> dict[str, str]:
    """The metadata with what sd-scripts looks for in any file, rank and alpha being those of the result.

    Source: sd-scripts, `SS_METADATA_MINIMUM_KEYS`, the keys that it keeps when asked for as little as can be. What an
    adapter says of itself holds; the family of its base model fills in what is missing.
    """
    stated = {"ss_network_dim": _one(ranks), "ss_network_alpha": _one(alphas)}
    module = {"ss_network_module": family.network if family else "networks.lora"}
    return {**module, **_base(family), **metadata, **stated, **_arguments(metadata, ranks, alphas)}


def tag_frequency(values: Sequence[str]) -> str | None:
    """How often each tag occurs in each data set: those of all inputs, as JSON; None if there is nothing to unite.

    Data sets of one name are the same one where their tags are; else the tags are counted together.
    """
    united: dict[str, Any] = {}
    for value in values:
        for dataset, tags in parsed(value).items():
            before = united.setdefault(dataset, tags)
            if before != tags and isinstance(before, dict) and isinstance(tags, dict):
                united[dataset] = dict(Counter(before) + Counter(tags))
    return json.dumps(united, ensure_ascii=False) if united else None


def holds_tags(merged: str | None, value: str) -> bool:
    """Whether united tags have those of an input unchanged."""
    theirs = parsed(value)
    return bool(theirs) and theirs.items() <= parsed(merged).items()


def frequent_tags(metadata: Mapping[str, str], most: int) -> list[tuple[str, int]]:
    """The tags that occur most often in the training data, all data sets counted together."""
    counts: Counter[str] = Counter()
    for tags in parsed(metadata.get(TAGS)).values():
        for tag, count in tags.items() if isinstance(tags, dict) else ():
            counts[tag.strip()] += count if isinstance(count, int) else 0
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]


def parsed(value: str | None) -> dict[str, Any]:
    """A JSON object, empty where there is none."""
    try:
        content = json.loads(value or "null")
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _base(family: Family | None) -> dict[str, str]:
    if family is None or family.version is None:
        return {}
    return {"ss_base_model_version": family.version, "ss_v2": str(family.version.startswith("sd_v2"))}


def _arguments(metadata: Mapping[str, str], ranks: Sequence[int], alphas: Sequence[float]) -> dict[str, str]:
    """`ss_network_args` where it would contradict the result: rank and alpha of convolutions, and the algorithm."""
    arguments = parsed(metadata.get("ss_network_args"))
    stated = dict(arguments)
    if {"conv_dim", "conv_alpha"} & arguments.keys():
        stated |= {"conv_dim": _one(ranks), "conv_alpha": _one(alphas)}
    if str(arguments.get("algo", "lora")).lower() not in _PLAIN:
        stated["algo"] = "lora"
    if stated != arguments:
        return {"ss_network_args": json.dumps(stated)}
    return {} if "ss_network_args" in metadata else {"ss_network_args": "{}"}


def _one(values: Sequence[float]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else MIXED
