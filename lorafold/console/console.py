"""Rich's console, for what a command prints."""

from __future__ import annotations

import rich.console


class Console(rich.console.Console):
    """One that leaves it to the program how to end where the reader of a pipe has left."""

    def on_broken_pipe(self) -> None:
        raise  # the BrokenPipeError that is being handled
