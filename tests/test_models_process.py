from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from daskagents.errors import EndpointError
from daskagents.models.process import ServerProcess

#: A program that starts a server, prints its id, and waits until it is told to end.
PARENT = """
import sys
from daskagents.testing import model_server
with model_server() as server:
    print(server.pid, flush=True)
    sys.stdin.read()
"""


#: One that Ctrl-C does not end.
STUBBORN = """
import signal, sys, time
from daskagents.testing import model_server
heard = []
signal.signal(signal.SIGINT, lambda *_: heard.append(True))
with model_server() as server:
    print(server.pid, flush=True)
    while not heard:  # not by reading: a signal just before would not interrupt it
        time.sleep(0.01)
    print("interrupted", flush=True)
    sys.stdin.readline()
    print(server.stats().requests, flush=True)
"""


def start(program: str) -> subprocess.Popen[bytes]:
    """Start a program in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def wait_until_gone(pid: int) -> None:
    wait_until(lambda: is_gone(pid))


def script(folder: Path, text: str) -> Path:
    file = folder / "server.py"
    file.write_text(text)
    return file


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_it_ends_with_its_parent(how: int) -> None:
    with start(PARENT) as parent:
        pid = int(parent.stdout.readline())
        assert not is_gone(pid)
        os.killpg(parent.pid, how)  # as Ctrl-C does: to the whole group
        wait_until_gone(pid)


def test_ctrl_c_is_for_its_parent_alone() -> None:
    with start(STUBBORN) as parent:
        parent.stdout.readline()
        os.killpg(parent.pid, signal.SIGINT)
        assert parent.stdout.readline() == b"interrupted\n"
        parent.stdin.write(b"\n")
        parent.stdin.flush()
        assert parent.stdout.readline() == b"0\n"


def test_it_is_stopped_and_collected(tmp_path: Path) -> None:
    file = script(tmp_path, "import sys; print(1234, flush=True); sys.stdin.read()")
    server = ServerProcess(file)
    assert server.alive
    assert server.port == 1234
    pid = server.pid
    server.stop()
    assert not server.alive
    wait_until_gone(pid)
    server = ServerProcess(file)
    pid = server.pid
    del server
    wait_until_gone(pid)


def test_it_is_killed_if_it_will_not_end(tmp_path: Path) -> None:
    text = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(1, flush=True)
while True: time.sleep(1)
"""
    server = ServerProcess(script(tmp_path, text), patience=0.2)
    server.stop()
    wait_until_gone(server.pid)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import sys; sys.exit('no such weights')", "ended with 1; .*\nno such weights"),
        ("raise SystemExit(3)", r"ended with 3; .*\n\(nothing\)"),
        ("print('hello', flush=True); input()", "did not print a port"),
        ("import time; time.sleep(60)", "did not start within 1 s"),
    ],
)
def test_it_tells_why_it_does_not_start(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(EndpointError, match=rf"server.py {said}"):
        ServerProcess(script(tmp_path, text), timeout=1.0)
