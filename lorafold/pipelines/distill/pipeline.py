"""The distillation: adapters -> start -> what the model makes of each one's inputs -> steps -> adapter.

N = adapters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from lorafold.adapters import Adapter, save
from lorafold.common.progress import ModelStage, Progress, listening
from lorafold.common.settings import apply_changes
from lorafold.common.stopwatch import Stopwatch
from lorafold.common.text import span
from lorafold.layers.line_up import check_list, load_all
from lorafold.models.attach import attached, attached_factors
from lorafold.models.layers import Part, layers_of
from lorafold.models.run import reads_from_left
from lorafold.pipelines._metrics import read_from
from lorafold.pipelines._tables import data_frame
from lorafold.pipelines.distill.checks import check_count, check_effect, check_inputs
from lorafold.pipelines.distill.features import Probe, collected, targets_of
from lorafold.pipelines.distill.hidden_states import HiddenStates, unpadded
from lorafold.pipelines.distill.inference import still
from lorafold.pipelines.distill.loss import Task
from lorafold.pipelines.distill.metrics import Agreement, distill_metrics
from lorafold.pipelines.distill.plan import DistillPlan, make_distill_plan, merge_settings
from lorafold.pipelines.distill.predictions import predictions
from lorafold.pipelines.distill.schedule import held_back
from lorafold.pipelines.distill.settings import DistillOptions, DistillSettings
from lorafold.pipelines.distill.state import Saved, state_key
from lorafold.pipelines.distill.student import Factors, student_of
from lorafold.pipelines.distill.subspaces import SubspaceDistance
from lorafold.pipelines.distill.train import Lesson, teach
from lorafold.pipelines.merge.pipeline import merge

# Of those in which a diffusion model meets its inputs: one at random for each.
DENOISING_STEPS = 20
# Of the loss on inputs held back: less is rounding.
_LEAST_GAIN = 1e-4


@dataclass(frozen=True)
class DistillResult:
    """The merged adapter, how it came to be, and how far it is from each adapter on the inputs held back."""

    adapter: Adapter
    start: Adapter
    inputs: tuple[Adapter, ...]  # as they were read
    settings: DistillSettings
    before: tuple[float, ...]  # E‖h - h_i‖² / E‖h_base - h_i‖² on the inputs held back, of the start
    after: tuple[float, ...]  # likewise, of what was learnt
    counts: tuple[tuple[int, int], ...]  # inputs learnt from and held back
    losses: tuple[float, ...]  # of every step, the mean over the adapters
    seconds: dict[str, float]

    @property
    def improved(self) -> bool:
        """Whether what was learnt is nearer to the adapters; otherwise `adapter` is the start."""
        return sum(self.after) < (1 - _LEAST_GAIN) * sum(self.before)

    def metrics(self) -> dict[str, Any]:
        """Everything measured, as plain JSON: inputs, summary, modules, losses."""
        agreement = Agreement(self.before, self.after, self.counts, self.improved)
        return distill_metrics(self.inputs, self.start, self.adapter, agreement, self.losses, self.seconds)

    def save(self, path: str | Path) -> Path:
        """Write the adapter, but over none of the inputs: see `lorafold.save`."""
        return save(self.adapter, path, forbid=read_from(self.inputs, None))

    def to_pandas(self) -> Any:
        """A data frame with a row per module: what `metrics()` has in `modules`."""
        return data_frame(self.metrics()["modules"])

    def __repr__(self) -> str:
        """One line: modules, rank, and the mean loss on the inputs held back, before and after."""
        ranks = span(module.rank for module in self.adapter.modules.values())
        before, after = (sum(values) / len(values) for values in (self.before, self.after))
        kept = "" if self.improved else ", start kept"
        modules = len(self.adapter.modules)
        return f"DistillResult({modules} modules, rank {ranks}, held-back loss {before:.3f} -> {after:.3f}{kept})"


def distill(
    adapters: Sequence[str | Path | Adapter],
    settings: DistillSettings | None = None,
    *,
    model: Any,
    inputs: Sequence[Iterable[Mapping[str, Tensor]] | Iterable[str] | Probe],
    base: str | Path | None = None,
    saved: Saved | None = None,
    progress: Progress | bool | None = None,
    **changes: Unpack[DistillOptions],
) -> DistillResult:
    """Merge LoRA adapters into one that does to a model, on each one's inputs, what each of them does.

    Minimises the mean over the adapters of E‖h - h_i‖² / E‖h_base - h_i‖² over their unlabelled inputs, h being the
    hidden states. A share of the inputs is held back: where the loss on it does not fall, the start is the result.

    Args:
        adapters: files, folders or adapters in memory, of one base model.
        settings: all settings at once; None: the defaults.
        model: that base model without adapters, a torch module or a pipeline of diffusers, on the device where it is
            to be computed. It stays as it is.
        inputs: of each adapter its own: batches of tensors by name (`input_ids`, `attention_mask`); prompts for a
            pipeline, whose U-Net or transformer is compared; or a `Probe`.
        base: the model's weights, a file or folder, which DoRA, PiSSA and OLoRA adapters need.
        saved: where the state is written now and then; None: nowhere.
        progress: True: a bar, in a terminal or a notebook; a function: called as progress(stage, steps made, in all).
        changes: single settings by name, e.g. rank=16, steps=200. `help(lorafold.DistillSettings)` lists them.

    Raises:
        LorafoldError: a mistake in the settings, in a file or in the inputs.
    """
    check_list(adapters)
    plan = make_distill_plan(apply_changes(DistillSettings, settings, changes), len(adapters))
    check_count(adapters, inputs)
    with listening(progress) as tell:
        return _distill(model, adapters, inputs, base, plan, saved, tell)


def _distill(
    model: Any,
    adapters: Sequence[str | Path | Adapter],
    inputs: Sequence[Any],
    base: str | Path | None,
    plan: DistillPlan,
    saved: Saved | None,
    tell: Progress,
) -> DistillResult:
    clock, chosen = Stopwatch(), plan.settings
    with clock("read"):
        read = load_all(adapters, base, chosen.input_rank, chosen.allow_different_bases)
    with clock("start"):
        start = merge(read, merge_settings(chosen)).adapter
        parts = layers_of(model, start)
    with still(model, chosen.checkpointing):
        with clock("targets"):
            probes = [_probe(model, *pair, plan) for pair in zip(read, inputs, strict=True)]
            check_inputs(probes)
            tasks = _tasks(model, read, probes, plan, tell)
        device = _device(parts)
        lesson = Lesson(student_of(start, chosen.manifold, device), plan.rates)
        with _shown(model, start, parts) as show, clock("learn"):
            before = _held_back(start, tasks, chosen.batch, device, show)
            _learn(lesson, tasks, read, plan, show, saved, tell)
            learnt = lesson.student.adapter()
            after = _held_back(learnt, tasks, chosen.batch, device, show)
    counts = tuple((len(task.seen), len(task.held_back)) for task in tasks)
    result = DistillResult(
        start, start, tuple(read), chosen, before, after, counts, tuple(lesson.losses), dict(clock.seconds)
    )
    return replace(result, adapter=learnt) if result.improved else result


def _probe(model: Any, adapter: Adapter, inputs: Any, plan: DistillPlan) -> Probe:
    """The inputs of an adapter, ready to run: token ids, or the prompts of a pipeline."""
    chosen = plan.settings
    if hasattr(inputs, "count") and callable(inputs):
        probe: Probe = inputs
        return probe
    if not isinstance(model, nn.Module):
        with attached(model, adapter):
            return predictions(model, inputs, steps=DENOISING_STEPS, seed=chosen.seed, dtype=plan.dtype)
    examples = [
        {name: values[: chosen.max_tokens] for name, values in example.items()}
        for batch in inputs
        for example in unpadded(batch)
    ]
    return HiddenStates(model, examples, chosen.layers, plan.dtype, reads_from_left(model))


def _tasks(
    model: Any, adapters: Sequence[Adapter], probes: Sequence[Probe], plan: DistillPlan, tell: Progress
) -> list[Task]:
    """What the model makes of every adapter's inputs, each computed once with the adapter and once without."""
    chosen, tasks = plan.settings, list[Task]()
    total, through = sum(probe.count for probe in probes), 0
    for adapter, probe in zip(adapters, probes, strict=True):
        tell(ModelStage.TARGETS, through, total)
        without = collected(probe, chosen.batch)
        with attached(model, adapter):
            targets = targets_of(collected(probe, chosen.batch), without)
        task = Task(probe, targets, *held_back(probe.count, chosen.held_back, chosen.seed))
        check_effect(task, str(adapter.path or f"adapter {len(tasks) + 1}"))
        tasks.append(task)
        through += probe.count
    return tasks


