"""One run of a command from its settings to its record: what `merge`, `compare`, `align`, `resize`, `convert` share.

Free of Hydra.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from lorafold.adapters import Adapter, save
from lorafold.adapters.formats.fingerprint import file_sha256, fingerprint
from lorafold.adapters.metadata.header import signed
from lorafold.common.parallel import cpu_threads
from lorafold.common.registry import located
from lorafold.common.stopwatch import Stopwatch
from lorafold.runs.evaluator import Evaluator, evaluate, evaluator_of
from lorafold.runs.folders import METRICS, clear, finished, sweep_up
from lorafold.runs.inputs import adapter_paths, hashed, statistics_paths, with_fingerprints
from lorafold.runs.output import check_output, output_path
from lorafold.runs.record import opening, write_json, write_resolved
from lorafold.runs.run import Run
from lorafold.runs.tracking import find_tracker

log = logging.getLogger(__name__)

Metrics = dict[str, Any]  # the content of metrics.json
Guarded = Callable[[Sequence[Path], Callable[[], Any], Sequence[Path]], tuple[Any, Sequence[str | None]]]
# How a run is run; the others say what comes out.
_NOT_RECORDED = ("path", "score", "resume", "overwrite")


@dataclass(frozen=True)
class Outcome:
    """What a command has made of its inputs, while the record is being written.

    Args:
        run: where it goes.
        config: the settings of the command.
        inputs: paths of the adapters, and `hashes` their SHA-256, where they were taken.
        result: what the library returned; its `metrics()` are in the record.
        metrics: the record so far.
    """

    run: Run
    config: Any
    inputs: Sequence[Path]
    hashes: Sequence[str | None]
    result: Any
    metrics: Metrics

    @property
    def read(self) -> list[Path]:
        """All files that were read: none of them may be written."""
        return _read(self.config, self.inputs)


@dataclass(frozen=True)
class Recorded:
    """What is particular to a command; `settings` are those of the library, `config.settings()`.

    Args:
        name: of the command.
        work: (run, paths, settings): what the library returns.
        check: (settings, number of adapters): raises most mistakes, before a file is read; where what it returns has a
            `device`, the command computes there, else on the CPU.
        one_line: the record in a line, for a log and in a sweep.
        show: print the record as a table.
        paths: (adapters, where the user stands): the files of the inputs.
        resolved: (settings, number of adapters): the settings as they count.
        write: save what was made; returns its entries in the record, which hold where the result has others.
        extras: write what else there is, once the adapter is there; returns its entries in the record.
        warning: what must be said of the record; empty if nothing.
        given: the setting that names the inputs.
        guarded: (paths, work, other files): does the work, and beside it takes their hashes; None where there is none.
    """

    name: str
    work: Callable[[Run, Sequence[Path], Any], Any]
    check: Callable[[Any, int], object]
    one_line: Callable[[Metrics], str]
    show: Callable[[Metrics], None]
    paths: Callable[[Any, Path], list[Path]] = adapter_paths
    resolved: Callable[[Any, int], Mapping[str, Any]] = lambda settings, _: _located(settings)
    write: Callable[[Outcome], Metrics] | None = None
    extras: Callable[[Outcome], Metrics] | None = None
    warning: Callable[[Metrics], str] = lambda _: ""
    given: str = "adapters"
    guarded: Guarded = with_fingerprints


def record_run(run: Run, config: Any, command: Recorded) -> Metrics:
    """Do what the command does; write its adapters, `resolved.yaml`, extras and `metrics.json` in this order; tell it.

    Returns:
        The content of `metrics.json`.

    Raises:
        LorafoldError: a mistake in the settings or the files; nothing is written then.
    """
    start = perf_counter()
    paths, config = command.paths(getattr(config, command.given), run.base), run.located(config)
    with cpu_threads(config.threads):
        settings = config.settings()
        device = getattr(command.check(settings, len(paths)), "device", torch.device("cpu"))
        metrics = opening(
            command.name, run, _config(command, config, paths, command.resolved(settings, len(paths))), device
        )
        if _asked(config, "resume") and (earlier := _finished(run, metrics["config"], config, paths)):
            return earlier
        check_output(run.base, _asked(config, "output"), bool(_asked(config, "overwrite")), _read(config, paths))
        judge = evaluator_of(config, paths, run.base)
        track = find_tracker(config.tracker) if _asked(config, "tracker") else None
        clear(run.folder)
        files = statistics_paths(config)
        result, hashes = command.guarded(paths, lambda: command.work(run, paths, settings), files)
        if files:
            metrics["calibration"] = hashed([{"path": str(file)} for file in files], hashes[len(paths) :])
            hashes = hashes[: len(paths)]
        _complete(Outcome(run, config, paths, hashes, result, metrics), command, judge, start)
    write_json(run.folder / METRICS, metrics)
    if track:
        track(" ".join(run.overrides) or run.folder.name, metrics)
    _tell(run, metrics, command)
    return metrics


def _complete(outcome: Outcome, command: Recorded, judge: Evaluator | None, start: float) -> None:
    """Write what there is to write, and complete the record."""
    metrics, folder, watch = outcome.metrics, outcome.run.folder, Stopwatch()
    metrics |= outcome.result.metrics()
    if command.write:
        with watch("write"):
            metrics |= command.write(outcome)
    metrics["inputs"] = hashed(metrics["inputs"], outcome.hashes)
    seconds = metrics["summary"]["seconds"]
    seconds["total"] = perf_counter() - start  # for a page
    write_resolved(folder / "resolved.yaml", command.name, metrics["config"])
    if command.extras:
        with watch("page"):
            metrics |= command.extras(outcome)
    if judge:
        with watch("evaluate"):
            metrics["evaluation"] = evaluate(judge, Path(metrics["output"]["path"]))
    del seconds["total"]
    seconds |= {**watch.seconds, "total": perf_counter() - start}


def write_output(stem: str) -> Callable[[Outcome], Metrics]:
    """What saves the one adapter that a command has made, where the user wants it or as `stem` in the run's folder."""

    def write(outcome: Outcome) -> Metrics:
        adapter, target = signed_output(outcome, stem)
        save(adapter, target, forbid=outcome.read)
        return {"output": {"path": str(target), "format": adapter.format}}

    return write


