"""What stands before Gradio: only the page's own address is answered, and the browser loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

# Gradio's own scripts stand in its page and make functions of templates.
_POLICY = b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"
_HEADERS = ((b"content-security-policy", _POLICY), (b"referrer-policy", b"no-referrer"))


class Guard:
    """An ASGI application around another.

    Args:
        app: the one inside.
        hosts: names under which it is asked for; others are those of strangers' pages that lead here (DNS rebinding).
            None: any.
    """

    def __init__(self, app: Application, hosts: Sequence[str] | None = None) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif self._is_foreign(scope):
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"not for this address"})
        else:
            await self.app(scope, receive, _with_headers(send))

    def _is_foreign(self, scope: Message) -> bool:
        """Another host's name, or a file that the server is to fetch from the network."""
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1").rpartition(":")[0]
        return (self.hosts is not None and host not in self.hosts) or "file=http" in scope["path"].lower()


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *_HEADERS]
        await send(message)

    return sent
