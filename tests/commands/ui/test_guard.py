"""Who is answered, and what the browser may load."""

from __future__ import annotations

import asyncio

import pytest

from lorafold.commands.ui.guard import Guard


def asked(path: str, host: str, hosts: tuple[str, ...] | None = ("127.0.0.1", "localhost")) -> dict:
    """The beginning of the answer."""
    said: list[dict] = []

    async def inside(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        said.append(message)

    scope = {"type": "http", "path": path, "headers": [(b"host", host.encode())]}
    asyncio.run(Guard(inside, hosts)(scope, None, send))
    return said[0]


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7861"])
def test_the_page_may_load_nothing_from_elsewhere(host):
    answer = asked("/", host)
    policy = dict(answer["headers"])[b"content-security-policy"]
    assert answer["status"] == 200 and policy.startswith(b"default-src 'self'") and b"http" not in policy


@pytest.mark.parametrize("host", ["evil.example:7860", "127.0.0.1.evil.example:7860", ""])
def test_another_name_that_leads_here_is_not_answered(host):
    assert asked("/", host)["status"] == 403
    assert asked("/", host, hosts=None)["status"] == 200


def test_nothing_is_fetched_for_others():
    assert asked("/gradio_api/file=HTTPS://example.com/a", "127.0.0.1:7860", hosts=None)["status"] == 403