@contextmanager
def _shown(model: Any, start: Adapter, parts: Mapping[str, tuple[Part, ...]]) -> Iterator[Callable[[Factors], None]]:
    """The model computes with the factors that it was shown last; with the biases and other tensors of the start."""
    current: Factors = {}
    with ExitStack() as stack:
        if (rest := _rest(start)) is not None:
            stack.enter_context(attached(model, rest))
        stack.enter_context(attached_factors(parts, lambda name: current[name]))
        yield current.update


def _rest(start: Adapter) -> Adapter | None:
    """What is no factor: biases, additive tensors and whole weights; None if there is no such thing."""
    biased = {
        name: replace(module, up=module.up[:, :0], down=module.down[:0])
        for name, module in start.modules.items()
        if module.bias is not None or f"{name}.diff_b" in start.deltas
    }
    return replace(start, modules=biased) if biased or start.deltas or start.extras else None


def _held_back(
    adapter: Adapter, tasks: Sequence[Task], size: int, device: torch.device, show: Callable[[Factors], None]
) -> tuple[float, ...]:
    """The loss of an adapter as it is written, on the inputs held back."""
    modules = adapter.modules.items()
    show({name: (module.up.to(device) * module.scale, module.down.to(device)) for name, module in modules})
    return tuple(task.held_back_loss(size) for task in tasks)


