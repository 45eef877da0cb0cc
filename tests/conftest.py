"""Shared by all tests: a process for commands, and those that need a GPU are skipped where there is none."""

from __future__ import annotations

from typing import Any

import pytest

from tests import command_lines


@pytest.fixture(scope="session")
def warm() -> Any:
    """Runs commands at the price of a fork; tests that need it are skipped where nothing forks."""
    pytest.importorskip("tests.forks", reason="no fork here", exc_type=ImportError)
    return command_lines.warm()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip `cuda` tests on machines without a CUDA device; torch is imported only if there is such a test."""
    marked = [item for item in items if item.get_closest_marker("cuda")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
