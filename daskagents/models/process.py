"""A server in a process of its own that cannot outlive the process that started it."""

from __future__ import annotations

import select
import subprocess
import sys
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path
from typing import IO

from daskagents.errors import EndpointError

#: How much of a dead server's output its error shows, in bytes.
_TAIL = 2_000


class ServerProcess:
    """A script that serves on loopback, prints its port as one line, and ends when told to.

    Its standard input is a pipe that nothing is written to. The pipe closes when this process
    ends, however it ends (kill -9 too), and the script takes that as its own end. It runs in a
    process group of its own, so that Ctrl-C reaches only us.

    Parameters
    ----------
    script
        The file to run; it is run by path, so that it need not import the package.
    arguments
        What follows it on the command line.
    timeout
        Seconds until the port must have been printed.
    patience
        Seconds that it has to end when told to; then it is killed.

    Raises
    ------
    EndpointError
        If it ends, or prints nothing in time; with the last that it wrote to standard error.
    """

    def __init__(
        self, script: Path, *arguments: str, timeout: float = 60.0, patience: float = 5.0
    ) -> None:
        errors = tempfile.TemporaryFile()  # noqa: SIM115
        process = subprocess.Popen(
            [sys.executable, "-P", str(script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            process_group=0,
        )
        self._process = process
        #: Stop the server and wait for its end; also done when this is collected, and at exit.
        self.stop = weakref.finalize(self, _stop, process, errors, patience)
        try:
            #: The port that the server listens on.
            self.port = _port(process, timeout)
        except ValueError as error:
            wrote = _tail(errors)
            self.stop()
            raise EndpointError(f"{script.name} {error}; the last it wrote:\n{wrote}") from None

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the server still runs."""
        return self.stop.alive and self._process.poll() is None


def _port(process: subprocess.Popen[bytes], timeout: float) -> int:
    """Return the port that a server prints, or tell by a ValueError why there is none."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], timeout)
    if not ready:
        raise ValueError(f"did not start within {timeout:g} s")
    line = process.stdout.readline().strip()
    if line.isdigit():
        return int(line)
    if line:
        raise ValueError("did not print a port")
    # Its output is closed: it has ended, or is about to.
    with suppress(subprocess.TimeoutExpired):
        process.wait(1)
    raise ValueError(f"ended with {process.returncode}")


def _tail(errors: IO[bytes]) -> str:
    """Return the end of what was written to standard error."""
    errors.seek(0)
    return errors.read()[-_TAIL:].decode(errors="replace").strip() or "(nothing)"


def _stop(process: subprocess.Popen[bytes], errors: IO[bytes], patience: float) -> None:
    """End a server, gently at first."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
    errors.close()
