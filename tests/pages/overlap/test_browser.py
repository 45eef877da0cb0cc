"""The page in headless Chromium: it draws, answers, stays silent on the network, and runs nobody else's script."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lorafold
from lorafold.pages.overlap import write_page
from tests.builders import one_thread as one_thread
from tests.builders import random_adapter
from tests.pages.browser import By, Keys, WebDriverWait, all_of, assert_silent, by_id, needs_browser, show
from tests.pages.browser import browser as browser
from tests.pages.page_samples import HOSTILE, NAMES, compared, nulls

pytestmark = needs_browser
Open = Callable[..., Any]


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Write a page and open it from disk; at the end nothing was said on the console, and nothing was asked for."""

    def opens(metrics: dict[str, Any], grids: dict, *, scheme: str = "light", width: int = 1400) -> Any:
        path = tmp_path / "page.html"
        write_page(path, metrics, grids)
        return show(browser, path, scheme, width)

    yield opens
    assert_silent(browser)


def visible_names(browser: Any) -> list[str]:
    return [cell.text for cell in all_of(browser, "#modules tbody th") if cell.is_displayed()]


def column(browser: Any, number: int) -> list[str]:
    return [cell.text for cell in all_of(browser, f"#modules tbody td:nth-child({number})")]


def sort_by(browser: Any, key: str) -> str:
    (heading,) = all_of(browser, f'#modules th[data-key="{key}"]')
    heading.find_element(By.TAG_NAME, "button").click()
    return heading.get_attribute("aria-sort")


def select(browser: Any, name: str, text: str) -> None:
    (option,) = [option for option in all_of(browser, f"#{name} option") if text in option.text]
    option.click()


def test_it_shows_what_was_compared(opened):
    metrics, grids = compared(2, 3)
    browser = opened(metrics, grids)
    assert by_id(browser, "title").text == "Overlap of 0/style and 1/style"
    text = by_id(browser, "summary").text
    (pair,) = metrics["summary"]["pairs"]
    assert all(sentence in text for sentence in pair["reading"])
    assert all(f"{pair[side]['phi']:.3f}" in text for side in ("left", "right"))
    assert len(all_of(browser, "#overview-cells .cell")) == len(NAMES)
    assert len(all_of(browser, "#grids canvas")) == 2
    assert len(all_of(browser, "#histograms .chance-line")) == len(all_of(browser, "#module-angles .band")) == 2
    assert not by_id(browser, "matrices").is_displayed()


def test_a_panel_is_what_overlaps_stand_beside(opened):
    adapters = [random_adapter("kohya", dict.fromkeys(NAMES, (24, 20)), 2, seed=i, path=f"/{i}.pt") for i in range(7)]
    result = lorafold.compare(adapters[:2], panel=adapters[2:])
    metrics = {"command": "compare", "config": {}, **result.metrics()}
    browser = opened(metrics, result.grids)
    (pair,) = metrics["summary"]["pairs"]
    tiles = by_id(browser, "cards").text
    assert "beyond chance" in tiles and "of 12 that n can decide" in tiles
    assert f"beside {pair['left']['null_median']:.3f}, panel" in tiles
    assert by_id(browser, "measure-null").find_element(By.TAG_NAME, "input").is_selected()
    assert len(all_of(browser, "#inputs tbody tr")) == 7
    assert sort_by(browser, "effect-left") == "descending"


def test_the_table_sorts_both_ways_with_what_is_missing_last(opened):
    browser = opened(*compared(2, 3))
    assert sort_by(browser, "phi-left") == "descending"
    values = column(browser, 6)
    assert values == [*sorted(values[:-1], reverse=True), "–"]
    assert sort_by(browser, "phi-left") == "ascending"
    values = column(browser, 6)
    assert values == [*sorted(values[:-1]), "–"]
    assert sort_by(browser, "name") == "ascending"
    assert visible_names(browser) == sorted(NAMES)


def test_the_filter_wants_every_word(opened):
    browser = opened(*compared(2, 3))
    by_id(browser, "filter").send_keys("mid to_")
    assert visible_names(browser) == [name for name in NAMES if "mid" in name]
    assert by_id(browser, "count").text == "4 of 12 modules"
    by_id(browser, "filter").send_keys(Keys.BACKSPACE * 7 + "no such module")
    assert visible_names(browser) == []


def test_a_module_is_chosen_by_pointer_keys_and_table(opened):
    browser = opened(*compared(2, 3))
    cells = all_of(browser, "#overview-cells .cell")
    cells[2].click()
    assert by_id(browser, "module-name").text == NAMES[2]
    cells[2].send_keys(Keys.ARROW_RIGHT)
    assert by_id(browser, "module-name").text == NAMES[3]
    browser.switch_to.active_element.send_keys(Keys.ARROW_DOWN)  # the strip below
    assert by_id(browser, "module-name").text == NAMES[7]
    assert [cell.get_attribute("data-m") for cell in all_of(browser, ".cell[tabindex='0']")] == ["7"]
    assert NAMES[7] in by_id(browser, "overview-readout").text
    all_of(browser, "#modules tbody th button")[1].click()
    assert by_id(browser, "module-name").text == NAMES[1]
    by_id(browser, "previous").click()
    assert by_id(browser, "position").text == "1 of 12"


