"""The server: one address, no telemetry, and one temporary folder for all that it is given and makes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from lorafold.commands.ui.config import UiConfig
from lorafold.commands.ui.guard import Guard
from lorafold.commands.ui.sessions import Sessions
from lorafold.commands.ui.uploads import Upload
from lorafold.common.errors import LorafoldError
from lorafold.common.parallel import cpu_threads
from lorafold.console.lines import tell

LOCAL = "127.0.0.1"


def serve(config: UiConfig, start: Sequence[Upload] = (), host: str = LOCAL) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Args:
        config: the settings of the command.
        start: adapters that every page begins with; they stay where they are.
        host: the address; another than this machine's own is for containers.

    Raises:
        LorafoldError: a size that is none, or a port that is taken.
    """
    if config.max_size < 1:
        raise LorafoldError(f"max_size={config.max_size}, expected megabytes", remedy="For example max_size=2000.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        TemporaryDirectory(prefix="lorafold-ui-", ignore_cleanup_errors=True) as root,
        cpu_threads(config.threads),
        suppress(KeyboardInterrupt),
    ):
        # Gradio reads these when it is imported.
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
        os.environ["GRADIO_TEMP_DIR"] = str(Path(root) / "uploads")
        _until_interrupted(config, start, host, Sessions(Path(root) / "sessions"))


def _until_interrupted(config: UiConfig, start: Sequence[Upload], host: str, sessions: Sessions) -> None:
    import gradio
    from starlette.middleware import Middleware

    from lorafold.commands.ui.controls import CSS, THEME
    from lorafold.commands.ui.page import build

    gradio.set_static_paths([sessions.root])  # served from where they are: no copy outlives a session
    page = build(sessions, config.device, start)
    hosts = (host, "localhost") if host == LOCAL and not config.share else None
    try:
        _, address, public = page.queue(default_concurrency_limit=1, max_size=32, api_open=False).launch(
            server_name=host,
            server_port=config.port,
            share=config.share,
            inbrowser=config.browser,
            max_file_size=f"{config.max_size}mb",
            app_kwargs={"middleware": [Middleware(Guard, hosts=hosts)]},
            theme=THEME,
            css_paths=CSS,
            footer_links=[],
            **_NOT_OURS,
        )
    except OSError as error:
        remedy = "Another program uses it; leave it out for the first free one."
        raise LorafoldError(f"port={config.port} cannot be opened", remedy=remedy) from error
    try:
        tell(f"lorafold ui: {public or address} (Ctrl-C ends it)")
        threading.Event().wait()
    finally:
        page.close(verbose=False)


# Of Gradio: what prints, watches, or needs a server of its own.
_NOT_OURS = {
    "quiet": True,
    "prevent_thread_lock": True,
    "enable_monitoring": False,
    "ssr_mode": False,
    "pwa": False,
    "mcp_server": False,
    "run_history": False,
}
