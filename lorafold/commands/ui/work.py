"""What the page asks of the library: to look at adapters, to compare them, to merge them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import get_ident
from typing import Any

from lorafold._version import __version__
from lorafold.adapters import FORMATS
from lorafold.commands.merge.closing import in_words, where
from lorafold.commands.merge.page import try_merge_page
from lorafold.commands.merge.table import not_converged, undetermined
from lorafold.commands.ui.uploads import Upload
from lorafold.common.progress import Progress
from lorafold.common.text import short_names
from lorafold.pages.overlap.document import page
from lorafold.pipelines.compare.pipeline import compare
from lorafold.pipelines.compare.settings import CompareSettings
from lorafold.pipelines.inspect.pipeline import inspect
from lorafold.pipelines.merge.pipeline import MergeResult, merge
from lorafold.pipelines.merge.plan import resolved
from lorafold.pipelines.merge.recipes import recipe
from lorafold.pipelines.merge.settings import MergeSettings
from lorafold.pipelines.merge.table import LEGEND, merge_table

Metrics = dict[str, Any]
AUTO = "auto"


@dataclass(frozen=True)
class Form:
    """What is set on the page.

    Args:
        rank: of the merged adapter.
        method: a published method's name, or empty.
        scale: how the strength is chosen, or a number; "auto": as the method or the default has it.
        weights: one number each; None: likewise.
        device: where it is computed.
    """

    rank: int
    method: str
    scale: float | str
    weights: tuple[float, ...] | None
    device: str

    def settings(self, calibration: Sequence[Path]) -> MergeSettings:
        """What `lorafold.merge` takes."""
        changes: dict[str, Any] = {"rank": self.rank, "device": self.device}
        changes |= {"scale": self.scale} if self.scale != AUTO else {}
        changes |= {"weights": list(self.weights)} if self.weights else {}
        changes |= {"calibration": [str(path) for path in calibration]} if calibration else {}
        return recipe(self.method, **changes) if self.method else MergeSettings(**changes)


@dataclass(frozen=True)
class Answer:
    """What there is to see.

    Args:
        words: sentences.
        warnings: what may be wrong.
        page: the text of a page for the browser; empty where there is none.
        table: markup.
        file: to be downloaded.
    """

    words: Sequence[str]
    warnings: Sequence[str]
    page: str
    table: str = ""
    file: Path | None = None


def looked_at(upload: Upload) -> Metrics:
    """What is in an adapter, under its name on the page.

    Raises:
        LorafoldError: nothing that lorafold reads.
    """
    return {**inspect(upload.path).metrics(), "path": upload.name}


def compared(uploads: Sequence[Upload]) -> Answer:
    """How adapters overlap."""
    with _heard() as warnings:
        result = compare([upload.load() for upload in uploads])
    metrics = {**_opening("compare", asdict(CompareSettings())), **result.metrics()}
    names = short_names([upload.name for upload in uploads])
    words = [
        f"{' and '.join(names[number] for number in pair['pair'])}: {pair['verdict']}"
        for pair in metrics["summary"]["pairs"]
    ]
    return Answer(words, warnings, page(metrics, result.grids))


def merged(
    uploads: Sequence[Upload], calibration: Sequence[Upload], form: Form, folder: Path, progress: Progress
) -> Answer:
    """The merge of adapters, saved in a folder, with its page."""
    settings = form.settings([upload.path for upload in calibration])
    with _heard() as warnings:
        result = merge([upload.load() for upload in uploads], settings, progress=progress)
        file = result.save(folder / FORMATS[result.adapter.format].named("merged"))
        metrics = _recorded(result, settings, uploads, file.name)
        written = try_merge_page(folder / "overlap.html", metrics, result)
    words = [*in_words(metrics), *where(metrics)[:-1]]
    doubts = filter(None, (not_converged(metrics), undetermined(metrics)))
    table = merge_table(metrics).html("", LEGEND.strip().splitlines())
    text = Path(written).read_text(encoding="utf-8") if written else ""
    return Answer(words, [*warnings, *doubts], text, table, _one_file(file))


def _recorded(result: MergeResult, settings: MergeSettings, uploads: Sequence[Upload], name: str) -> Metrics:
    """As `metrics.json` has it, without what tells of this machine."""
    values = asdict(settings.with_strength(len(uploads)))
    choices = {key: resolved(key, values[key]) for key in ("objective", "manifold", "solver", "core")}
    config = {**values, **choices, "adapters": [upload.name for upload in uploads]}
    config["calibration"] = None if settings.calibration is None else "as dropped"
    output = {"path": name, "format": result.adapter.format}
    return {**_opening("merge", config), **result.metrics(), "output": output}


def _opening(command: str, config: Mapping[str, Any]) -> Metrics:
    return {"command": command, "config": dict(config), "environment": {"lorafold": __version__}}


def _one_file(path: Path) -> Path:
    """As a browser can download it: a folder as an archive."""
    return Path(shutil.make_archive(str(path), "zip", path)) if path.is_dir() else path


@contextmanager
def _heard() -> Iterator[list[str]]:
    """The warnings of this thread, as they come."""
    lines: list[str] = []
    own = get_ident()

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == own:
                lines.append(record.getMessage())

    logger, ear = logging.getLogger("lorafold"), Ear(logging.WARNING)
    logger.addHandler(ear)
    try:
        yield lines
    finally:
        logger.removeHandler(ear)
