"""`hf:user/repository@revision`, against a hub on this machine that answers what huggingface_hub asks."""

from __future__ import annotations

import json
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote

import pytest

from tests.command_lines import python

REPOSITORIES = {
    "user/one": {"README.md": b"x", "style.safetensors": b"style"},
    "user/one@v1": {"style.safetensors": b"earlier"},
    "user/one@refs/pr/3": {"a@2.safetensors": b"proposed"},
    "user/peft@v1": {"adapter_config.json": b"{}", "adapter_model.safetensors": b"earlier"},
    "user/peft": {"adapter_config.json": b"{}", "adapter_model.safetensors": b"p", "optimizer.safetensors": b"o"},
    "user/many": {"a.safetensors": b"a", "sub/b (1).safetensors": b"b"},
    "user/none": {"README.md": b"x"},
}


class Hub(BaseHTTPRequestHandler):
    """Lists and serves the repositories."""

    def log_message(self, *_):
        """Nothing."""

    def do_HEAD(self):
        self.answer(*self.found(), body=False)

    def do_GET(self):
        self.answer(*self.found())

    def found(self):
        """The status, headers and body for what is asked for."""
        path = unquote(self.path.partition("?")[0])
        for key, files in REPOSITORIES.items():
            name, _, revision = key.partition("@")
            if path == f"/api/models/{name}/tree/{revision or 'main'}":
                entries = [{"type": "file", "path": file, "size": 1, "oid": "0" * 40} for file in files]
                return 200, {"Content-Type": "application/json"}, json.dumps(entries).encode()
            file = path.removeprefix(f"/{name}/resolve/{revision or 'main'}/")
            commit = sha256(key.encode()).hexdigest()[:40]
            if file in files:
                return 200, {"X-Repo-Commit": commit, "ETag": f'"{sha256(files[file]).hexdigest()}"'}, files[file]
            if file != path:
                return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, b""
        known = any(f"/{name}/" in path for name in REPOSITORIES)
        return 404, {"X-Error-Code": "RevisionNotFound" if known else "RepoNotFound"}, b""

    def answer(self, status, headers, content, body=True):
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


CASES = {
    "hf:user/one": ["style.safetensors: style"],
    "hf:user/one@v1": ["style.safetensors: earlier"],
    "hf:user/one/style.safetensors@v1": ["style.safetensors: earlier"],
    "hf:user/one@refs/pr/3": ["a@2.safetensors: proposed"],
    "hf:user/one/a@2.safetensors@refs/pr/3": ["a@2.safetensors: proposed"],
    "hf:user/one/a@2.safetensors": "hf download user/one a@2.safetensors --local-dir one; then name one/a@2",
    "hf:user/one@nix": "hf download user/one --revision nix --local-dir one; then name one",
    "hf:user/one/x.safetensors@v1": "hf download user/one x.safetensors --revision v1 --local-dir one; then name one/x",
    "hf:user/many/sub/b (1).safetensors": ["b (1).safetensors: b"],
    "hf:user/peft": ["adapter_config.json: {}", "adapter_model.safetensors: p"],
    "hf:user/peft@v1": ["adapter_config.json: {}", "adapter_model.safetensors: earlier"],
    "hf:user/many": "2 safetensors files there, expected one adapter. Name one of them: hf:user/many/FILE, with a.safe",
    "hf:user/none": "0 safetensors files there",
    "hf:user/nobody": "not fetched (RepositoryNotFoundError",
    "hf:user/one/x (1).safetensors": "hf download user/one 'x (1).safetensors' --local-dir one; then name one/x (1)",
    "hf:user/one/x.safetensors": "hf download user/one x.safetensors --local-dir one; then name one/x.safetensors",
    "hf:nonsense": "Write hf:user/repository",
    "hf:user/one@": "and @revision last",
    "hf:user/one@v1/style.safetensors": "and @revision last",
}
CODE = """
import json, sys
from lorafold.common.errors import LorafoldError
from lorafold.runs.hub import fetched
def outcome(name):
    try:
        path = fetched(name)
    except LorafoldError as error:
        return str(error)
    return [f"{each.name}: {each.read_text()}" for each in (sorted(path.iterdir()) if path.is_dir() else [path])]
print(json.dumps({name: outcome(name) for name in sys.argv[1:]}))
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What comes of each name, in a process of its own: huggingface_hub reads its settings once."""
    pytest.importorskip("huggingface_hub")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    place = tmp_path_factory.mktemp("hub")
    settings = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(place), "HF_HUB_OFFLINE": "0"}
    process = python("-c", CODE, *CASES, cwd=place, HF_HUB_DISABLE_XET="1", NO_PROXY="*", **settings)
    server.shutdown()
    server.server_close()
    assert process.stderr == ""
    return json.loads(process.stdout)


@pytest.mark.parametrize("name", CASES)
def test_what_a_name_on_the_hub_becomes(outcomes, name):
    expected, outcome = CASES[name], outcomes[name]
    assert outcome == expected if isinstance(expected, list) else expected in outcome, outcome