def signed_output(outcome: Outcome, stem: str) -> tuple[Adapter, Path]:
    """The adapter that a command has made, with how it did, and where it goes."""
    run, metrics = outcome.run, outcome.metrics
    shares = metrics["summary"].get("retained")
    kept = shares if isinstance(shares, list) else ()  # one for each input, as a merge has
    adapter = signed(outcome.result.adapter, metrics["command"], metrics["config"], outcome.hashes, kept=kept)
    return adapter, output_path(run.folder, run.base, outcome.config.output, stem, adapter.format)


def _located(settings: Any) -> dict[str, Any]:
    """Names of files of code as they are found from anywhere."""
    return {name: located(value) for name, value in asdict(settings).items()}


def _asked(config: Any, name: str) -> Any:
    """The value of a setting that not every command has."""
    return getattr(config, name, None)


def _config(command: Recorded, config: Any, paths: Sequence[Path], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting as it counts, paths and threads as they were in fact."""
    given = getattr(config, command.given)
    inputs = given if given == "demo" else [str(path) for path in paths] if command.given == "adapters" else str(*paths)
    names = [field.name for field in fields(config) if field.name not in (*settings, command.given, *_NOT_RECORDED)]
    values = {name: getattr(config, name) for name in names}
    return {command.given: inputs, **settings, **values, "threads": torch.get_num_threads()}


def _read(config: Any, paths: Sequence[Path]) -> list[Path]:
    return [*paths, *map(Path, filter(None, [config.base])), *statistics_paths(config)]


def _finished(run: Run, recorded: Mapping[str, Any], config: Any, paths: Sequence[Path]) -> Metrics | None:
    """The record of the same run, if it is in its folder already."""
    hashes = [*map(fingerprint, paths), *map(file_sha256, statistics_paths(config))]
    metrics = finished(run.folder, recorded, hashes)
    if metrics:
        run.tell_in_a_line("finished already")
        sweep_up(run.folder)
    return metrics


def _tell(run: Run, metrics: Metrics, command: Recorded) -> None:
    if len(metrics["inputs"]) > 1:
        run.announce(metrics["config"].get("adapters"))
    log.info("%s; wrote %s", command.one_line(metrics), metrics.get("output", {"path": run.folder})["path"])
    if warning := command.warning(metrics):
        log.info("%s", warning)
    if run.alone:
        command.show(metrics)
    else:
        run.tell_in_a_line(command.one_line(metrics))
