"""The page of a sweep in headless Chromium: it sorts, filters, follows a press, and stays silent on the network."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorafold.commands.report.page import draw, write_page
from lorafold.commands.report.sweep import read_sweep
from tests.commands.report.page.test_document import hostile
from tests.commands.report.sweep_samples import begin, grid, metrics, sweep_of
from tests.pages.browser import Keys, all_of, assert_silent, by_id, needs_browser, show
from tests.pages.browser import browser as browser

pytestmark = needs_browser


@pytest.fixture
def opened(browser, tmp_path):
    """Write a page and open it from disk; at the end nothing was said on the console, and nothing was asked for."""

    def opens(sweep, chosen=0, **options):
        page = sweep if isinstance(sweep, Path) else written(tmp_path, sweep, chosen)
        return show(browser, page, **options)

    yield opens
    assert_silent(browser)


def written(folder, sweep, chosen=0):
    write_page(folder / "report.html", sweep, chosen, draw(sweep, chosen))
    return folder / "report.html"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Of a grid of runs, and one that failed, drawn once."""
    folder = tmp_path_factory.mktemp("page")
    (begin(folder / "sweep" / "99", "rank=0", "objective=chordal") / "error.txt").write_text("rank=0, expected more\n")
    sweep_of(folder / "sweep", grid())
    return written(folder, read_sweep([folder]))


def names(browser):
    return [cell.text for cell in all_of(browser, "#table tbody th") if cell.is_displayed()]


def column(browser, key):
    keys = [cell.get_attribute("data-key") for cell in all_of(browser, "#table thead th")]
    return [cell.text for cell in all_of(browser, f"#table tbody tr > :nth-child({keys.index(key) + 1})")]


def sort_by(browser, key):
    (heading,) = all_of(browser, f'#table th[data-key="{key}"]')
    heading.find_element("tag name", "button").click()
    return heading.get_attribute("aria-sort")


def headings(browser):
    return [cell.text for cell in all_of(browser, "#table thead th")]


def test_settings_that_differ_come_first(opened, page):
    browser = opened(page)
    assert headings(browser)[:5] == ["run", "weights", "rank", "objective", "parameters"]
    assert len(names(browser)) == 12
    assert by_id(browser, "count").text == "12 runs"


def test_the_table_sorts_both_ways_by_size(opened, tmp_path):
    browser = opened(sweep_of(tmp_path, grid(ranks=(16, 4, 8))))
    assert sort_by(browser, "setting-1") == "ascending"  # of settings from the beginning
    assert column(browser, "setting-1") == ["4"] * 6 + ["8"] * 6 + ["16"] * 6
    assert sort_by(browser, "worst") == "descending"  # what was measured, the largest first
    values = column(browser, "worst")
    assert values == sorted(values, reverse=True)
    assert sort_by(browser, "worst") == "ascending"
    assert column(browser, "worst") == sorted(values)
    sort_by(browser, "name")
    assert names(browser) == [str(number) for number in range(18)]


def test_filters_meet_and_fade_the_figures(opened, tmp_path):
    beaten = metrics(rank=16, weights=(0.01, 0.01))
    browser = opened(sweep_of(tmp_path, [*grid(), beaten]))
    by_id(browser, "filter").send_keys("geo 0.5")
    assert names(browser) == ["7", "10"]
    (rank,) = all_of(browser, "select[data-setting=rank]")
    rank.send_keys("8")
    assert names(browser) == ["10"]
    assert by_id(browser, "count").text == "1 of 13 runs"
    assert {mark.get_attribute("data-run") for mark in all_of(browser, ".run:not(.faded)")} == {"10"}
    by_id(browser, "filter").send_keys(Keys.BACKSPACE * 7)
    rank.send_keys("all")
    by_id(browser, "only-front").click()
    assert names(browser) == [str(number) for number in range(12)]
    assert (column(browser, "fronts")[4], column(browser, "fronts")[12]) == ("size, φ", "")


def test_a_run_is_chosen_in_the_table_and_in_the_figures(opened, tmp_path):
    sweep = sweep_of(tmp_path, grid())
    browser = opened(sweep, 5)
    assert by_id(browser, "command").text == sweep.runs[5].repeat
    all_of(browser, "#table tbody th button")[2].click()
    assert by_id(browser, "command").text == sweep.runs[2].repeat
    assert by_id(browser, "chosen-name").text == str(sweep.runs[2].folder)
    (mark, *_) = [found for found in all_of(browser, '#size [data-run="7"]') if found.is_displayed()]
    browser.execute_script("arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))", mark)
    assert by_id(browser, "command").text == sweep.runs[7].repeat
    assert {found.get_attribute("data-run") for found in all_of(browser, ".run.chosen")} == {"7"}
    assert [row.text.split()[0] for row in all_of(browser, "#table tr.chosen")] == ["7"]


