"""Files that are replaced as a whole."""

from __future__ import annotations

import os

from lorafold.adapters.files.atomic import staged, write_text


def test_what_is_written_reaches_the_disk_before_its_name_and_the_name_after_it(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append((os.fstat(file).st_ino, (tmp_path / "a").exists())))
    write_text(tmp_path / "a", "ü\n")
    assert synced == [((tmp_path / "a").stat().st_ino, False), (tmp_path.stat().st_ino, True)]
    assert (tmp_path / "a").read_bytes() == "ü\n".encode()


def test_a_folder_takes_the_place_of_another(tmp_path):
    for word in ("old", "new"):
        with staged(tmp_path / "a") as scratch:
            scratch.mkdir()
            (scratch / word).touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
