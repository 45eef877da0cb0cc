"""One run of `lorafold distill`: the model and the inputs, the record, and the merged adapter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lorafold.commands.distill.config import DistillConfig
from lorafold.commands.distill.table import one_line, show, what_got_worse
from lorafold.common.device import device_of
from lorafold.common.errors import LorafoldError
from lorafold.common.progress import progress_bar
from lorafold.models.inputs import Corpus, read_inputs
from lorafold.models.load import LoadedModel, check_model, load_model
from lorafold.pipelines.distill.pipeline import DistillResult
from lorafold.pipelines.distill.pipeline import distill as distill_adapters
from lorafold.pipelines.distill.plan import make_distill_plan
from lorafold.pipelines.distill.settings import DistillSettings
from lorafold.pipelines.distill.state import Saved
from lorafold.runs.output import check_output
from lorafold.runs.record_run import Recorded, record_run, write_output
from lorafold.runs.run import Run

STATE = "distill.state"


def distill(run: Run, config: DistillConfig) -> dict[str, Any]:
    """See `record_run`; files of inputs and statistics are found from where the user stands."""
    names = {name: _from(run.base, getattr(config, name)) for name in ("inputs", "calibration")}
    located = run.located(replace(config, **names))
    return record_run(run, located, _recorded(located))


def _from(base: Path, names: Any) -> Any:
    listed = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return [str(base / Path(name).expanduser()) for name in names] if listed else names


def _recorded(config: DistillConfig) -> Recorded:
    """What a distillation with these settings is."""
    return Recorded(
        "distill",
        work=partial(_work, config),
        check=partial(_checked, config),
        one_line=one_line,
        show=show,
        write=write_output("distilled"),
        warning=what_got_worse,
    )


@dataclass(frozen=True)
class _Checked:
    device: torch.device


def _checked(config: DistillConfig, settings: DistillSettings, count: int) -> _Checked:
    """Where the model is to run, once the settings are found sound."""
    make_distill_plan(settings, count)
    check_model(config.base, settings.dtype)
    inputs = config.inputs
    if not isinstance(inputs, list) or len(inputs) != count:
        raise LorafoldError(
            f"inputs={inputs!r}, expected a list with a file for each of {count} adapters",
            remedy="Write 'inputs=[a.txt,b.txt]', with the quotes.",
        )
    return _Checked(device_of(config.device))


def _work(config: DistillConfig, run: Run, paths: Sequence[Path], settings: DistillSettings) -> DistillResult:
    check_output(run.base, config.output, config.overwrite, config.inputs)
    corpora = [read_inputs(path) for path in config.inputs]
    base = config.base or ""
    loaded = load_model(base, device_of(config.device))
    inputs = [_inputs(corpus, loaded, settings) for corpus in corpora]
    saved = Saved(run.folder / STATE, settings.save_every, config.resume)
    with progress_bar(run.alone) as progress:
        return distill_adapters(
            paths, settings, model=loaded.model, inputs=inputs, base=base, saved=saved, progress=progress
        )


def _inputs(corpus: Corpus, loaded: LoadedModel, settings: DistillSettings) -> Iterator[Any]:
    """Token ids or prompts, one by one."""
    if loaded.is_pipeline:
        return (prompt for prompts in corpus.prompts(1) for prompt in prompts)
    return corpus.batches(loaded.tokenizer, 1, max_tokens=settings.max_tokens)
