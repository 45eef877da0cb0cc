"""The page as a file: complete, closed to the outside and to strangers' names, small, and written in one step."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest

from lorafold.pages.overlap import document, write_page
from tests.builders import one_thread as one_thread
from tests.pages.page_samples import HOSTILE, NAMES, Reader, compared, many

PAGES = Path(document.__file__).parents[1]
SCRIPTS = sorted([*(PAGES / "script").glob("*.js"), *(PAGES / "overlap" / "script").glob("*.js")])


def written(path, metrics, grids):
    write_page(path, metrics, grids)
    return Reader(path.read_text(encoding="utf-8"))


def policy(reader):
    (content,) = [tag["content"] for name, tag in reader.tags if tag.get("http-equiv") == "Content-Security-Policy"]
    return dict(part.strip().split(" ", 1) for part in content.split(";"))


def test_it_refers_to_nothing_outside(tmp_path):
    reader = written(tmp_path / "page.html", *compared(2, 3))
    links = [tag.get("href") or tag.get("src") for _, tag in reader.tags if "href" in tag or "src" in tag]
    assert all(link.startswith(("#", "data:")) for link in links)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", "".join(reader.texts["style"] + reader.texts["script"]))
    assert policy(reader)["default-src"] == "'none'"


def test_the_policy_allows_its_own_script_and_style_alone(tmp_path):
    reader = written(tmp_path / "page.html", *compared(2, 3))
    for kind, text in (("script", reader.texts["script"][1]), ("style", reader.texts["style"][0])):
        digest = b64encode(sha256(text.encode()).digest()).decode()
        assert policy(reader)[f"{kind}-src"] == f"'sha256-{digest}'"


def test_hostile_names_are_data(tmp_path):
    metrics, grids = compared(2, 3, names=(HOSTILE, *NAMES[:2]))
    metrics["inputs"][0]["path"] = f"/loras/{HOSTILE}.safetensors"
    metrics["modules"][0]["group"] = metrics["modules"][0]["kind"] = HOSTILE
    reader, clean = written(tmp_path / "page.html", metrics, grids), written(tmp_path / "clean.html", *compared(2, 3))
    assert not set("<>&") & set(reader.texts["script"][0])
    assert [name for name, _ in reader.tags] == [name for name, _ in clean.tags]
    assert reader.data["modules"]["name"][0] == reader.data["modules"]["group"][0] == HOSTILE
    assert reader.data["adapters"][0]["path"] == metrics["inputs"][0]["path"]
    assert reader.data["pairs"][0]["left"]["grids"][0] is not None
    assert reader.texts["title"][0].startswith("lorafold compare: ")


def test_names_that_are_no_unicode_do_not_stop_it(tmp_path):
    metrics, grids = compared(2, 3)
    metrics["inputs"][0]["path"] = "/loras/\udcff.safetensors"  # as Python reads a file name of other bytes
    assert written(tmp_path / "page.html", metrics, grids).data["adapters"][0]["name"] == "\udcff"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_write_text_only(script):
    text = script.read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text)
    assert not re.search(r"</script|<!--", text)


def test_every_script_is_in_the_page():
    assert sorted(document._SCRIPTS) == SCRIPTS


@pytest.mark.parametrize("merged", [False, True], ids=["compare", "merge"])
def test_a_stable_diffusion_pair_stays_below_5_mb(tmp_path, merged):
    path = tmp_path / "page.html"
    write_page(path, *many(264, 32, 64, merged=merged))
    assert path.stat().st_size < 5e6


def test_a_failed_write_leaves_the_old_page(tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    write_page(path, *compared(2, 3, names=NAMES[:1]))
    before = path.read_bytes()

    def fails(self, text, **options):
        self.write_bytes(text.encode()[:100])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", fails)
    with pytest.raises(OSError, match="disk full"):
        write_page(path, *compared(2, 3, names=NAMES[:2]))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
