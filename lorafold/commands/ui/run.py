"""One run of `lorafold ui`: the page is served until Ctrl-C."""

from __future__ import annotations

from importlib.util import find_spec

from lorafold.commands.ui.config import UiConfig
from lorafold.commands.ui.serve import serve
from lorafold.commands.ui.uploads import Upload
from lorafold.commands.ui.work import looked_at
from lorafold.common.errors import NOT_INSTALLED, LorafoldError
from lorafold.runs.inputs import one_or_more
from lorafold.runs.run import Run
from lorafold.runs.run_folder import withdraw_run


def ui(run: Run, config: UiConfig) -> None:
    """Serve the page on this machine; the run leaves nothing.

    Raises:
        LorafoldError: Gradio is not installed, a setting that cannot be, or an adapter that cannot be read.
    """
    spec = find_spec("gradio")
    if spec is None or spec.origin is None:  # a folder of that name where one stands is no package
        raise LorafoldError(f"lorafold ui {NOT_INSTALLED.format('ui')}")
    paths = [] if config.adapters is None else one_or_more(config.adapters, run.base)
    start = [Upload(path.name, path) for path in paths]
    for upload in start:
        looked_at(upload)
    serve(config, start)
    withdraw_run(run.folder)
