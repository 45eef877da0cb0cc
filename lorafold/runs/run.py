"""Where one run of a command writes, how it talks, and with how many threads it computes.

Free of Hydra: `lorafold.cli.app` says where the folder is and what was asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from lorafold.common.homes import with_home
from lorafold.console.lines import tell
from lorafold.console.tables import relative_to_cwd

Config = TypeVar("Config", bound=Any)  # a dataclass with `base`

log = logging.getLogger(__name__)

DEMO_SAID = "the demo pair that lorafold ships, as no adapters of your own are given"


@dataclass(frozen=True)
class Run:
    """Where a run writes, and how it talks.

    Args:
        folder: of this run; exists.
        base: where the user stands: relative paths start here.
        overrides: what was asked for on the command line.
        alone: false in a sweep: one line for the run instead of a progress bar and a table.
    """

    folder: Path
    base: Path
    overrides: Sequence[str] = ()
    alone: bool = True

    def announce(self, adapters: Any) -> None:
        """Say it where the adapters are not the user's own, before what came out, and not of a run that was refused."""
        if adapters == "demo":
            log.info(DEMO_SAID)
            if self.alone:
                print(DEMO_SAID)

    def located(self, config: Config) -> Config:
        """The settings with the paths of their base model and of statistics as seen from here."""
        if config.base is not None:
            config = replace(config, base=self._from_here(config.base))
        given = getattr(config, "calibration", None)
        given = [given] if isinstance(given, str) else given
        if isinstance(given, list) and all(isinstance(item, str) for item in given):
            config = replace(config, calibration=[self._from_here(item) for item in given])
        return config

    def _from_here(self, path: str) -> str:
        return str(self.base / with_home(path))

    def tell_in_a_line(self, text: str) -> None:
        """Say how a run of a sweep ended: what was asked for, the text, and where it is."""
        tell(f"{' '.join(self.overrides)}: {text} -> {relative_to_cwd(str(self.folder))}")