def _learn(
    lesson: Lesson,
    tasks: Sequence[Task],
    adapters: Sequence[Adapter],
    plan: DistillPlan,
    show: Callable[[Factors], None],
    saved: Saved | None,
    tell: Progress,
) -> None:
    chosen = plan.settings
    key = state_key(chosen, lesson.student.start, adapters, [task.probe for task in tasks]) if saved else ""
    if saved and (state := saved.read(key)):
        lesson.restore(state)

    def after(taught: Lesson) -> None:
        tell(f"{ModelStage.STEPS}, loss {taught.losses[-1]:.3f}", taught.step, chosen.steps)
        if saved:
            saved.write(taught.step, taught.state(), key)

    tell(ModelStage.STEPS, lesson.step, chosen.steps)
    regulariser = None
    if chosen.subspace_weight:
        distance = SubspaceDistance(lesson.student.groups, adapters, chosen.distance)
        regulariser = partial(_weighted, chosen.subspace_weight, distance)
    teach(
        lesson,
        tasks,
        steps=chosen.steps,
        size=chosen.batch,
        seed=chosen.seed,
        show=show,
        regulariser=regulariser,
        after=after,
    )
    if saved:
        saved.remove()


def _weighted(weight: float, distance: SubspaceDistance) -> Tensor:
    return weight * distance()


def _device(parts: Mapping[str, tuple[Part, ...]]) -> torch.device:
    layers = (part.layer for own in parts.values() for part in own)
    return next(parameter.device for layer in layers for parameter in layer.parameters())
