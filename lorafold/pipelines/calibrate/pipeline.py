"""The calibration: adapters, a base model and inputs of each -> the statistics of each, in one file per adapter."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from time import perf_counter
from typing import Any, Unpack

import torch

from lorafold.adapters import Adapter, load
from lorafold.calibration.file import save_statistics
from lorafold.calibration.statistics import Statistics
from lorafold.common.device import device_of
from lorafold.common.errors import LorafoldError
from lorafold.common.progress import ModelStage, Progress, listening
from lorafold.common.settings import apply_changes
from lorafold.common.stopwatch import Stopwatch
from lorafold.layers.line_up import check_list
from lorafold.models.attach import attached
from lorafold.models.inputs import Corpus, read_inputs
from lorafold.models.layers import layers_of
from lorafold.models.load import LoadedModel, check_model, load_model
from lorafold.models.quiet import quiet
from lorafold.models.run import Pass, at_rest, model_passes, pipeline_passes
from lorafold.pipelines._tables import data_frame
from lorafold.pipelines.calibrate.collect import gathered
from lorafold.pipelines.calibrate.metrics import calibrate_metrics
from lorafold.pipelines.calibrate.settings import CalibrateOptions, CalibrateSettings

_log = logging.getLogger(__name__)

# Fewer inputs of a task say little of it.
FEW = 32


@dataclass(frozen=True)
class Plan:
    """Settings that hold: the device is there, and the folder of the model."""

    device: torch.device
    base: Path


@dataclass(frozen=True)
class CalibrateResult:
    """The statistics of each adapter, and how long it took to collect them."""

    statistics: tuple[Statistics, ...]
    adapters: tuple[Adapter, ...]
    corpora: tuple[Corpus, ...]
    settings: CalibrateSettings
    runtimes: tuple[float, ...]
    seconds: dict[str, float]

    def metrics(self) -> dict[str, Any]:
        """Everything counted, as plain JSON: inputs, summary, and an entry per adapter."""
        return calibrate_metrics(self.adapters, self.corpora, self.statistics, self.runtimes, self.seconds)

    def save(self, paths: Sequence[str | Path]) -> list[Path]:
        """Write each adapter's statistics; the path of each."""
        return [save_statistics(each, path) for each, path in zip(self.statistics, paths, strict=True)]

    def to_pandas(self) -> Any:
        """A data frame with a row per adapter: what `metrics()` has in `adapters`."""
        return data_frame(self.metrics()["adapters"])

    def __repr__(self) -> str:
        """One line: adapters, layers and inputs."""
        layers = ", ".join(str(len(each.layers)) for each in self.statistics)
        inputs = ", ".join(str(each.inputs) for each in self.statistics)
        return f"CalibrateResult({len(self.adapters)} adapters, {layers} layers, {inputs} inputs)"


def calibrate(
    adapters: Sequence[str | Path | Adapter],
    settings: CalibrateSettings | None = None,
    *,
    progress: Progress | bool | None = None,
    **changes: Unpack[CalibrateOptions],
) -> CalibrateResult:
    """Collect the statistics of adapters: what their layers read of the adapter's own inputs, with the adapter on.

    A merge with `calibration=` weighs every update with them. They depend on one adapter alone, hold no inputs, and can
    be shipped with it. For a model that is at hand, see `lorafold.collect`.

    Args:
        adapters: files, folders or adapters in memory, of one base model.
        settings: all settings at once; None: the defaults.
        progress: True: a bar, in a terminal or a notebook; a function: called as progress(stage, inputs run, in all).
        changes: single settings by name: base="model", inputs=["a.txt", "b.txt"]. `help(lorafold.CalibrateSettings)`
            lists them.

    Raises:
        LorafoldError: a mistake in the settings or in a file, an adapter of another model, or one corpus for two.
    """
    check_list(adapters)
    chosen = apply_changes(CalibrateSettings, settings, changes)
    plan = check_calibrate(chosen, len(adapters))
    with listening(progress) as tell:
        return _calibrate(adapters, chosen, plan, tell)


