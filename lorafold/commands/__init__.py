"""The commands of `lorafold`: what each is told, what it does, leaves and says.

A command is a folder: `config.py` (its settings), `run.py` (what it does), `table.py`, `csv.py`, `page.py` (what it
says and leaves); and an entry here. Free of torch and of Hydra.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lorafold.commands.align.config import AlignConfig
from lorafold.commands.calibrate.config import CalibrateConfig
from lorafold.commands.compare.config import CompareConfig
from lorafold.commands.convert.config import ConvertConfig
from lorafold.commands.distill.config import DistillConfig
from lorafold.commands.extract.config import ExtractConfig
from lorafold.commands.fuse.config import FuseConfig
from lorafold.commands.inspect.config import InspectConfig
from lorafold.commands.merge.config import MergeConfig
from lorafold.commands.report.config import ReportConfig
from lorafold.commands.reproduce.config import ReproduceConfig
from lorafold.commands.resize.config import ResizeConfig
from lorafold.commands.ui.config import UiConfig

if TYPE_CHECKING:
    from lorafold.runs.run import Run


@dataclass(frozen=True)
class Command:
    """A command.

    Args:
        summary: what it does, in a line.
        config: a dataclass of its settings, the schema of `conf/NAME.yaml`, with a `help` of class `Help`.
        function: `module:function`, called with the run and the settings; imported when it is called.
        files: the setting for which plain words of the command line stand.
        scored: whether the function returns what a sweeper is to minimise or maximise.
    """

    summary: str
    config: type[Any]
    function: str
    files: str = "adapters"
    scored: bool = False

    def run(self, run: Run, config: Any) -> Any:
        """Do it; returns what a sweeper is to look at, if anything."""
        result = self.load()(run, config)
        return result if self.scored else None

    def load(self) -> Callable[[Run, Any], Any]:
        """The function, imported with all that it needs."""
        module, _, name = self.function.partition(":")
        return getattr(import_module(f"lorafold.commands.{module}"), name)


COMMANDS: dict[str, Command] = {
    "merge": Command("two or more LoRA adapters in, one out", MergeConfig, "merge.task:merge_and_score", scored=True),
    "distill": Command(
        "two or more in, one out that does what each does to a model", DistillConfig, "distill.run:distill"
    ),
    "compare": Command(
        "how much adapters overlap, layer by layer, beside chance", CompareConfig, "compare.run:compare"
    ),
    "align": Command("rewrite adapters so that their factors match those of the first", AlignConfig, "align.run:align"),
    "inspect": Command(
        "what is in an adapter: base model, ranks, norms, warnings", InspectConfig, "inspect.run:inspect"
    ),
    "calibrate": Command(
        "what a few inputs of each adapter's task say, for a merge", CalibrateConfig, "calibrate.run:calibrate"
    ),
    "resize": Command("the same adapter with lower ranks, each where it is needed", ResizeConfig, "resize.run:resize"),
    "convert": Command("the same adapter in another format", ConvertConfig, "convert.run:convert"),
    "extract": Command(
        "two models in, their difference out as an adapter", ExtractConfig, "extract.run:extract", files="tuned"
    ),
    "fuse": Command("adapters written into their model", FuseConfig, "fuse.run:fuse"),
    "reproduce": Command(
        "an earlier merge again, and whether it comes out the same",
        ReproduceConfig,
        "reproduce.run:reproduce_or_fail",
        files="run",
    ),
    "report": Command(
        "the runs of a sweep on one page: table, fronts, curves", ReportConfig, "report.run:report", files="runs"
    ),
    "ui": Command("a page in the browser to drop adapters on, compare and merge them", UiConfig, "ui.run:ui"),
}
