"""The versions that `.ci/lowest` tests are the lowest that pyproject.toml allows."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import lorafold

ROOT = Path(lorafold.__file__).parents[1]
TESTED = ROOT / ".ci" / "lowest.txt"

pytestmark = pytest.mark.skipif(not TESTED.exists(), reason="not a checkout")


def versions(lines: list[str], operator: str) -> dict[str, Version]:
    """The version behind the operator, by name; a requirement without one has no entry."""
    found = [Requirement(line) for line in lines]
    return {each.name: Version(part.version) for each in found for part in each.specifier if part.operator == operator}


def test_the_lowest_allowed_versions_are_tested() -> None:
    allowed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    tested = [line for line in TESTED.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    bounds = versions(allowed, ">=")
    assert versions(tested, "==") == bounds
    assert len(bounds) == len(allowed)
