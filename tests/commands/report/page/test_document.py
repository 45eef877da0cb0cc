"""The page and the files of a sweep: complete, closed to the outside, and what a stranger wrote is text."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from base64 import b64encode
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from lorafold.commands.report.page import document, draw, inks, write_figures, write_page
from lorafold.commands.report.page.payload import payload
from lorafold.commands.report.page.sections import sections, weight_share
from lorafold.commands.report.sweep import Sweep, read_sweep
from tests.commands.report.sweep_samples import begin, grid, leave, metrics, sweep_of
from tests.pages.page_samples import HOSTILE, Reader

matplotlib = pytest.importorskip("matplotlib")
from lorafold.commands.report.page.drawing import draw_section  # noqa: E402

SCRIPTS = Path(document.__file__).parent / "script"
SVG = "{http://www.w3.org/2000/svg}"


def written(folder, sweep, chosen=0):
    path = folder / "report.html"
    write_page(path, sweep, chosen, draw(sweep, chosen))
    return Reader(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """A sweep over a grid, its figures, the page, and the files, all drawn once."""
    folder = tmp_path_factory.mktemp("grid")
    sweep = sweep_of(folder, grid())
    figures = draw(sweep, 0)
    write_page(folder / "report.html", sweep, 0, figures)
    write_figures(folder / "figures", figures)
    return Example(sweep, Reader((folder / "report.html").read_text(encoding="utf-8")), files(folder))


class Example(NamedTuple):
    sweep: Sweep
    page: Reader
    files: dict[str, dict[str, Path]]


def by_name(sweep):
    return {section.name: section for section in sections(sweep)}


def test_the_page_refers_to_nothing_outside_and_allows_its_own_script_alone(example):
    reader = example.page
    links = [tag.get("href") or tag.get("src") for _, tag in reader.tags if "href" in tag or "src" in tag]
    assert all(link.startswith(("#", "data:")) for link in links)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", "".join(reader.texts["style"] + reader.texts["script"]))
    (policy,) = [tag["content"] for name, tag in reader.tags if tag.get("http-equiv") == "Content-Security-Policy"]
    for kind, text in (("script", reader.texts["script"][1]), ("style", reader.texts["style"][0])):
        assert f"{kind}-src 'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" in " ".join(policy.split())
    assert "default-src 'none'" in policy
    assert not [tag for _, tag in reader.tags if "style" in tag or any(key.startswith("on") for key in tag)]


def test_every_link_of_the_page_leads_somewhere(tmp_path):
    reader = written(tmp_path, sweep_of(tmp_path, [metrics(evaluation={"a": 1})]))
    ids = {tag.get("id") for _, tag in reader.tags}
    assert {tag["href"][1:] for name, tag in reader.tags if name == "a"} <= ids


def hostile(folder):
    """A sweep in which every word is a stranger's."""
    content = metrics(objective=HOSTILE, evaluation={HOSTILE: 0.5})
    content["config"] |= {"adapters": [HOSTILE, "x"], HOSTILE: HOSTILE}
    content["inputs"][0]["path"] = content["command"] = content["environment"]["lorafold"] = HOSTILE
    content["modules"][0]["name"] = HOSTILE
    leave(folder / "<img src=x>\u202e", content)
    leave(folder / "other", metrics())
    failed = begin(folder / "</td><script>", HOSTILE)
    (failed / "error.txt").write_text(HOSTILE, encoding="utf-8")
    return read_sweep([folder])


def test_a_strangers_words_are_data_or_escaped(tmp_path):
    reader = written(tmp_path, hostile(tmp_path / "a"))
    assert not set("<>&") & set(reader.texts["script"][0])
    assert {name for name, _ in reader.tags}.isdisjoint({"img", "iframe", "object"})
    assert [name for name, _ in reader.tags].count("script") == 2
    assert HOSTILE in [setting["text"] for run in reader.data["runs"] for setting in run["settings"]]


def written_figures(folder, sweep, chosen=None):
    write_figures(folder / "figures", draw(sweep, chosen))
    return files(folder)


def files(folder):
    """Of figures, by their suffix and name."""
    return {
        suffix: {path.stem: path for path in sorted((folder / "figures").glob(f"*{suffix}"))}
        for suffix in (".svg", ".png")
    }


def test_figures_of_strangers_words_are_well_formed_and_refer_to_nothing_outside(tmp_path):
    drawn = written_figures(tmp_path, hostile(tmp_path / "a"), 0)[".svg"]
    assert set(drawn) == {"size", "path", "evaluation", "parts"}
    for path in drawn.values():
        elements = list(ET.parse(path).iter())
        tags = {element.tag for element in elements}
        assert tags <= {SVG + name for name in ("svg", "title", "text", "tspan", "rect", "g", "path", "use", "defs")}
        ids = {element.get("id") for element in elements}
        links = {value for element in elements for key, value in element.attrib.items() if key.endswith("href")}
        assert {link.removeprefix("#") for link in links} <= ids


