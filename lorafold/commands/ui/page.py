"""The page: what its controls do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from lorafold.commands.ui import words
from lorafold.commands.ui.controls import MOST, NUMBER, Controls
from lorafold.commands.ui.sessions import Session, Sessions
from lorafold.commands.ui.uploads import Upload, adapters_of, files_of, in_their_names, named
from lorafold.commands.ui.work import Answer, Form, compared, looked_at, merged
from lorafold.common.errors import LorafoldError
from lorafold.common.text import short_names

Updates = dict[Any, Any]  # what becomes of some controls
PROGRESS = gr.Progress()


def build(sessions: Sessions, device: str, start: Sequence[Upload] = ()) -> gr.Blocks:
    """The page.

    Args:
        sessions: where its files lie.
        device: on which it merges.
        start: adapters that it begins with.
    """
    # what was sent and never taken is removed after an hour
    with gr.Blocks(title="lorafold", analytics_enabled=False, fill_width=True, delete_cache=(3600, 3600)) as blocks:
        Page(Controls(), sessions, device, start).wire(blocks)
    return blocks


class Page:
    """What is done when a control is used."""

    def __init__(self, controls: Controls, sessions: Sessions, device: str, start: Sequence[Upload]) -> None:
        self.on, self.sessions, self.device, self.start = controls, sessions, device, start

    def wire(self, blocks: gr.Blocks) -> None:
        """Who calls what, and what it may change."""
        on = self.on
        adapters = [on.drop, on.cards, on.both, on.overlap, on.picture, *on.weights]
        answers = [on.result, on.download]
        taken = on.drop.upload(self.take, on.drop, [*adapters, *answers], show_progress_on=on.cards)
        on.statistics.upload(self.take_statistics, on.statistics, [on.statistics, on.calibrated])
        on.clear.click(self.forget, None, [*adapters, *answers, on.calibrated])
        on.weighted.change(lambda wanted: gr.update(visible=wanted), on.weighted, on.row, queue=False)
        on.scale.change(lambda how: gr.update(visible=how == NUMBER), on.scale, on.factor, queue=False)
        form = {on.rank, on.method, on.scale, on.factor, on.weighted, *on.weights}
        on.merge.click(self.merge, form, [*answers, on.picture], show_progress_on=on.result)
        blocks.unload(self.leave)
        opened = [blocks.load(self.begin, None, adapters)] if self.start else []
        for event in (taken, *opened):
            event.then(self.compare, None, adapters, show_progress_on=on.overlap)

    def begin(self, request: gr.Request) -> Updates:
        """The page is opened."""
        with self.sessions.at_work(request.session_hash) as session:
            self._admit(session, self.start)
            return self._shown(session)

    def take(self, files: Any, request: gr.Request) -> Updates:
        """Adapters were dropped."""
        with self.sessions.at_work(request.session_hash) as session:
            session.refused.clear()
            try:
                self._admit(session, adapters_of([*map(Path, files)], session.place()))
            except LorafoldError as error:
                session.refused.append(str(error))
            return {**self._shown(session), **self._no_answer(), self.on.drop: None}

    def compare(self, request: gr.Request) -> Updates:
        """Adapters have changed; those that turn out to be broken go."""
        with self.sessions.at_work(request.session_hash) as session:
            refused = len(session.refused)
            answer = self._compared(session)
            shown = self._shown(session) if len(session.refused) > refused else {self.on.picture: ""}
            if answer:
                shown[self.on.overlap] = words.answer(answer)
                shown[self.on.picture] = words.frame(answer.page, "Overlap of the adapters")
            return shown

    def take_statistics(self, files: Any, request: gr.Request) -> Updates:
        """Files of calibration were dropped, in place of earlier ones."""
        with self.sessions.at_work(request.session_hash) as session:
            session.calibration = files_of([*map(Path, files)], session.place())
            names = ", ".join(upload.name for upload in session.calibration)
            return {self.on.statistics: None, self.on.calibrated: words.line(f"Calibrated by {names}")}

    def merge(self, values: Updates, request: gr.Request, progress: gr.Progress = PROGRESS) -> Updates:
        """The button."""
        with self.sessions.at_work(request.session_hash) as session:
            form = self._form(values, len(session.adapters))

            def tell(stage: str, count: int, total: int) -> None:
                progress((count, total), desc=stage, unit="modules")

            try:
                answer = merged(session.adapters, session.calibration, form, session.place("merged"), tell)
            except LorafoldError as error:
                said = in_their_names(str(error), [*session.adapters, *session.calibration])
                return {**self._no_answer(), self.on.result: words.refusal(said)}
            return {
                self.on.result: words.answer(answer),
                self.on.download: gr.update(value=str(answer.file), visible=True),
                self.on.picture: words.frame(answer.page, "Overlap before and after the merge"),
            }

    def forget(self, request: gr.Request) -> Updates:
        """Start again."""
        with self.sessions.at_work(request.session_hash) as session:
            session.clear()
            return {**self._shown(session), **self._no_answer(), self.on.calibrated: ""}

    def leave(self, request: gr.Request) -> None:
        """The page is closed."""
        self.sessions.end(request.session_hash)

    def _admit(self, session: Session, arrived: Sequence[Upload]) -> None:
        """Take in what lorafold can read."""
        for upload in named(session.adapters, arrived)[len(session.adapters) :]:
            try:
                if len(session.adapters) == MOST:
                    remedy = "The command merges any number."
                    raise LorafoldError(f"more than {MOST} adapters", path=upload.name, remedy=remedy)
                session.entries.append(looked_at(upload))
                session.adapters.append(upload)
            except LorafoldError as error:
                session.refuse(upload, in_their_names(str(error), [upload]))

    def _compared(self, session: Session) -> Answer | None:
        """How those overlap that can be compared."""
        while len(session.adapters) > 1:
            try:
                return compared(session.adapters)
            except LorafoldError as error:
                said = in_their_names(str(error), session.adapters)
                if not self._dismissed(session, str(error.path), said):
                    session.refused.append(said)
                    break
        return None

    def _dismissed(self, session: Session, path: str, said: str) -> bool:
        """Without the adapter that an error is about, if it is about one."""
        for number, upload in enumerate(session.adapters):
            if path in (upload.name, str(upload.path)):
                del session.adapters[number], session.entries[number]
                session.refuse(upload, said)
                return True
        return False

    def _shown(self, session: Session) -> Updates:
        """The cards, and a slider for each adapter."""
        count = len(session.adapters)
        names = short_names([upload.name for upload in session.adapters])
        sliders = [gr.update(visible=True, label=name, value=round(1 / count, 2)) for name in names]
        hidden = [gr.update(visible=False)] * (MOST - count)
        return {
            self.on.cards: words.adapters(session.entries, session.refused),
            self.on.both: gr.update(visible=count > 1),
            **dict.fromkeys((self.on.overlap, self.on.picture), ""),
            **dict(zip(self.on.weights, [*sliders, *hidden], strict=True)),
        }

    def _no_answer(self) -> Updates:
        return {self.on.result: "", self.on.download: gr.update(visible=False)}

    def _form(self, values: Updates, count: int) -> Form:
        on = self.on
        scale = values[on.scale]
        return Form(
            rank=values[on.rank],
            method=values[on.method],
            scale=values[on.factor] if scale == NUMBER else scale,
            weights=tuple(values[slider] for slider in on.weights[:count]) if values[on.weighted] else None,
            device=self.device,
        )
