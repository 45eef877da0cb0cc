"""The page and the files of a sweep: complete, closed to the outside, and what a stranger wrote is text."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest

from lorafold.commands.report.page import document, heat, write_figures, write_page
from lorafold.commands.report.page.figures import figures, weight_share
from lorafold.commands.report.page.payload import payload
from lorafold.commands.report.sweep import read_sweep
from lorafold.pages.drawing import Mark
from lorafold.pages.drawing.inks import DARK, LIGHT
from tests.commands.report.sweep_samples import begin, grid, leave, metrics, sweep_of
from tests.pages.page_samples import HOSTILE, Reader

SCRIPTS = Path(document.__file__).parent / "script"
SVG = "{http://www.w3.org/2000/svg}"


def written(folder, sweep, chosen=0):
    path = folder / "report.html"
    write_page(path, sweep, chosen)
    return Reader(path.read_text(encoding="utf-8"))


def by_name(sweep):
    return {figure.name: figure for figure in figures(sweep)}


def test_the_page_refers_to_nothing_outside_and_allows_its_own_script_alone(tmp_path):
    reader = written(tmp_path, sweep_of(tmp_path, grid()))
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


def test_figures_of_strangers_words_are_well_formed(tmp_path):
    files = write_figures(tmp_path / "figures", hostile(tmp_path / "a"), 0)
    drawn = [path for path in files if path.suffix == ".svg"]
    assert {path.stem for path in drawn} == {"size", "path", "evaluation", "parts"}
    for path in drawn:
        tags = {element.tag for element in ET.parse(path).iter()}
        assert tags <= {SVG + name for name in ("svg", "title", "text", "rect", "g", "circle", "polygon", "polyline")}


def test_figures_have_a_mark_for_every_run(tmp_path):
    sweep = sweep_of(tmp_path, grid())
    for path in write_figures(tmp_path / "figures", sweep, None):
        if path.suffix == ".svg":
            numbers = [int(mark.get("data-run")) for mark in ET.parse(path).iter(f"{SVG}g")]
            assert set(numbers) == set(range(len(sweep.runs)))


def test_figures_as_png(tmp_path):
    pytest.importorskip("matplotlib")
    sweep = sweep_of(tmp_path, grid())
    drawn = [path for path in write_figures(tmp_path / "figures", sweep, 0) if path.suffix == ".png"]
    assert {path.stem for path in drawn} == {"size", "path", "ranks", "parts"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


def test_fronts_of_the_runs(tmp_path):
    sweep = sweep_of(tmp_path, grid(objectives=("chordal",)))
    data = written(tmp_path, sweep).data
    kept = {run["name"]: run["worst"] for run in data["runs"]}
    on_front = {run["name"] for run in data["runs"] if "size" in run["fronts"]}
    best = {max(names, key=kept.get) for names in (("0", "1", "2"), ("3", "4", "5"))}  # of each of two sizes
    assert best <= on_front and kept[min(best)] < kept[max(best)]


def test_lines_join_runs_that_differ_in_one_setting(tmp_path):
    drawn = by_name(sweep_of(tmp_path, grid()))
    assert len(drawn["ranks"].charts[0]._lines(dict.fromkeys(range(12), (0, 0)))) == 2 * 3  # objectives and weights
    (line, *others) = drawn["path"].charts[0]._lines({number: (number, 0) for number in range(12)})
    assert len(others) == 2 * 2 - 1  # objectives and ranks
    assert line.points == ((2, 0), (1, 0), (0, 0))  # in the order of the weights


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
    assert {name for name, figure in by_name(sweep).items() if not figure.charts} == empty
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
    (run,) = payload(sweep, figures(sweep), 0)["runs"]
    assert run["evaluation"] == [1234567, 0.12346]


def test_marks_of_runs_that_agree_stay_visible(tmp_path):
    chart = by_name(sweep_of(tmp_path, [metrics(objective=name) for name in "abcdefg"]))["size"].charts[0]
    radii = [shape.radius for shape in chart.picture(600).shapes if isinstance(shape, Mark)]
    assert radii[0] > radii[1] > radii[2] == radii[-1] > 1.5
    assert len(radii) == 7


def test_every_script_is_in_the_page_and_writes_text_only():
    assert sorted(document._OWN) == sorted(path.stem for path in SCRIPTS.glob("*.js"))
    for path in SCRIPTS.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text)
        assert not re.search(r"</script|<!--", text)


def test_the_colours_of_the_files_are_those_of_the_page():
    page = (document._PAGES / "script" / "colour.js").read_text()
    assert str(list(heat.MAKO)).replace("'", '"') in page
    style = (document._PAGES / "page.css").read_text()
    for inks in (LIGHT, DARK):
        assert all(f"--{role}: {inks[role]};" in style for role in ("ink", "soft", "rule"))
