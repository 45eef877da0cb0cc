"""One run of `lorafold align`: the record, and a file for each adapter that changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lorafold.adapters import FORMATS, Adapter, save
from lorafold.adapters.files.open_adapter import open_adapter
from lorafold.adapters.metadata.header import signed
from lorafold.commands.align.config import AlignConfig
from lorafold.commands.align.table import not_converged, one_line, show
from lorafold.pipelines.align.pipeline import align as align_adapters
from lorafold.pipelines.align.pipeline import check_align
from lorafold.runs.record_run import Outcome, Recorded, record_run
from lorafold.runs.run import Run


def _write(outcome: Outcome) -> dict[str, Any]:
    """`aligned_1`, ... as files or folders, whichever the format is.

    Of the first adapter the output is its own file, but where that does not hold its factors as they are matched.
    """
    adapters = outcome.result.adapters
    spare = _holds(outcome.inputs[0], adapters[0])
    paths = [path if spare and number == 0 else _save(outcome, number) for number, path in enumerate(outcome.inputs)]
    formats = [adapter.format for adapter in adapters]
    return {"outputs": [{"path": str(path), "format": form} for path, form in zip(paths, formats, strict=True)]}


def _holds(path: Path, adapter: Adapter) -> bool:
    """Whether the file holds these very tensors, so that there is nothing to write."""
    there = open_adapter(path).tensors
    tensors = FORMATS[adapter.format].tensors(adapter)
    return all(key in there and torch.equal(there[key], tensor) for key, tensor in tensors.items())


def _save(outcome: Outcome, number: int) -> Path:
    adapter, hashes = outcome.result.adapters[number], outcome.hashes
    reference = None if number == 0 else hashes[0]
    signed_adapter = signed(adapter, "align", outcome.metrics["config"], [hashes[number]], reference)
    name = FORMATS[adapter.format].named(f"aligned_{number + 1}")
    return save(signed_adapter, outcome.run.folder / name, forbid=outcome.read)


_ALIGN = Recorded(
    "align",
    work=lambda _, paths, settings: align_adapters(paths, settings),
    check=check_align,
    one_line=one_line,
    show=show,
    write=_write,
    warning=not_converged,
)


def align(run: Run, config: AlignConfig) -> dict[str, Any]:
    """See `record_run`."""
    return record_run(run, config, _ALIGN)
