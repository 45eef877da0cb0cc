"""One run of `lorafold ui`: the page is served until Ctrl-C."""

from __future__ import annotations

from importlib.util import find_spec

from lorafold.commands.ui.config import UiConfig
from lorafold.commands.ui.serve import serve
from lorafold.commands.ui.uploads import Upload
from lorafold.common.errors import NOT_INSTALLED, LorafoldError
from lorafold.runs.inputs import one_or_more
from lorafold.runs.run import Run
from lorafold.runs.run_folder import withdraw_run


def ui(run: Run, config: UiConfig) -> None:
    """Serve the page on this machine; the run leaves nothing.

    Raises:
        LorafoldError: Gradio is not installed, or a setting that cannot be.
    """
    if find_spec("gradio") is None:
        raise LorafoldError(f"lorafold ui {NOT_INSTALLED.format('ui')}")
    paths = [] if config.adapters is None else one_or_more(config.adapters, run.base)
    serve(config, [Upload(path.name, path) for path in paths])
    withdraw_run(run.folder)
