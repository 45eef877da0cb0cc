"""A folder for each page, whatever its browser says, and gone with it."""

from __future__ import annotations

from pathlib import Path

from lorafold.commands.ui.sessions import Sessions
from lorafold.commands.ui.uploads import Upload


def filled(place: Path) -> Path:
    (place / "a.safetensors").write_bytes(b"x")
    return place / "a.safetensors"


def test_a_page_has_one_folder_and_no_other_page_has_it(tmp_path):
    sessions = Sessions(tmp_path / "root")
    keys = ["../../etc", "b", None]
    folders = []
    for key in keys * 2:
        with sessions.at_work(key) as session:
            folders.append(session.folder)
    assert folders[:3] == folders[3:] and len({*folders}) == 3
    assert {folder.parent for folder in folders} == {tmp_path / "root"}


def test_it_goes_with_the_page(tmp_path):
    sessions = Sessions(tmp_path)
    with sessions.at_work("a") as session:
        filled(session.place())
    sessions.end("a")
    sessions.end("a")
    assert [*tmp_path.iterdir()] == []


def test_what_is_still_made_when_the_page_closes_goes_too(tmp_path):
    sessions = Sessions(tmp_path)
    with sessions.at_work("a") as session:
        sessions.end("a")
        filled(session.place())
    assert [*tmp_path.iterdir()] == []


def test_refused_files_go_at_once_and_those_of_the_user_stay(tmp_path):
    own = filled(tmp_path)
    with Sessions(tmp_path / "root").at_work("a") as session:
        dropped = filled(session.place())
        for path in (dropped, own):
            session.refuse(Upload("a", path), "why")
        assert session.refused == ["why", "why"] and own.exists() and not dropped.exists()