def test_a_map_reads_out_its_values(opened):
    metrics, grids = compared(2, 3)
    browser = opened(metrics, grids)
    all_of(browser, "#overview-cells .cell")[0].click()
    (left, _) = all_of(browser, "#grids .map")
    left.send_keys(Keys.ARROW_LEFT)  # from the last corner, (2, 3)
    phi = grids[0, 1][NAMES[0]]["left"][1, 1]
    assert by_id(browser, "grid-readout").text == f"1 and 2, left: φ(2, 2) = {phi:.3f}, random {2 / 24:.3f}"
    pixels = "return document.querySelector('#grids canvas').toDataURL()"
    before = browser.execute_script(pixels)
    all_of(browser, "#grid-mode span")[1].click()
    assert browser.execute_script(pixels) != before


def test_another_pair_changes_the_whole_page(opened):
    metrics, grids = compared(2, 3, 4)
    browser = opened(metrics, grids)
    shown = set()
    for index, name in enumerate(("1 and 2", "1 and 3", "2 and 3")):
        select(browser, "pair", name)
        pair = metrics["summary"]["pairs"][index]
        text = by_id(browser, "summary").text
        assert all(sentence in text for sentence in pair["reading"])
        assert column(browser, 6)[0] == f"{metrics['modules'][0]['pairs'][index]['left']['phi']:.3f}"
        shown |= {by_id(browser, part).get_attribute("innerHTML") for part in ("histograms", "grids", "part-tables")}
    assert len(shown) == 9
    all_of(browser, "#matrix-tables button")[1].click()  # row 1, column 3
    assert by_id(browser, "pair").get_attribute("value") == "1"


def test_a_merge_shows_before_and_after_side_by_side(opened):
    browser = opened(*compared(2, 3, 4, merged=True))
    titles = ["Before: 1 and 2", "After: merged and 1", "After: merged and 2"]
    cards = all_of(browser, "#cards .card")
    assert [card.text.split("\n")[0] for card in cards] == titles
    assert len({card.location["y"] for card in cards}) == 1
    assert len(all_of(browser, "#overview-cells .cell")) == 3 * len(NAMES)
    assert len(all_of(browser, "#grids figure")) == len(all_of(browser, "#histograms figure")) == 6
    before = column(browser, 6)
    select(browser, "table-pair", "merged and 1")
    assert column(browser, 6) != before
    assert not by_id(browser, "pair-choice").is_displayed()


@pytest.mark.parametrize("width", [400, 1400])
def test_a_merge_opens_with_what_it_came_to(opened, width):
    browser = opened(*compared(2, 3, 4, merged=True), width=width)
    first = all_of(browser, "main section")[0]
    assert first.get_attribute("id") == "result" and by_id(browser, "result-link").is_displayed()
    assert all(text in first.text for text in ("style keeps 92 %", "Strength: 1.392 times", "7.6 %", "3.9 %", "1.39"))
    assert [bar.get_attribute("style") for bar in all_of(browser, "#result .amount")] == ["width: 92%;"]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    marks = [mark.text for mark in all_of(browser, "#overview-legend .mark")]
    assert (marks[0], marks[-1]) == ("0", "1")  # of every merge


def test_a_comparison_has_no_result(opened):
    browser = opened(*compared(2, 3))
    assert not by_id(browser, "result").is_displayed() and not by_id(browser, "result-link").is_displayed()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_nothing_sticks_out_of_the_window(opened, scheme, width):
    browser = opened(*compared(2, 3, 4), scheme=scheme, width=width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background.strip("rgb()").split(","))) < 3 * 128) == (scheme == "dark")


def test_charts_follow_the_width_of_the_window(opened):
    browser = opened(*compared(2, 3))
    width = "return document.querySelector('#histograms svg').clientWidth"
    wide = browser.execute_script(width)
    size = {"width": 600, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    redrawn = "return document.querySelector('#histograms svg').getAttribute('width') <= 600"
    WebDriverWait(browser, 5).until(lambda driver: driver.execute_script(redrawn))
    assert browser.execute_script(width) < wide


def test_a_strangers_name_is_text(opened):
    metrics, grids = compared(2, 3, names=(HOSTILE, *NAMES[:2]))
    metrics["modules"][0]["group"] = metrics["inputs"][0]["path"] = HOSTILE
    browser = opened(metrics, grids)
    all_of(browser, "#modules tbody th button")[0].click()
    assert by_id(browser, "module-name").get_attribute("textContent") == HOSTILE
    assert (all_of(browser, "img"), "pwned" in browser.title) == ([], True)  # in the title it is text, too
    assert len(all_of(browser, "script")) == 2


@pytest.mark.parametrize(
    "case",
    [
        lambda: compared(2, 3, names=NAMES[:1]),
        lambda: compared(1, 1),
        lambda: compared(2, 3, 4, 1, 5),
        lambda: compared(2, 3, 4, 5, merged=True),
        lambda: compared(2, 3, names=NAMES[:1], merged=True),
        lambda: (nulls(compared(2, 3, 4)[0]), {}),
        lambda: (nulls(compared(2, 3, 4, merged=True)[0]), {}),
        lambda: ({"inputs": [{}, {}], "modules": [{"name": "a"}], "summary": {"pairs": [{"pair": [0, 1]}]}}, {}),
        lambda: ({"inputs": [{}], "modules": [], "summary": {}}, {}),
    ],
    ids=["one module", "rank 1", "N=5", "N=3 merged", "N=1 merged", "nulls", "nulls merged", "bare", "no pair"],
)
def test_it_draws_whatever_there_is(opened, case):
    browser = opened(*case())
    buttons = "document.querySelectorAll('main button:not([hidden]), .toggle input')"
    browser.execute_script(f"for (const button of {buttons}) if (button.isConnected) button.click()")
    assert by_id(browser, "title").text
