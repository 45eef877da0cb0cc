"""One run of `lorafold calibrate`: the record, and a file of statistics for each adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lorafold.adapters.files.locate import STATISTICS
from lorafold.adapters.save import check_not_input
from lorafold.commands.calibrate.config import CalibrateConfig
from lorafold.commands.calibrate.table import one_line, show
from lorafold.common.errors import LorafoldError
from lorafold.common.progress import progress_bar
from lorafold.common.text import short_names
from lorafold.pipelines.calibrate.pipeline import CalibrateResult, check_calibrate
from lorafold.pipelines.calibrate.pipeline import calibrate as calibrate_adapters
from lorafold.pipelines.calibrate.settings import CalibrateSettings
from lorafold.runs.inputs import one_or_more
from lorafold.runs.record_run import Outcome, Recorded, record_run
from lorafold.runs.run import Run


def calibrate(run: Run, config: CalibrateConfig) -> dict[str, Any]:
    """See `record_run`; files of inputs are found from where the user stands."""
    inputs = [config.inputs] if isinstance(config.inputs, str) else config.inputs
    if isinstance(inputs, list) and all(isinstance(item, str) for item in inputs):
        config = replace(config, inputs=[str(run.base / Path(item).expanduser()) for item in inputs])
    return record_run(run, config, _recorded(config))


def _recorded(config: CalibrateConfig) -> Recorded:
    """What a calibration with these settings is."""
    return Recorded(
        "calibrate",
        work=partial(_work, config),
        check=check_calibrate,
        one_line=one_line,
        show=show,
        paths=one_or_more,
        write=_write,
    )


def _work(config: CalibrateConfig, run: Run, paths: Sequence[Path], settings: CalibrateSettings) -> CalibrateResult:
    _check_targets(config, _targets(config, run, paths), settings.inputs)
    with progress_bar(run.alone) as progress:
        return calibrate_adapters(paths, settings, progress=progress)


def _write(outcome: Outcome) -> dict[str, Any]:
    targets = _targets(outcome.config, outcome.run, outcome.inputs)
    for folder in {target.parent for target in targets}:
        folder.mkdir(parents=True, exist_ok=True)
    written = outcome.result.save(targets)
    return {"outputs": [{"path": str(path), "bytes": path.stat().st_size} for path in written]}


def _targets(config: CalibrateConfig, run: Run, paths: Sequence[Path]) -> list[Path]:
    if config.beside:
        return [path.parent / f"{path.name.removesuffix('.safetensors')}{STATISTICS}" for path in paths]
    folder = run.folder if config.output is None else run.base / Path(config.output).expanduser()
    return [folder / f"{name.replace('/', '-')}{STATISTICS}" for name in short_names([str(path) for path in paths])]


def _check_targets(config: CalibrateConfig, targets: Sequence[Path], inputs: Sequence[str | Path]) -> None:
    """Before anything is computed: nothing is written twice, or over something unasked."""
    if config.beside and config.output is not None:
        raise LorafoldError("beside=true and output=, which are two places", remedy="Leave out one of them.")
    for number, target in enumerate(targets):
        check_not_input(target, inputs)
        if target in targets[:number]:
            raise LorafoldError("the statistics of two adapters", path=target, remedy="Name each adapter once.")
        if config.beside and target.exists() and not config.overwrite:
            raise LorafoldError("exists already", path=target, remedy="Write overwrite=true, or leave out beside=true.")