def check_calibrate(settings: CalibrateSettings, count: int) -> Plan:
    """Check the settings of a calibration of `count` adapters.

    Raises:
        LorafoldError: no model there, not an input file for each adapter, or a number out of range.
    """
    for name, least in (("directions", 0), ("max_tokens", 2), ("steps", 1), ("batch", 1)):
        value = getattr(settings, name)
        if not isinstance(value, int) or value < least:
            raise LorafoldError(f"{name}={value}, expected a whole number >= {least}", remedy=f"For example {name}=8.")
    if not isinstance(settings.inputs, list | tuple) or len(settings.inputs) != count:
        raise LorafoldError(
            f"inputs={settings.inputs}, expected {count} files, one for each adapter in their order",
            remedy="For example 'inputs=[a.txt,b.txt]', each with inputs of that adapter's own task.",
        )
    return Plan(device_of(settings.device), check_model(settings.base, settings.dtype))


def read_corpora(paths: Sequence[str | Path]) -> tuple[Corpus, ...]:
    """The inputs of each adapter; a warning where there are few.

    Raises:
        LorafoldError: a file that holds none, or two that hold the same.
    """
    corpora = tuple(map(read_inputs, paths))
    for one, other in combinations(corpora, 2):
        if one.hash == other.hash:
            raise LorafoldError(
                f"the same inputs as {one.path}",
                path=other.path,
                remedy="Give each adapter inputs of its own task: what all share cannot tell them apart.",
            )
    for corpus in corpora:
        if corpus.count < FEW:
            _log.warning(
                "%s: %d inputs, which say little of a task: %d do for most, 128 for all.",
                corpus.path,
                corpus.count,
                FEW,
            )
    return corpora


def passes_of(
    loaded: LoadedModel, corpus: Corpus, needed: Sequence[torch.nn.Module], settings: CalibrateSettings
) -> Iterator[Pass]:
    """The passes of the model over the inputs.

    Raises:
        LorafoldError: inputs that this model does not take.
    """
    if loaded.is_pipeline:
        prompts = corpus.prompts(settings.batch)
        return pipeline_passes(loaded.model, prompts, settings.steps, settings.seed, settings.size)
    return model_passes(loaded.model, loaded.batches(corpus, settings.batch, settings.max_tokens), needed)


def _calibrate(
    adapters: Sequence[str | Path | Adapter], settings: CalibrateSettings, plan: Plan, tell: Progress
) -> CalibrateResult:
    clock = Stopwatch()
    with clock("read"):
        corpora = read_corpora(settings.inputs)
        read = [_loaded(adapter, plan.base, settings.input_rank) for adapter in adapters]
    with clock("model"):
        model = load_model(plan.base, plan.device, settings.dtype)
        for adapter in read:
            layers_of(model.model, adapter)  # none has run in vain when the last one does not fit
    runtimes: list[float] = []
    statistics: list[Statistics] = []
    with clock("collect"):
        total = sum(corpus.count for corpus in corpora)
        for adapter, corpus in zip(read, corpora, strict=True):
            start, before = perf_counter(), sum(each.inputs for each in statistics)
            listen = _listener(tell, before, total)
            statistics.append(_statistics(model, adapter, corpus, settings, plan.base, listen))
            runtimes.append(perf_counter() - start)
    return CalibrateResult(tuple(statistics), tuple(read), corpora, settings, tuple(runtimes), dict(clock.seconds))


def _loaded(adapter: str | Path | Adapter, base: Path, rank: int) -> Adapter:
    return adapter if isinstance(adapter, Adapter) else load(adapter, base=base, rank=rank)


def _statistics(
    loaded: LoadedModel,
    adapter: Adapter,
    corpus: Corpus,
    settings: CalibrateSettings,
    base: Path,
    listen: Callable[[Iterator[Pass]], Iterator[Pass]],
) -> Statistics:
    with attached(loaded.model, adapter) as layers, at_rest(loaded.model), quiet():
        needed = [part.layer for parts in layers.values() for part in parts]
        passes = listen(passes_of(loaded, corpus, needed, settings))
        found = gathered(layers, adapter, passes, settings.directions, corpus, base.name)
    if missing := [name for name in adapter.modules if name not in found.layers]:
        _log.warning(
            "%s: %s: not run by the model on these inputs, so that nothing is known of it (%d of %d modules).",
            adapter.path,
            missing[0],
            len(missing),
            len(adapter.modules),
        )
    return found


def _listener(tell: Progress, before: int, total: int) -> Callable[[Iterator[Pass]], Iterator[Pass]]:
    """Tells of the passes that have been made."""

    def listen(passes: Iterator[Pass]) -> Iterator[Pass]:
        count = before
        tell(ModelStage.CALIBRATE, count, total)
        for each in passes:
            yield each
            count += each.inputs
            tell(ModelStage.CALIBRATE, count, total)

    return listen