def test_figures_have_a_mark_for_every_run(example):
    for name in ("size", "path", "ranks"):
        for chart in ET.parse(example.files[".svg"][name]).iterfind(f".//{SVG}g[@class='chart']"):
            marks = {int(mark.get("data-run")): mark for mark in chart.iterfind(f".//{SVG}use[@class='run']")}
            assert set(marks) == set(range(len(example.sweep.runs)))
            assert "rank=8" in marks[3].find(f"{SVG}title").text


def test_the_text_of_figures_is_text(example):
    words = {text.text for text in ET.parse(example.files[".svg"]["ranks"]).iter(f"{SVG}text")}
    assert {"rank →", "reconstruction error ↓", "4", "8", "objective=geodesic"} <= words


def test_figures_are_the_same_every_time(example, tmp_path):
    first, again = example.files, written_figures(tmp_path, example.sweep, 0)
    for suffix in first:
        assert first[suffix].keys() == {"size", "path", "ranks", "parts"}
        for name, path in first[suffix].items():
            assert path.read_bytes() == again[suffix][name].read_bytes(), path.name
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in first[".png"].values())


def test_figures_look_alike_whatever_matplotlib_was_told(tmp_path):
    section = by_name(sweep_of(tmp_path, grid()))["size"]
    drawn = draw_section(section).svg()
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert draw_section(section).svg() == drawn
        assert matplotlib.rcParams["font.size"] == 30


def test_the_page_has_colours_for_light_and_dark_and_ids_of_its_own(example):
    reader = example.page
    colours = {tag[key] for _, tag in reader.tags for key in ("fill", "stroke") if key in tag}
    assert {"var(--series-0)", "var(--series-1)", "var(--soft)", "var(--rule)"} <= colours
    assert not [colour for colour in colours if colour.startswith("#")]
    ids = [tag["id"] for _, tag in reader.tags if "id" in tag]
    assert len(ids) == len(set(ids))


def test_without_matplotlib_the_page_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("lorafold.commands.report.page.files.find_spec", lambda name: None)
    sweep = sweep_of(tmp_path, grid())
    assert written_figures(tmp_path, sweep) == {".svg": {}, ".png": {}}
    reader = written(tmp_path, sweep)
    assert len(reader.data["runs"]) == 12
    assert "svg" not in {name for name, _ in reader.tags}
    assert (tmp_path / "report.html").read_text().count("pip install &#x27;lorafold[report]&#x27;") == 3


def test_fronts_of_the_runs(tmp_path):
    sweep = sweep_of(tmp_path, grid(objectives=("chordal",)))
    data = written(tmp_path, sweep).data
    kept = {run["name"]: run["worst"] for run in data["runs"]}
    on_front = {run["name"] for run in data["runs"] if "size" in run["fronts"]}
    best = {max(names, key=kept.get) for names in (("0", "1", "2"), ("3", "4", "5"))}  # of each of two sizes
    assert best <= on_front and kept[min(best)] < kept[max(best)]


def test_lines_join_runs_that_differ_in_one_setting(tmp_path):
    sections = by_name(sweep_of(tmp_path, grid()))
    assert len(sections["ranks"].charts[0].lines) == 2 * 3  # objectives and weights
    line, *more = sections["path"].charts[0].lines
    assert len(more) == 2 * 2 - 1  # objectives and ranks
    assert line == [2, 1, 0]  # in the order of the weights


def coordinates(svg, css_class):
    """The points of the paths of a class, in pixels."""
    paths = [path.get("d") for path in ET.parse(svg).iterfind(f".//{SVG}g[@class='{css_class}']/{SVG}path")]
    return [[tuple(map(float, point)) for point in re.findall(r"([-\d.]+) ([-\d.]+)", path)] for path in paths]


def test_lines_are_drawn_through_the_marks(example):
    path = example.files[".svg"]["ranks"]
    uses = ET.parse(path).iter(f"{SVG}use")
    marks = {(float(use.get("x")), float(use.get("y"))) for use in uses if use.get("class") == "run"}
    lines = coordinates(path, "line")
    assert len(lines) == 3 * 2 * 3
    assert {point for line in lines for point in line} <= marks


@pytest.mark.parametrize(("name", "ranks"), [("size", (2, 4, 8)), ("path", (4,))])
def test_the_border_of_a_front_is_a_staircase_below_its_runs(tmp_path, name, ranks):
    runs = [metrics(rank=rank, weights=(share, 1 - share)) for rank in ranks for share in (0.3, 0.4, 0.5)]
    path = written_figures(tmp_path, sweep_of(tmp_path, runs))[".svg"][name]
    for corners in coordinates(path, "front"):
        assert len(corners) == 5
        for (x, y), corner, (next_x, next_y) in zip(corners[:-2:2], corners[1::2], corners[2::2], strict=True):
            assert x < next_x and corner == ((next_x, y) if name == "size" else (x, next_y))
            assert corner[1] == max(y, next_y)  # y counts downwards: the worse of both


