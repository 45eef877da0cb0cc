"""Who has the page open, each with a folder that is removed when the page is closed."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorafold.commands.ui.uploads import Upload


@dataclass
class Session:
    """What lies on one page.

    Args:
        folder: for its files alone; no name in it comes from outside.
        adapters: in the order in which they were dropped.
        entries: what `inspect` tells of each.
        refused: why others do not take part.
        calibration: files of statistics.
    """

    folder: Path
    adapters: list[Upload] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    calibration: list[Upload] = field(default_factory=list)

    def place(self, name: str | None = None) -> Path:
        """An empty folder in it: a new one, or the one of that name."""
        place = self.folder / (name or secrets.token_hex(4))
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        return place

    def refuse(self, upload: Upload, why: str) -> None:
        """Say why it does not take part, and remove its files, unless they are not of this page."""
        self.refused.append(why)
        place = upload.path if upload.path.is_dir() else upload.path.parent
        if place.is_relative_to(self.folder):
            shutil.rmtree(place, ignore_errors=True)

    def clear(self) -> None:
        """As if nothing had been dropped."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for everything in (self.adapters, self.entries, self.refused, self.calibration):
            everything.clear()


class Sessions:
    """All of them, by the key that a browser sends, of which no path is made; `root` is the folder of their folders."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._open: dict[str | None, Session] = {}
        root.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def at_work(self, key: str | None) -> Iterator[Session]:
        """The session, for as long as something is done in it: if it ends meanwhile, nothing stays either."""
        session = self._open.setdefault(key, Session(self.root / secrets.token_hex(16)))
        try:
            yield session
        finally:
            if self._open.get(key) is not session:
                session.clear()

    def end(self, key: str | None) -> None:
        """Its page is closed."""
        if session := self._open.pop(key, None):
            session.clear()
