"""Sweeps on a Ray cluster that runs already: of two nodes, which stand on one machine here."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.cli.test_sweep import MEETING, SWEEP, records
from tests.command_lines import ROOT
from tests.command_lines import new_process as run

RAY = Path(sys.executable).parent / "ray"
pytestmark = pytest.mark.skipif(not RAY.exists(), reason="no ray")

WHERE = """
import ray

from meeting import meet


def seen(adapter):
    return {**meet(adapter), "node": int(ray.get_runtime_context().get_node_id()[:8], 16)}
"""


@pytest.fixture
def environ():
    """For a cluster that has nothing to do with any other of this user's, and lets nobody else in."""
    with TemporaryDirectory(prefix="ray-") as folder:  # of a short name: sockets lie in it
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex()}
        yield {**token, "RAY_TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)}


@contextmanager
def node(environ, *arguments):
    """A node of one CPU, as long as it is needed; it ends with all that it started."""
    command = (RAY, "start", "--block", "--num-cpus=1", "--object-store-memory=100000000", *arguments)
    process = subprocess.Popen(
        command, env={**os.environ, **environ}, start_new_session=True, stdout=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def address(environ):
    """Of a cluster of two nodes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ExitStack() as nodes:
        here = "--node-ip-address=127.0.0.1"
        nodes.enter_context(node(environ, here, "--head", f"--port={port}", "--include-dashboard=false"))
        _wait_for(port)
        nodes.enter_context(node(environ, here, f"--address=127.0.0.1:{port}"))
        yield f"127.0.0.1:{port}"


def _wait_for(port):
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on {port}")


@pytest.mark.slow
def test_runs_go_to_all_nodes_of_a_cluster(address, environ, tmp_path):
    """Each of the two runs waits for the other, so that one node cannot have done both."""
    (tmp_path / "meeting.py").write_text(MEETING)
    (tmp_path / "where.py").write_text(WHERE)
    options = ("hydra/launcher=ray", f"hydra.launcher.address={address}", "evaluator=where:seen")
    process = run(*SWEEP, "rank=2,3", *options, cwd=tmp_path, **environ)
    assert process.returncode == 0, process.stderr
    one, other = (record["evaluation"] for record in records(tmp_path / "sweep").values())
    assert one["node"] != other["node"]
    assert max(one["begin"], other["begin"]) < min(one["end"], other["end"])


def test_no_cluster_is_said_in_one_line(environ, tmp_path):
    process = run(*SWEEP, "rank=2,3", "hydra/launcher=ray", cwd=tmp_path, RAY_ADDRESS="auto", **environ)
    assert process.returncode == 1
    assert process.stderr.startswith("lorafold: error: no Ray cluster")
    assert len(process.stderr.splitlines()) == 1
