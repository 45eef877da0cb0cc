"""What an inspection leaves in its log."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from lorafold.adapters import save
from lorafold.commands.inspect.config import InspectConfig
from lorafold.commands.inspect.run import inspect
from lorafold.runs.run import Run
from tests.builders import random_adapter


@pytest.mark.parametrize("alone", [True, False])
def test_the_log_has_a_line_on_every_adapter(tmp_path: Path, caplog: pytest.LogCaptureFixture, alone: bool) -> None:
    """Also where the terminal shows a table instead."""
    shapes = {"a.q": (4, 3), "a.k": (4, 3)}
    paths = [str(save(random_adapter("peft", shapes, rank, seed=rank), tmp_path / f"rank{rank}")) for rank in (1, 2)]
    with caplog.at_level(logging.INFO, "lorafold"):
        inspect(Run(tmp_path, tmp_path, alone=alone), InspectConfig(adapters=paths, threads=1))
    lines = [line for line in caplog.messages if "2 modules" in line]
    assert len(lines) == 2 and all(line.startswith(path) for line, path in zip(lines, paths, strict=True))
