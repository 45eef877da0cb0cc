"""Judges of merged adapters that need no labels: `evaluator=agreement` and `evaluator=kl`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from lorafold.adapters import Adapter, load
from lorafold.adapters.formats.fingerprint import fingerprint
from lorafold.common.device import device_of
from lorafold.common.errors import LorafoldError
from lorafold.models.agreement import COMPARISONS, Answers, answers
from lorafold.models.attach import attached
from lorafold.models.inputs import Corpus, read_inputs
from lorafold.models.load import check_model, load_model

_BATCH = 8


@dataclass(frozen=True)
class Agreement:
    """How a merged adapter's model answers to each adapter's inputs, beside how that adapter's does.

    Args:
        name: of one of COMPARISONS.
        model: the folder of the model; `device`: where it runs.
        adapters, inputs: their files.
    """

    name: str
    model: Path
    device: str
    adapters: tuple[Path, ...]
    inputs: tuple[Path, ...]

    def __call__(self, merged: str) -> dict[str, float]:
        """The mean over the adapters, the worst of them, and each."""
        values = _bench(*self._contents()).compared(load(merged), self.name)
        worst = min(values) if self.name == "agreement" else max(values)
        each = {f"{self.name}_{number}": value for number, value in enumerate(values, 1)}
        return {self.name: sum(values) / len(values), f"{self.name}_worst": worst, **each}

    def _contents(self) -> tuple[Any, ...]:
        """What is judged by, with what tells whether a file is still the same."""
        files = [(path, fingerprint(path)) for path in self.adapters]
        corpora = [(path, read_inputs(path).hash) for path in self.inputs]
        return self.model, self.device, tuple(files), tuple(corpora)


def agreement_evaluator(
    name: str, adapters: Sequence[Path], model: str | None, inputs: Any, device: str, base: Path
) -> Agreement:
    """The judge, once what it needs is found.

    Args:
        name: "agreement" or "kl".
        adapters: those that are merged.
        model, inputs, device: the settings `evaluator_model`, `evaluator_inputs` and `device`.
        base: where relative paths begin.

    Raises:
        LorafoldError: no model, or not one sound file of inputs for each adapter.
    """
    if model is None:
        raise LorafoldError(f"evaluator={name} without a model", remedy="Write evaluator_model=FOLDER.")
    if not isinstance(inputs, list) or len(inputs) != len(adapters):
        raise LorafoldError(
            f"evaluator_inputs={inputs!r}, expected a list with a file for each of {len(adapters)} adapters",
            remedy="Write 'evaluator_inputs=[a.txt,b.txt]', with the quotes.",
        )
    folder = check_model(base / Path(model).expanduser())
    device_of(device)
    files = tuple(base / Path(str(each)).expanduser() for each in inputs)
    for file in files:
        read_inputs(file)  # what is wrong with it is better said before the merge
    return Agreement(name, folder, device, tuple(adapters), files)


@dataclass(frozen=True)
class _Bench:
    """A model, and what it answers with every adapter to that one's inputs."""

    model: Any
    batches: tuple[tuple[dict[str, torch.Tensor], ...], ...]
    adapters: tuple[Adapter, ...]
    theirs: tuple[Answers, ...]

    def compared(self, merged: Adapter, name: str) -> list[float]:
        """With each adapter's own head, where it has one."""
        values = []
        for own, batches, theirs in zip(self.adapters, self.batches, self.theirs, strict=True):
            with attached(self.model, replace(merged, extras=own.extras)):
                values.append(COMPARISONS[name](answers(self.model, batches), theirs))
        return values


@lru_cache(maxsize=1)  # the runs of a sweep have it in common
def _bench(model: Path, device: str, adapters: tuple[Any, ...], inputs: tuple[Any, ...]) -> _Bench:
    loaded, where = load_model(model, device_of(device)), device_of(device)
    if loaded.is_pipeline:
        raise LorafoldError(
            "a pipeline, which decides nothing", path=model, remedy="Give a function of your own as evaluator."
        )
    corpora: list[Corpus] = [read_inputs(path) for path, _ in inputs]
    batches = tuple(tuple(corpus.batches(loaded.tokenizer, _BATCH, where)) for corpus in corpora)
    read, theirs = tuple(load(path, base=model) for path, _ in adapters), []
    for adapter, own in zip(read, batches, strict=True):
        with attached(loaded.model, adapter):
            theirs.append(answers(loaded.model, own))
    return _Bench(loaded.model, batches, read, tuple(theirs))