def test_the_parts_of_the_chosen_run(opened, tmp_path):
    sweep = sweep_of(tmp_path, [metrics(rank=4), metrics(rank=8)])
    browser = opened(sweep, 1)
    cells = [cell.text for cell in all_of(browser, "#parts tbody tr:first-child td")]
    first = sweep.runs[1].blocks[0].numbers
    expected = [*first.kept, *first.phi["left"], *first.phi["right"], first.error]
    assert cells == [f"{value:.2f}" for value in expected]


@pytest.mark.parametrize(
    ("width", "scheme"), [(360, "dark"), pytest.param(700, "light", marks=pytest.mark.slow), (1400, "dark")]
)
def test_nothing_sticks_out_of_the_window(opened, page, scheme, width):
    browser = opened(page, scheme=scheme, width=width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background.strip("rgb()").split(","))) < 3 * 128) == (scheme == "dark")
    visible = [figure for figure in all_of(browser, ".charts svg") if figure.is_displayed()]
    charts = [len(figure.find_elements("css selector", ".chart")) for figure in visible]
    assert charts == [2, 2, 3]  # each figure in one of its two layouts
    sizes = {float(browser.execute_script(TEXT_SIZE, figure)) for figure in visible}
    assert min(sizes) >= 9 and max(sizes) <= 20  # pixels on the screen


def test_a_phone_shows_names_and_errors_without_scrolling(opened, page):
    browser = opened(page, width=400)
    for selector in (".links", "#problems .scroll"):
        (box,) = all_of(browser, selector)
        assert box.get_property("scrollWidth") <= box.get_property("clientWidth"), selector
    assert max(row.size["height"] for row in all_of(browser, "#table tbody tr")) < 40  # one line each


def test_numbers_are_readable_on_every_colour(opened, tmp_path):
    steps = [round(step / 50, 2) for step in range(51)]
    runs = [metrics()]
    runs[0]["modules"] = [
        {**runs[0]["modules"][0], "name": f"layer.{i}.q", "reconstruction_error": value}
        for i, value in enumerate(steps)
    ]
    for scheme in ("light", "dark"):
        browser = opened(sweep_of(tmp_path / scheme, runs), scheme=scheme)
        cells = browser.execute_script(COLOURS_OF_CELLS)
        assert len(cells) > len(steps)
        assert min(contrast(*cell) for cell in cells) > 4


TEXT_SIZE = """
const text = arguments[0].querySelector("text");
return parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a;
"""
COLOURS_OF_CELLS = """
const channels = (colour) => colour.match(/[0-9.]+/g).map(Number);
return [...document.querySelectorAll("#parts tbody td")].map(getComputedStyle)
  .map((style) => [channels(style.color), channels(style.backgroundColor)]);
"""


def contrast(*colours):
    """Of two colours in sRGB, 1 to 21, as WCAG 2.2 defines it."""
    lights = []
    for colour in colours:
        shares = [channel / 255 for channel in colour]
        linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)
    return max(lights) / min(lights)


def test_a_strangers_words_are_text(opened, tmp_path):
    browser = opened(hostile(tmp_path / "a"))
    for button in all_of(browser, "#table button"):
        button.click()
    assert (all_of(browser, "img"), len(all_of(browser, "script"))) == ([], 2)
    assert browser.title == "lorafold report: 2 runs"


@pytest.mark.parametrize(
    "runs",
    [[{}], [metrics(evaluation={"a b": -1.5})]],
    ids=["bare", "value"],
)
def test_it_draws_whatever_there_is(opened, tmp_path, runs):
    browser = opened(sweep_of(tmp_path, runs))
    browser.execute_script("for (const button of document.querySelectorAll('#table button')) button.click()")
    assert len(names(browser)) == len(runs)


def test_without_a_finished_run_it_says_what_is_missing(opened, tmp_path):
    begin(tmp_path / "0", "rank=4")
    browser = opened(read_sweep([tmp_path]), None)
    assert not by_id(browser, "chosen").is_displayed()
    assert "rank=4" in by_id(browser, "problems").text
