"""What the scripts of the page know about a sweep, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lorafold.commands.report.page.parts import columns
from lorafold.commands.report.page.sections import Section, evaluation_names, input_names
from lorafold.commands.report.sweep import Sweep, SweepRun, words
from lorafold.commands.report.sweep.differing import order
from lorafold.commands.report.sweep.finished_run import SIDES
from lorafold.common.text import mean
from lorafold.pages.packing import plain

Json = dict[str, Any]


def payload(sweep: Sweep, sections: Sequence[Section], chosen: int | None) -> Json:
    """One mapping for the whole page."""
    fronts = {section.name: section.best for section in sections}
    return plain(
        {
            "chosen": chosen,
            "inputs": input_names(sweep),
            "evaluated": evaluation_names(sweep),
            "differing": sweep.differing,
            "shared": _shared(sweep),
            "runs": [
                {
                    "name": sweep.names[number],
                    "fronts": [name for name, best in fronts.items() if number in best],
                    **_run(sweep, run),
                }
                for number, run in enumerate(sweep.runs)
            ],
        }
    )


def _run(sweep: Sweep, run: SweepRun) -> Json:
    numbers = run.numbers
    phi = [mean(side[i] for side in map(numbers.phi_of, SIDES) if i < len(side)) for i in range(len(run.inputs))]
    heads = columns(len(run.inputs))
    return {
        "folder": str(run.folder),
        "command": run.command,
        "version": run.version,
        "repeat": run.repeat,
        "settings": [_setting(key, run) for key in sweep.differing],
        "parameters": run.parameters,
        "kept": numbers.kept,
        "worst": numbers.worst_kept,
        "phi": phi,
        "error": numbers.error,
        "evaluation": [_in_full(run.evaluation.get(name)) for name in evaluation_names(sweep)],
        "converged": run.converged,
        "modules": run.modules,
        "seconds": run.seconds,
        "columns": [column[:2] for column in heads],
        "parts": [
            {"label": block.label, "modules": block.modules, "values": [column.of(block.numbers) for column in heads]}
            for block in run.blocks
        ],
    }


def _in_full(value: float | None) -> float | None:
    """Whole numbers keep all their digits: an evaluator may count."""
    return int(value) if value is not None and float(value).is_integer() else value


def _setting(key: str, run: SweepRun) -> Json:
    """How it reads, and by what it sorts."""
    if key not in run.settings:
        return {"text": None, "order": None}
    text, by = words(key, run.settings[key]), order(run.settings[key])
    return {"text": text, "order": text if key == "adapters" else by}


def _shared(sweep: Sweep) -> list[tuple[str, str]]:
    """The settings that all runs have in common."""
    keys = dict.fromkeys(key for run in sweep.runs for key in run.settings if key not in sweep.differing)
    common = {key: {words(key, run.settings[key]) for run in sweep.runs if key in run.settings} for key in keys}
    return [(key, next(iter(texts))) for key, texts in common.items() if len(texts) == 1]
