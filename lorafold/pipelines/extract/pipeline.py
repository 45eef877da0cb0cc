"""The extraction: two models -> layer by layer their difference -> its leading singular vectors -> an adapter.

Two layers are in memory at a time, so that one is read while the other is decomposed; what stays are the factors.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from lorafold.adapters import Adapter, save
from lorafold.adapters.checkpoints.checkpoint import open_checkpoint
from lorafold.adapters.checkpoints.layout import is_head, layout_of
from lorafold.adapters.files.model_files import ModelFiles
from lorafold.adapters.selection import REASON
from lorafold.common.errors import LorafoldError
from lorafold.common.parallel import map_ahead
from lorafold.common.progress import Progress, Stage, listening
from lorafold.common.settings import apply_changes
from lorafold.common.stopwatch import Stopwatch
from lorafold.common.text import number, span
from lorafold.pipelines._tables import data_frame
from lorafold.pipelines.extract.assemble import adapter_of, format_for, style_for
from lorafold.pipelines.extract.budget import within_budget
from lorafold.pipelines.extract.findings import EMBEDDINGS, ROUNDING, UNNAMED, Findings, finding_of
from lorafold.pipelines.extract.layer import Extracted, Models
from lorafold.pipelines.extract.metrics import extract_metrics
from lorafold.pipelines.extract.pairs import Pairs, pair_up
from lorafold.pipelines.extract.plan import check_models, make_extract_plan
from lorafold.pipelines.extract.settings import ExtractOptions, ExtractSettings

_log = logging.getLogger(__name__)

OTHER, ALONE = "other", "alone"
_TOLD = {
    UNNAMED: "layers changed for which adapters of this format have no place, and are not in it",
    OTHER: "tensors changed that belong to no layer, and are not in the adapter",
    ALONE: "layers are in one of the two models only, and were not compared",
}


@dataclass(frozen=True)
class ExtractResult:
    """The adapter that makes the one model of the other, as far as its rank allows, and what is left of each layer."""

    adapter: Adapter
    base: ModelFiles
    tuned: ModelFiles
    settings: ExtractSettings
    layers: tuple[Extracted, ...]
    compared: int
    left_out: Mapping[str, tuple[str, ...]]
    seconds: dict[str, float]

    def metrics(self) -> dict[str, Any]:
        """Everything measured, as plain JSON: models, summary, modules."""
        whole = len(self.adapter.deltas) + len(self.adapter.extras)
        return extract_metrics(self.base, self.tuned, self.layers, self.compared, self.left_out, whole, self.seconds)

    def save(self, path: str | Path) -> Path:
        """Write the adapter, but not over one of the models: see `lorafold.save`."""
        return save(self.adapter, path, forbid=[self.base.path, self.tuned.path])

    def to_pandas(self) -> Any:
        """A data frame with a row per layer: what `metrics()` has in `modules`."""
        return data_frame(self.metrics()["modules"])

    def __repr__(self) -> str:
        """One line: layers, ranks, and the share of ‖ΔW‖² that is kept."""
        kept = number(self.metrics()["summary"]["retained"], 3)
        ranks = span(layer.module.rank for layer in self.layers)
        return f"ExtractResult({len(self.layers)} of {self.compared} layers, rank {ranks}, kept {kept})"


def extract(
    base: str | Path,
    tuned: str | Path,
    settings: ExtractSettings | None = None,
    *,
    progress: Progress | bool | None = None,
    **changes: Unpack[ExtractOptions],
) -> ExtractResult:
    """Extract the difference of two models as an adapter: of every layer its best approximation of a rank.

    The models may be laid out differently (a single file and a pipeline's folder). Layers that are equal are left out,
    and so are those, and directions, that do not stand out from what the rounding of the files adds.

    Args:
        base: a safetensors file or a folder, of transformers or diffusers; in shards too.
        tuned: the model that was trained from it, likewise.
        settings: all settings at once; None: the defaults.
        progress: called with stage, layers through it, layers in all; True: a progress bar.
        changes: single settings by name, e.g. rank=64, energy=0.95. `help(lorafold.ExtractSettings)` lists them.

    Raises:
        LorafoldError: a mistake in the settings or the files, models that do not belong together, or no difference.
    """
    plan = make_extract_plan(apply_changes(ExtractSettings, settings, changes))
    check_models(base, tuned)
    clock = Stopwatch()
    with clock("read"):
        layouts = [layout_of(open_checkpoint(path)) for path in (base, tuned)]
        models = Models(layouts[0], layouts[1], plan.device)
        form = format_for(models.base, plan.settings)
        pairs = pair_up(models.base, models.tuned, style_for(form, models.base))
        pairs, unselected = pairs.selected(plan.selection, models.base.checkpoint.path)
        models.base.checkpoint.check_plain(rows.tensor for pair in pairs.layers for rows in pair.base.rows)
        models.tuned.checkpoint.check_plain(rows.tensor for pair in pairs.layers for rows in pair.tuned.rows)
    with clock("extract"), listening(progress) as tell:
        found = Findings()
        tell(Stage.EXTRACT, 0, len(pairs.layers))
        work = map_ahead(partial(finding_of, models=models, plan=plan), pairs.layers, plan.device)
        for count, (pair, finding) in enumerate(zip(pairs.layers, work, strict=True), 1):
            found.take(pair, finding)
            tell(Stage.EXTRACT, count, len(pairs.layers))
    _check_any(found, models)
    layers = within_budget(found.layers, plan.settings.budget)
    adapter = adapter_of(layers, found.whole, pairs, models, form)
    left_out = _left_out(found, pairs, models) | ({REASON: unselected} if unselected else {})
    _warn_of_tied_embeddings(adapter, models)
    files = models.base.checkpoint.files, models.tuned.checkpoint.files
    return ExtractResult(
        adapter, *files, plan.settings, tuple(layers), len(pairs.layers), left_out, dict(clock.seconds)
    )


def _check_any(found: Findings, models: Models) -> None:
    """Raise LorafoldError, saying why, if there is nothing to write."""
    if found.layers:
        return
    path, base = models.tuned.checkpoint.path, models.base.checkpoint.path
    rounding, others = found.left_out.get(ROUNDING, []), {k: v for k, v in found.left_out.items() if k != ROUNDING}
    if found.whole or others:
        names = [change.pair.label for change in found.whole] + [name for labels in others.values() for name in labels]
        ways = [f"{key}=true" for key in (EMBEDDINGS,) if others.get(key)]
        raise LorafoldError(
            f"no layer with a matrix changed; {len(names)} other tensors did",
            path=path,
            key=names[0],
            remedy=f"Write {' '.join(ways)}." if ways else "A LoRA has no place for them alone.",
        )
    if rounding:
        raise LorafoldError(
            f"differs from {base} in {len(rounding)} layers, but in none by more than the rounding of the files",
            path=path,
            remedy="It is the same model in another precision: name another one.",
        )
    raise LorafoldError(f"the same as {base}: no layer differs", path=path, remedy="Name another model.")


def _left_out(found: Findings, pairs: Pairs, models: Models) -> dict[str, tuple[str, ...]]:
    """By reason, what changed and is not in the adapter; and the layers that only one model has.

    Of those the user is told, since no setting takes them.
    """
    others = tuple(name for name in models.base.others if not models.same_tensor(name))
    result = {**found.left_out, OTHER: others, ALONE: pairs.alone}
    for reason, words in _TOLD.items():
        if names := result.get(reason):
            _log.warning("%s: %d %s, such as %s", models.tuned.checkpoint.path, len(names), words, names[0])
    return {reason: tuple(names) for reason, names in result.items() if names}


def _warn_of_tied_embeddings(adapter: Adapter, models: Models) -> None:
    """Where the last layer is the embedding, an adapter of the embedding changes the one and not the other."""
    embedded = [name for name, module in adapter.modules.items() if module.kind == "embedding"]
    if embedded and models.base.naming is None and not any(map(is_head, models.base.layers)):
        _log.warning(
            "%s: the model may use this embedding as its last layer too, which PEFT leaves as it is unless the adapter "
            "is fused",
            embedded[0],
        )
