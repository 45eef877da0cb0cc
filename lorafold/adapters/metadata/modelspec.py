"""Stability AI's model metadata (https://github.com/Stability-AI/ModelSpec), version 1.0.1, of a merged adapter."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.metadata.base_model import Family

PREFIX = "modelspec."
# Versions whose name ends in _v if they were trained to predict that.
_SD = re.compile(r"sd_v[12](_v)?")
# Of every input: one alone does not describe the result.
_UNITED = ("trigger_phrase", "tags")


def with_modelspec(metadata: Mapping[str, str], inputs: Sequence[Adapter], family: Family | None) -> dict[str, str]:
    """The metadata with the entries `modelspec.*` that a file must have; as it is if the base model is unknown.

    What the inputs say holds. A merge gets a title of its own, says what it was merged from, in sd-scripts' words, and
    unites trigger words and tags. Its date is that of the latest input, so that the same merge is the same file, unless
    the environment sets one (SOURCE_DATE_EPOCH, https://reproducible-builds.org/specs/source-date-epoch/).
    """
    if family is None and not any(key.startswith(PREFIX) for key in metadata):
        return dict(metadata)
    merged = _merge(metadata, inputs) if len(inputs) > 1 else metadata
    must = {
        "title": title(inputs),
        "resolution": _resolution(metadata, family),
        "prediction_type": _prediction(inputs),
    }
    if family:
        must |= {"architecture": f"{family.architecture}/lora", "implementation": family.implementation}
    fields = {f"{PREFIX}{key}": value for key, value in must.items() if value}
    return {**fields, **merged, f"{PREFIX}sai_model_spec": "1.0.1"}


def title(inputs: Sequence[Adapter]) -> str:
    """`anime + oil painting`."""
    return " + ".join(_names(inputs)) or "LoRA"


def _merge(metadata: Mapping[str, str], inputs: Sequence[Adapter]) -> dict[str, str]:
    fields = {"title": title(inputs), "merged_from": ", ".join(_names(inputs)), "date": _date() or _latest(inputs)}
    fields |= {key: _united(adapter.metadata.get(PREFIX + key) for adapter in inputs) for key in _UNITED}
    entries = {PREFIX + key: value for key, value in fields.items()}
    return {key: value for key, value in {**metadata, **entries}.items() if value or key not in entries}


def _names(inputs: Iterable[Adapter]) -> list[str]:
    """What each is called: its title, the name its trainer gave it, or that of its file."""
    titles = (
        adapter.metadata.get(f"{PREFIX}title")
        or adapter.metadata.get("ss_output_name")
        or (adapter.path.stem if adapter.path else None)
        for adapter in inputs
    )
    return list(dict.fromkeys(name for name in titles if name))


def _united(values: Iterable[str | None]) -> str:
    parts = (part.strip() for value in values if value for part in value.split(","))
    return ", ".join(dict.fromkeys(part for part in parts if part))


def _resolution(metadata: Mapping[str, str], family: Family | None) -> str | None:
    """As trained, else what the base model was made for."""
    sizes = metadata.get("ss_resolution", "").strip("()").replace(" ", "").split(",")
    if len(sizes) == 2 and all(size.isdigit() for size in sizes):
        return "x".join(sizes)
    return family.resolution if family else None


def _prediction(inputs: Iterable[Adapter]) -> str | None:
    """What the base model predicts, where sd-scripts' name of its version says so and no input says otherwise."""
    versions = {adapter.metadata.get("ss_base_model_version", "") for adapter in inputs}
    said = {"v" if version.endswith("_v") else "epsilon" for version in versions if _SD.fullmatch(version)}
    return said.pop() if len(said) == 1 else None


def _latest(inputs: Sequence[Adapter]) -> str:
    """ISO dates sort as text."""
    return max((adapter.metadata.get(f"{PREFIX}date", "") for adapter in inputs), default="")


def _date() -> str:
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    return datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%dT%H:%M:%S") if epoch.isdigit() else ""