@pytest.mark.parametrize(
    ("weights", "share"),
    [([0.7, 0.3], 0.7), ([2, -2], 0.5), (None, 0.5), ("sum", 0.5), ([0, 0], None), ([1], None), (["x", 1], None)],
)
def test_where_a_run_is_between_two_adapters(tmp_path, weights, share):
    content = metrics()
    content["config"]["weights"] = weights
    assert weight_share(sweep_of(tmp_path, [content]).runs[0]) == share


@pytest.mark.parametrize(
    ("runs", "empty"),
    [
        ([metrics()], {"ranks"}),
        ([{}], {"size", "path", "ranks"}),
        ([metrics(evaluation={"loss": -1e-9}), metrics(rank=8, evaluation={"loss": 3e5})], set()),
    ],
    ids=["one run", "nothing in it", "evaluated"],
)
def test_there_is_a_page_whatever_there_is(tmp_path, runs, empty):
    sweep = sweep_of(tmp_path, runs)
    assert {name for name, section in by_name(sweep).items() if not section.charts} == empty
    assert len(written(tmp_path, sweep).data["runs"]) == len(runs)


def test_a_sweep_without_a_finished_run_has_a_page(tmp_path):
    begin(tmp_path / "0", "rank=4")
    text = (written(tmp_path, read_sweep([tmp_path]), None), (tmp_path / "report.html").read_text())[1]
    assert "unfinished" in text and "rank=4" in text


@pytest.mark.slow
def test_a_thousand_runs_stay_below_6_mb(tmp_path):
    content = grid(objectives=("phi", "chordal", "geodesic", "asimov"), ranks=(2, 4, 8))
    for number in range(1000):
        run = content[number % len(content)]
        run["config"]["scale"] = number
        leave(tmp_path / str(number), run)
    written(tmp_path, read_sweep([tmp_path]))
    assert (tmp_path / "report.html").stat().st_size < 6e6


def test_what_an_evaluator_counts_is_shown_to_the_last_digit(tmp_path):
    runs = [metrics(evaluation={"bytes": 1234567.0, "loss": 0.123456789})]
    sweep = sweep_of(tmp_path, runs)
    (run,) = payload(sweep, sections(sweep), 0)["runs"]
    assert run["evaluation"] == [1234567, 0.12346]


def test_marks_of_runs_that_agree_stay_visible(tmp_path):
    sweep = sweep_of(tmp_path, [metrics(objective=name) for name in "abcdefg"])
    axes = draw(sweep, None)["size"].layouts["wide"].axes[0]
    marks = [line for line in axes.lines if line.get_gid().startswith("runs")]
    sizes = [line.get_markersize() for line in sorted(marks, key=lambda line: line.get_zorder())]
    assert sizes[0] > sizes[1] > sizes[2] == sizes[-1] > 3
    assert len(sizes) == 7


@pytest.mark.parametrize(
    "values",
    [(0.0, -0.0), (1e-300, 1e99), (-1e99, 1e99), (-1e308, 0.5), (0.3, 0.30000001), (1e-300,)],
    ids=str,
)
def test_every_number_of_an_evaluator_can_be_drawn(tmp_path, values):
    runs = [metrics(rank=4 + index, evaluation={"loss": value}) for index, value in enumerate(values)]
    page = draw_section(by_name(sweep_of(tmp_path, runs))["evaluation"]).in_page()
    assert page.count('data-run="') == 2 * sum(abs(value) < 1e100 for value in values)  # in both layouts


def test_ticks_of_ranks_keep_apart(tmp_path):
    drawing = draw(sweep_of(tmp_path, [metrics(rank=rank) for rank in range(1, 65)]), None)["ranks"]
    for figure in drawing.layouts.values():
        figure.draw_without_rendering()
        for axes in figure.axes:
            boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
            assert len(boxes) > 3
            assert all(box.x1 < after.x0 for box, after in pairwise(boxes))


def test_every_script_is_in_the_page_and_writes_text_only():
    assert sorted(document._OWN) == sorted(path.stem for path in SCRIPTS.glob("*.js"))
    for path in SCRIPTS.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text)
        assert not re.search(r"</script|<!--", text)


def test_the_colours_of_the_files_are_those_of_the_page():
    page = (document._PAGES / "script" / "colour.js").read_text()
    assert str(list(inks.MAKO)).replace("'", '"') in page
    style = (document._PAGES / "page.css").read_text()
    for colours in (inks.LIGHT, inks.DARK):
        assert all(f"--{role}: {colours[role]};" in style for role in ("ink", "soft", "rule"))
