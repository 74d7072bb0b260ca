"""What tests of agents need: a model server that answers at once, or misbehaves on request."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from daskagents.errors import UsageError
from daskagents.models import fake
from daskagents.models.fake import Stats
from daskagents.models.process import ServerProcess

__all__ = ["ModelServer", "Stats", "model_server"]


class ModelServer:
    """A running model server; see `model_server`.

    Parameters
    ----------
    port
        The port on loopback that it listens on.
    pid
        The id of its process.
    """

    def __init__(self, port: int, pid: int) -> None:
        self.pid = pid
        #: What to give as ``base_url``.
        self.url = f"http://127.0.0.1:{port}/v1"

    def stats(self) -> Stats:
        """Return what the server has seen so far."""
        with urllib.request.urlopen(f"{self.url}/stats", timeout=30) as answer:
            return msgspec.json.decode(answer.read(), type=Stats)


@contextmanager
def model_server(
    *,
    latency: float = 0.0,
    answer: str | None = None,
    fail: Mapping[int | str, int] | None = None,
    retry_after: float | None = None,
    api_key: str | None = None,
    models: tuple[str, ...] | None = ("test",),
    seed: int = 0,
) -> Iterator[ModelServer]:
    """Serve the OpenAI interface from a process of its own, as long as the block lasts.

    Parameters
    ----------
    latency
        Seconds from a request to its answer.
    answer
        The text of every answer. None (the default) answers as the request asks: an object that
        fits its ``response_format``, else a number from 0 to 100, both a function of `seed` and
        of the body of the request alone.
    fail
        Faults, and for each that every how many-th chat has it (1: every one). A fault is an HTTP
        status, or ``"malformed"`` (a body that is no JSON), ``"nonsense"`` (a text that fits no
        schema), ``"empty"`` (no choices), ``"hang"`` (no answer, ever) or ``"reset"`` (the
        connection is torn down).
    retry_after
        Seconds that answers of status 429 and 503 ask to wait.
    api_key
        The key to insist on; a request with another is refused with one that quotes it.
    models
        The models to list; None: there is no such route.
    seed
        Chooses the answers.

    Raises
    ------
    UsageError
        If there is no such fault.

    Yields
    ------
    ModelServer
        Its `url` is what to give as ``base_url``; `stats` tells what it has seen.

    Examples
    --------
    >>> with model_server(answer="Hello.") as server:
    ...     server.stats().requests
    0
    """
    faults = {str(fault): every for fault, every in (fail or {}).items()}
    for fault, every in faults.items():
        if not (fault in fake.FAULTS or fault.isdigit()) or every < 1:
            known = ", ".join(fake.FAULTS)
            raise UsageError(f"fail={{{fault!r}: {every}}}: a fault is a status or one of {known}")
    script = fake.Script(latency, answer, faults, retry_after, api_key, models, seed)
    process = ServerProcess(Path(fake.__file__), msgspec.json.encode(script).decode())
    try:
        yield ModelServer(process.port, process.pid)
    finally:
        process.stop()
