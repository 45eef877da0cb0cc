"""The table of many adapters in docs/speed.md says what was measured."""

from __future__ import annotations

import json
import re

import pytest

from tests.command_lines import ROOT

MEASURED = json.loads((ROOT / "docs" / "many-adapters.json").read_text(encoding="utf-8"))
TEXT = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")


def table() -> dict[str, list[str]]:
    """The cells of each line by the number of adapters."""
    _, _, section = TEXT.partition("## Many adapters")
    lines = re.findall(r"(?m)^\| (\d+) \|(.+)\|$", section)
    return {count: [cell.strip() for cell in cells.split("|")] for count, cells in lines}


def test_every_number_of_adapters_that_was_measured_has_a_line():
    assert table().keys() == MEASURED["adapters"].keys()


@pytest.mark.parametrize("count", MEASURED["adapters"])
def test_a_line_says_what_was_measured(count):
    measured = MEASURED["adapters"][count]
    floor, merge, ratio, peak = table()[count]
    assert floor == f"{measured['floor_cpu_seconds']:.2g}"
    assert merge == f"{measured['merge_cpu_seconds']:.2g}"
    assert ratio == f"{measured['merge_cpu_seconds'] / measured['floor_cpu_seconds']:.0f}"
    assert peak == f"{measured['peak_mib']:.0f}"
    assert measured["converged"] == measured["modules"]


def test_the_memory_of_many_layers_is_what_was_measured():
    few, many = (MEASURED["layers"][count] for count in sorted(MEASURED["layers"], key=int)[-2:])
    grown = (many["peak_anonymous_mib"] - few["peak_anonymous_mib"]) / (many["layers"] - few["layers"])
    written = many["output_mib"] / many["layers"]
    assert f"{grown:.1f} MB a layer" in TEXT
    assert f"{written:.1f} of them the merged factors" in TEXT
