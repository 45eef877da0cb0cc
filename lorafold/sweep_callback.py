"""What Hydra calls when a sweep is over, whichever launcher and sweeper ran it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from lorafold.sweep import summary_of_failures


class SweepEnd(Callback):
    """A failed run stops no other; the program's exit status and its last line tell of it afterwards."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        if summary := summary_of_failures(Path(config.hydra.sweep.dir)):
            print(f"lorafold: error: {summary}", file=sys.stderr)
            sys.exit(1)
