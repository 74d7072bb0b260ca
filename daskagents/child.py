"""A process of its own, in which a worker lets agents run that may kill it. It knows no Dask."""

from __future__ import annotations

import asyncio
import itertools
import os
import pickle
import queue
import threading
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from daskagents.block import Block, Call, Charter, Heard, Outcome
from daskagents.environments.ledger import World
from daskagents.errors import RunError
from daskagents.loop import Loop, patient_gc, shared_loop
from daskagents.models.base import Answer, Model, Request
from daskagents.sealing import charter_of, seal, unseal
from daskagents.step import run_step


@dataclass(frozen=True)
class Job:
    """One step of some agents of a block, as a child is asked for it."""

    number: int
    charter: bytes | Charter
    block: Block
    call: Call
    heard: Heard
    rows: NDArray[np.int64]
    world: World | None = None


@dataclass(frozen=True)
class Asking:
    """One chat that an agent asks for: the worker asks the model, and keeps the journal.

    `drawn` is how many random numbers the agent had drawn; -1 where it has none.
    """

    job: int
    agent: int
    drawn: int
    request: Request


class Child:
    """Runs one job after another, and tells its worker on the line what happens.

    It has no connection of its own: what its agents ask of models goes through the worker, so that
    answers, places and budgets are not lost with it.
    """

    def __init__(self, line: Connection) -> None:
        self._line, self._lock = line, threading.Lock()
        self._jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._asked: dict[int, tuple[asyncio.AbstractEventLoop, asyncio.Future[bytes]]] = {}
        self._numbers = itertools.count()
        self._model: Model | None = None

    def serve(self) -> None:
        """Run jobs as long as the worker lives."""
        threading.Thread(target=self._listen, daemon=True).start()
        self._tell("ready")
        while True:
            blob = self._jobs.get()
            try:
                told = "made", seal(self._run(unseal(blob)))
            except Exception as error:  # of the run, not of an agent
                told = "raised", _sealed(error)
            self._tell(*told)

    def _run(self, job: Job) -> Outcome:
        charter = charter_of(job.charter)
        self._model = charter.model
        return run_step(
            charter,
            job.block,
            job.call,
            job.heard,
            job.rows,
            loop=self._loop,
            on_progress=lambda done, failed, usage: self._tell("done", done, failed, usage),
            on_form=lambda form: self._tell("form", form),
            journal=_Line(self, job.number),
            world=job.world,
        )

    def _loop(self) -> Loop:
        self._tell("waits")
        return shared_loop()

    async def ask(
        self, job: int, model: Model, request: Request, agent: int
    ) -> tuple[Answer, bool]:
        """Have the worker ask a model; return the answer, and whether it is of this run."""
        number, loop = next(self._numbers), asyncio.get_running_loop()
        future: asyncio.Future[bytes] = loop.create_future()
        self._asked[number] = loop, future
        rng = request.rng
        bare = msgspec.structs.replace(request, rng=None, keeper=None)
        asking = Asking(job, agent, -1 if rng is None else rng.drawn, bare)
        which = b"" if model is self._model else seal(model)
        self._tell("chat", number, which, seal(asking))
        answer, counts, drawn = unseal(await future)
        if rng is not None:
            rng.go_on_from(drawn)
        if isinstance(answer, BaseException):
            raise answer
        return answer, counts

    def _tell(self, *said: Any) -> None:
        with self._lock:
            self._line.send_bytes(pickle.dumps(said))

    def _listen(self) -> None:
        """Take what the worker says; end when it is gone, whatever the agents are at."""
        try:
            while True:
                kind, *said = pickle.loads(self._line.recv_bytes())
                if kind == "job":
                    self._jobs.put(said[0])
                else:
                    number, blob = said
                    loop, future = self._asked.pop(number)
                    loop.call_soon_threadsafe(_settle, future, blob)
        except (EOFError, OSError):
            os._exit(1)


@dataclass(frozen=True)
class _Line:
    """The journal of one job, which is on the worker's side."""

    child: Child
    job: int

    async def chat(self, model: Model, request: Request, agent: int) -> tuple[Answer, bool]:
        """Return the answer that was kept, or the model's, and whether it is of this run."""
        return await self.child.ask(self.job, model, request, agent)


def _settle(future: asyncio.Future[bytes], blob: bytes) -> None:
    if not future.done():  # its agent was cancelled
        future.set_result(blob)


def _sealed(error: Exception) -> bytes:
    """Return an error as bytes; one like it where it cannot travel."""
    try:
        blob = seal(error)
        unseal(blob)
    except Exception:
        return seal(RunError(f"{type(error).__name__}: {error}"))
    return blob


def main(file: int) -> None:
    """Serve a worker, as the process at the other end of a line."""
    with suppress(OSError):  # where memory is short, this process goes before its worker
        Path("/proc/self/oom_score_adj").write_text("1000")
    with patient_gc(), Connection(file) as line:
        Child(line).serve()
