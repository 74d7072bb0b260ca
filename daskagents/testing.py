"""What tests of agents need: a model server that answers at once, or misbehaves on request."""

from __future__ import annotations

import http.client
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from daskagents import fake_server
from daskagents.errors import EndpointError, UsageError
from daskagents.fake_server.distributions import (
    Distribution,
    Exponential,
    Lognormal,
    Normal,
    Uniform,
)
from daskagents.fake_server.script import (
    Batching,
    Choice,
    Echo,
    Fault,
    LevelK,
    Limits,
    PrefixCache,
    Strategy,
)
from daskagents.fake_server.seen import Stats
from daskagents.fake_server.settings import Fails, script_of
from daskagents.models.process import ServerProcess

__all__ = [
    "Batching",
    "Choice",
    "Echo",
    "Exponential",
    "Fault",
    "LevelK",
    "Limits",
    "Lognormal",
    "ModelServer",
    "Normal",
    "PrefixCache",
    "Stats",
    "Uniform",
    "model_server",
]


class ModelServer:
    """A model server in a process of its own; see `model_server`.

    Parameters
    ----------
    port
        The port on loopback to listen on; 0: any that is free. It is kept for the server until
        `close`, also while it is killed.
    **settings
        As for `model_server`.

    Examples
    --------
    >>> with model_server(answer="Hello.") as server:
    ...     server.change(fail={503: 1})
    ...     server.kill()
    ...     server.start()
    ...     server.stats().chats
    0
    """

    def __init__(self, port: int = 0, **settings: Any) -> None:
        self._script = script_of(**settings)
        self._kept = _keep(port)
        self._port = self._kept.getsockname()[1]
        #: What to give as ``base_url``.
        self.url = f"http://127.0.0.1:{self._port}/v1"
        self._process: ServerProcess | None = None
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.alive

    def start(self) -> None:
        """Start it, where it does not run; it begins to count anew."""
        if not self.alive:
            script = Path(fake_server.__file__).with_name("__main__.py")
            said = msgspec.json.encode(self._script).decode()
            self._process = ServerProcess(script, said, str(self._port))
            #: The id of its process; once it is stopped, of the one that it was.
            self.pid = self._process.pid

    def kill(self) -> None:
        """Kill it, as a machine dies: connections break, and new ones are refused."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.stop()
            self._process = None

    def close(self) -> None:
        """Stop it for good."""
        if self._process is not None:
            self._process.stop()
            self._process = None
        self._kept.close()

    def stats(self) -> Stats:
        """Return what the server has seen since it was started."""
        return msgspec.json.decode(self._ask("GET", "stats"), type=Stats)

    def change(self, **settings: Any) -> None:
        """Let it behave otherwise from now on, while it runs.

        Parameters
        ----------
        **settings
            As for `model_server`; the others stay as they are. New faults, limits, slots and
            caches begin at nothing; what has been seen stays.
        """
        self._script = script_of(self._script, **settings)
        if self._process is not None:
            self._ask("POST", "control", msgspec.json.encode(self._script))

    def pause(self) -> None:
        """Hold all answers back until `resume`; requests are taken."""
        self.change(paused=True)

    def resume(self) -> None:
        """Send what was held back, and go on."""
        self.change(paused=False)

    def _ask(self, verb: str, route: str, body: bytes | None = None) -> bytes:
        """Return what the server answers on a route for the test alone."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request(verb, f"/v1/{route}", body)
            answer = connection.getresponse()
            said = answer.read()
        except OSError as error:
            raise EndpointError(f"{self.url}: the model server does not answer: {error}") from None
        finally:
            connection.close()
        if answer.status != 200:
            raise EndpointError(f"{self.url}: {said.decode(errors='replace')}")
        return said


