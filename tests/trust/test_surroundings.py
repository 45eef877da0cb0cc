"""What lorafold does not do: no network, no traces in the process that imports it, no names of folders in its files."""

from __future__ import annotations

import json
import os
import platform
import socket
from pathlib import Path

import pytest

from lorafold.commands.merge import run
from lorafold.commands.merge.config import MergeConfig
from lorafold.runs.run import Run
from tests import command_lines
from tests.adapters.samples import kohya_file, kohya_pair


def python(code: str, *arguments: str, cwd: Path = command_lines.ROOT) -> str:
    process = command_lines.python("-c", code, *arguments, cwd=cwd)
    assert process.returncode == 0, process.stderr
    return process.stdout


OFFLINE = """
import socket, sys
reached = []
def blocked(*arguments, **options):
    reached.append(arguments)
    raise OSError("no network")
def audit(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.bind", "socket.sendto",
                 "urllib.Request", "http.client.connect", "ssl.wrap_socket"):
        blocked(event, arguments)
sys.addaudithook(audit)
socket.socket.connect = socket.getaddrinfo = socket.create_connection = blocked
sys.argv = ["lorafold", *sys.argv[1:]]
from lorafold.cli.app import main
main()
assert not reached, reached
print("offline")
"""


def test_a_merge_and_its_page_need_no_network(tmp_path: Path) -> None:
    assert "offline" in python(OFFLINE, "merge", "rank=2", "solver=alternating", "threads=1", cwd=tmp_path)
    (page,) = tmp_path.rglob("overlap.html")
    text = page.read_text(encoding="utf-8")
    assert 'src="http' not in text and 'href="http' not in text and "@import" not in text


STATE = """
import json, logging, os, random, signal, sys, threading, warnings
import numpy, torch
def state():
    return {
        "dtype": str(torch.get_default_dtype()), "threads": [torch.get_num_threads(), torch.get_num_interop_threads()],
        "device": str(torch.get_default_device()), "grad": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "seeds": [torch.initial_seed(), torch.random.get_rng_state().sum().item(), hash(random.getstate()),
                  int(numpy.random.get_state()[1].sum())],
        "errors": numpy.geterr(), "printing": repr(numpy.get_printoptions()), "repr": repr(torch.rand(0)),
        "filters": [repr(entry) for entry in warnings.filters], "showwarning": repr(warnings.showwarning),
        "environ": dict(os.environ), "path": sys.path[:], "cwd": os.getcwd(), "recursion": sys.getrecursionlimit(),
        "hooks": [repr(sys.excepthook), repr(sys.displayhook), repr(threading.excepthook)],
        "signals": [repr(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)],
        "logging": [logging.root.level, repr(logging.root.handlers), logging.root.manager.disable],
        "threads alive": threading.active_count(), "excepthook": repr(threading.excepthook),
    }
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import scipy.linalg, scipy.stats, geoopt, safetensors.torch  # what they change is theirs
before = state()
import lorafold
for name in lorafold.__all__:
    getattr(lorafold, name)
imported = state()
"""
COMPARED = """
for name, found in (("import", imported), ("merge", state())):
    changed = {key: (before[key], found[key]) for key in before if before[key] != found[key]}
    assert not changed, (name, changed)
print(len(before))
"""
MERGED = """
import sys
result = lorafold.merge(sys.argv[1:3], rank=2)
lorafold.save(result.adapter, sys.argv[3])
"""


def test_import_and_merge_change_no_global_state(tmp_path: Path) -> None:
    files = [str(kohya_file(tmp_path / f"{name}.safetensors", kohya_pair())) for name in "ab"]
    assert int(python(STATE + MERGED + COMPARED, *files, str(tmp_path / "m.safetensors"))) > 15


def test_import_loads_no_torch() -> None:
    assert python("import lorafold, sys; print('torch' in sys.modules, 'hydra' in sys.modules)") == "False False\n"


def test_a_merged_file_names_no_folder_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where the inputs were nor who made it: only names of files."""
    host = "a-host-of-no-other-name"
    for module, function in ((socket, "gethostname"), (platform, "node")):
        monkeypatch.setattr(module, function, lambda: host)
    named = os.uname_result((os.uname()[0], host, *os.uname()[2:]))
    monkeypatch.setattr(os, "uname", lambda: named)
    monkeypatch.setattr(platform, "_uname_cache", None)  # so that it asks again
    assert platform.uname().node == os.uname().nodename == host
    secret = tmp_path / "home-of-somebody"
    secret.mkdir()
    files = [str(kohya_file(secret / f"{name}.safetensors", kohya_pair())) for name in "ab"]
    (secret / "run").mkdir()
    job = MergeConfig(rank=2, solver="alternating", adapters=files, page=True)
    metrics = run.merge(Run(secret / "run", secret, alone=False), job)
    written = Path(metrics["output"]["path"]).read_bytes()
    page = (secret / "run" / "overlap.html").read_bytes()
    assert host.encode() not in written + page
    for word in (b"somebody", str(tmp_path).encode()):
        assert word not in written
    header = json.loads(written[8 : 8 + int.from_bytes(written[:8], "little")])
    assert '"file":"a.safetensors"' in header["__metadata__"]["lorafold"]