def _keep(port: int) -> socket.socket:
    """Return a socket that keeps a port for the server: bound, but not listening."""
    kept = socket.socket()
    try:
        if port:
            # Two who share a port would share its connections: this one must be free.
            with socket.socket() as alone:
                alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                alone.bind(("127.0.0.1", port))
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(("127.0.0.1", port))
    except OSError as error:
        kept.close()
        raise UsageError(f"port={port}: {error.strerror}; 0 takes one that is free") from None
    return kept


@contextmanager
def model_server(
    *,
    latency: float | Distribution = 0.0,
    answer: str | Strategy | None = None,
    fail: Fails = None,
    retry_after: float | None = None,
    api_key: str | None = None,
    models: tuple[str, ...] | None = ("test",),
    seed: int = 0,
    vary: bool = False,
    limits: Limits | None = None,
    batching: Batching | None = None,
    cache: PrefixCache | None = None,
    reasoning: int = 0,
    most_choices: int = 128,
    refuse: tuple[str, ...] = (),
    ignore: tuple[str, ...] = (),
    port: int = 0,
) -> Iterator[ModelServer]:
    """Serve the OpenAI interface from a process of its own, as long as the block lasts.

    Parameters
    ----------
    latency
        Seconds from a request to its answer, or what they are drawn from.
    answer
        The text of every answer, or a strategy: a distribution of numbers, `Choice`, `LevelK` or
        `Echo`. None (the default) answers as the request asks: an object that fits its
        ``response_format``, else a number from 0 to 100. Strategies that draw numbers or texts
        put them into such an object, where they fit.
    fail
        Faults: an HTTP status or a name, and how often. A whole number fails every how many-th
        chat (1: every one), a fraction is a probability. Or a list of `Fault`, for scripts. The
        first that fits a chat counts. The names are ``"malformed"`` (a body that is no JSON),
        ``"nonsense"`` (a text that fits no schema), ``"misfit"`` (JSON that fits no schema),
        ``"empty"`` (no choices), ``"refusal"`` (a refusal, no content), ``"length"`` (a text
        cut in half), ``"hang"`` (no answer, ever), ``"slow"`` (30 s late), ``"drip"`` (piece by
        piece over 30 s), ``"stall"`` (half of it, and then nothing), ``"truncated"`` (half of
        it, and the connection is closed), ``"torn"`` (half of it, and a reset) and ``"reset"``
        (a reset and nothing else).
    retry_after
        Seconds that answers of status 429 and 503 ask to wait.
    api_key
        The key to insist on; a request with another is refused with one that quotes it.
    models
        The models to list; None: there is no such route.
    seed
        Chooses the answers: each is a function of `seed` and of the body of the request.
    vary
        Whether the same body gets another draw each time that it comes.
    limits
        Requests and tokens per minute that are let through.
    batching
        How many answers are written at a time, and how fast. None: all at once.
    cache
        The prefix cache: answers tell how many tokens of the prompt were in it.
    reasoning
        Tokens of thought before each answer, in ``reasoning_content``. With 0, only requests
        with a ``reasoning_effort`` get some.
    most_choices
        The largest ``n`` that is taken; llama.cpp, for one, takes as many as it has slots.
    refuse
        Parameters that are refused with status 400, such as ``("n", "response_format")``.
    ignore
        Parameters that are passed over.
    port
        The port on loopback; 0: any that is free.

    Raises
    ------
    UsageError
        If there is no such fault, or a number makes no sense.

    Yields
    ------
    ModelServer
        Its `url` is what to give as ``base_url``; `stats` tells what it has seen.

    Examples
    --------
    >>> with model_server(answer="Hello.", fail={429: 0.2, "hang": 0.01}) as server:
    ...     server.stats().requests
    0
    """
    server = ModelServer(
        port,
        latency=latency,
        answer=answer,
        fail=fail,
        retry_after=retry_after,
        api_key=api_key,
        models=models,
        seed=seed,
        vary=vary,
        limits=limits,
        batching=batching,
        cache=cache,
        reasoning=reasoning,
        most_choices=most_choices,
        refuse=refuse,
        ignore=ignore,
    )
    try:
        yield server
    finally:
        server.close()
