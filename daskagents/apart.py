"""Blocks of agents that are run apart: in child processes of the worker, which they may kill."""

from __future__ import annotations

import itertools
import json
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import Pipe
from typing import Any

import msgspec
import numpy as np
import psutil  # type: ignore[import-untyped]
from numpy.typing import NDArray

from daskagents.block import Block, Call, Charter, Failure, Heard, Outcome
from daskagents.child import Asking, Job
from daskagents.environments.ledger import World
from daskagents.errors import LethalError, ModelError, RunError
from daskagents.forms import Form
from daskagents.loop import shared_loop
from daskagents.models.base import Journal, Keeper, Model
from daskagents.rng import Draws, Rng
from daskagents.sealing import charter_of, seal, unseal, unseal_once
from daskagents.sifting import Death, Places, Sifter, nothing, with_failed
from daskagents.usage import Tally, Usage
from daskagents.words import step_key

#: What a child runs; its path is that of its worker, by which it finds the user's modules.
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    " from daskagents.child import main; main(int(sys.argv[2]))"
)
#: Seconds between two looks at a child that says nothing, and until a dead one must be gone.
_LOOK, _PATIENCE = 0.1, 10.0

#: Blocks that are run apart, by run: of which population, and which.
_marks: dict[str, frozenset[tuple[str, int]]] = {}


def mark(topic: str, blocks: frozenset[tuple[str, int]]) -> None:
    """Have blocks of a run be run apart in this process."""
    _marks[topic] = blocks


def is_marked(topic: str, population: str, block: int) -> bool:
    """Whether a block is to be run apart."""
    return (population, block) in _marks.get(topic, ())


class Process:
    """A child process, and the line to it. It ends when this process does.

    Parameters
    ----------
    memory
        Bytes that it may take; None: as many as there are.
    """

    def __init__(self, memory: int | None = None) -> None:
        self._memory, self._ready, self._how = memory, False, ""
        self._line, theirs = Pipe()
        self._out: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        with theirs:
            end = theirs.fileno()
            # not by multiprocessing: a worker of a nanny is a daemon, and may have no children
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), str(end)],
                stdin=subprocess.DEVNULL,
                pass_fds=(end,),
                process_group=0,
            )
        self._writer = threading.Thread(target=self._write, daemon=True)
        self._writer.start()

    def say(self, *said: Any) -> None:
        """Send a message, without waiting until the child takes it."""
        self._out.put(pickle.dumps(said))

    def _write(self) -> None:
        with suppress(OSError):  # it is dead, as its reader will notice
            for data in iter(self._out.get, None):
                self._line.send_bytes(data)

    def hear(self, check: Callable[[], None]) -> Iterator[Any]:
        """Yield what the child says, to its end.

        Parameters
        ----------
        check
            Called now and then; it raises an error if nobody wants to hear more.
        """
        looked = time.monotonic()
        while True:
            if time.monotonic() - looked >= _LOOK:
                looked = time.monotonic()
                check()
                if self._is_large():
                    self._how = f"took more than the {self._memory} bytes of memory of its worker"
                    self.end()
                    return
            try:
                if self._line.poll(_LOOK):
                    kind, *said = pickle.loads(self._line.recv_bytes())
                elif self.alive:
                    continue
                else:  # what it has started may hold the line open
                    raise EOFError
            except (EOFError, OSError):
                return
            if kind == "ready":
                self._ready = True
            else:
                yield kind, *said

    @property
    def alive(self) -> bool:
        """Whether the child still runs."""
        return self._process.poll() is None

    def _is_large(self) -> bool:
        """Whether the child takes more memory than its worker may; no nanny looks after it."""
        if not self._memory:
            return False
        with suppress(psutil.Error):
            return bool(psutil.Process(self._process.pid).memory_info().rss > self._memory)
        return False

    def death(self) -> Death:
        """Return how the child, which has ended, came to its end.

        Raises
        ------
        RunError
            If it had not even begun.
        """
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE)
        self.end()
        code = self._process.returncode
        if not self._ready:
            raise RunError(
                f"the process that agents are to run in did not start (exit code {code}); see the"
                " worker's log"
            )
        said = (
            f"killed its process (signal {-code})"
            if code < 0
            else f"ended its process (exit code {code})"
        )
        return Death(self._how or said)

    def end(self) -> None:
        """End the child."""
        self._process.kill()
        self._process.wait()
        self._out.put(None)
        self._writer.join()
        self._line.close()


_numbers = itertools.count()
_idle: list[Process] = []
_lock = threading.Lock()


def end_idle() -> None:
    """End the children that wait for the next step."""
    with _lock:
        found, _idle[:] = list(_idle), []
    for process in found:
        process.end()


@dataclass
class Chats:
    """What the agents in a child ask of models, asked here on their behalf.

    Parameters
    ----------
    charter, step
        The population, and the number of the step.
    job
        The number of what the child does.
    keeper, journal
        As for `run_step`.
    """

    charter: Charter
    step: int
    job: int
    keeper: Keeper | None
    journal: Journal | None
    usage: dict[int, Tally] = field(default_factory=dict)
    heard: dict[int, str] = field(default_factory=dict)
    _rngs: dict[int, Rng] = field(default_factory=dict)
    _pending: set[Future[None]] = field(default_factory=set)

    def begin(self, number: int, which: bytes, blob: bytes, say: Callable[..., None]) -> None:
        """Start a chat; what comes of it is said to the child."""
        asking: Asking = unseal(blob)
        if asking.job != self.job:  # of an agent whose step is over, and it must not count here
            return
        model: Model | None = unseal_once(which) if which else self.charter.model
        assert model is not None
        future = shared_loop().start(self._chat(number, model, asking, say))
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)

    def finish(self) -> None:
        """Wait for the chats under way: their answers are paid, and belong into the journal."""
        wait(list(self._pending))

    async def _chat(
        self, number: int, model: Model, asking: Asking, say: Callable[..., None]
    ) -> None:
        agent, counts, rng = asking.agent, True, self._rng(asking)
        request = msgspec.structs.replace(asking.request, rng=rng, keeper=self.keeper)
        usage = self.usage.setdefault(agent, Tally())
        answer: Any
        try:
            if self.journal is None:
                answer = await model.chat(request)
            else:
                answer, counts = await self.journal.chat(model, request, agent)
        except Exception as error:
            answer = error
            if isinstance(error, ModelError):
                usage.add("", getattr(error, "endpoint", ""), error.usage)
        else:
            if counts:
                usage.add(answer.model, answer.endpoint, answer)
            self.heard[agent] = answer.text
        drawn = 0 if rng is None else rng.drawn
        say("told", number, _sealed(answer, counts, drawn))

    def _rng(self, asking: Asking) -> Rng | None:
        """Return the random numbers of an agent, from where it has come to."""
        if asking.drawn < 0:
            return None
        if asking.agent not in self._rngs:
            key = step_key(self.charter.seed, self.charter.name, self.step)
            self._rngs[asking.agent] = Draws(key, np.array([asking.agent])).rng(0)
        rng = self._rngs[asking.agent]
        rng.go_on_from(asking.drawn)
        return rng


def _sealed(answer: Any, counts: bool, drawn: int) -> bytes:
    """Return what came of a chat as bytes; of a user's error that cannot travel, its text."""
    try:
        blob = seal((answer, counts, drawn))
        if isinstance(answer, BaseException):
            unseal(blob)
    except Exception as error:
        if not isinstance(answer, BaseException):
            answer = error
        plain = ModelError(f"{type(answer).__name__}: {answer}")
        plain.usage = getattr(answer, "usage", Usage())
        return seal((plain, counts, drawn))
    return blob


@dataclass
class Apart:
    """One step of one block, run in child processes.

    Parameters
    ----------
    blob
        The population's charter, as it was sent.
    block, call, heard, rows, world, keeper, on_progress, on_form
        As for `run_step`.
    most
        How many agents may fail.
    attempt
        Opens a journal for each try; None is yielded where nobody keeps one.
    check
        Called now and then; it raises an error if the run has stopped.
    waits
        Called once, when the agents turn out to be such that wait.
    memory
        Bytes that a child may take.
    """

    blob: bytes | Charter
    block: Block
    call: Call
    heard: Heard
    rows: NDArray[np.int64] | None
    world: World | None
    most: int
    keeper: Keeper | None
    attempt: Callable[[], AbstractContextManager[Any]]
    check: Callable[[], None]
    waits: Callable[[], None]
    on_progress: Callable[[int, int, Usage], None]
    on_form: Callable[[Form], None]
    memory: int | None = None
    #: The attempt that counts, once all is done; empty if it wrote nothing.
    name: str = ""

    def run(self) -> Outcome:
        """Run the step; those agents fail that kill their process.

        Raises
        ------
        RunError
            As `run_step`, or if more agents kill their process than may fail.
        """
        self._charter = charter_of(self.blob)
        everyone = np.arange(self.block.n) if self.rows is None else self.rows
        self._rows, self._ids = everyone, self.block.ids_of(everyone)
        self._waiting = self._died = False
        self._process: Process | None = None
        self._usage: dict[int, Tally] = {}
        self._heard: dict[int, str] = {}
        sifter: Sifter[Outcome] = Sifter(self._try, self._ids, self.most)
        try:
            outcome = sifter.sift()
        except BaseException:
            if self._process is not None:
                self._process.end()
            raise
        if self._process is not None:
            with _lock:
                _idle.append(self._process)
        if not sifter.found:
            return outcome
        agents = {place: int(self._ids[place]) for place in sifter.found}
        failures = {
            place: Failure(agent, f"{LethalError.__name__}: {how}", "", self._heard.get(agent, ""))
            for (place, how), agent in zip(sifter.found.items(), agents.values(), strict=True)
        }
        spent = [part for agent in agents.values() for part in self._usage.get(agent, ())]
        whole = with_failed(outcome, len(everyone), failures)
        return replace(whole, usage=Tally((*outcome.usage, *spent)))

    def _try(self, places: Places) -> Outcome | Death:
        """Run some of the agents in a child; return what came of it, or of the child."""
        if not len(places):
            return nothing(self.block, self.call)
        heard = self.heard
        if isinstance(heard, np.ndarray) and heard.shape == self._rows.shape:
            heard = heard[places]
        rows, number = self._rows[places], next(_numbers)
        job = Job(number, self.blob, self.block, self.call, heard, rows, self.world)
        with self.attempt() as journal:
            chats = Chats(self._charter, self.call.step, number, self.keeper, journal)
            try:
                made = self._follow(job, chats, len(places) == len(self._rows))
            finally:
                chats.finish()
        self._usage |= chats.usage
        self._heard |= chats.heard
        self.name = "" if journal is None else journal.name
        return made

    def _follow(self, job: Job, chats: Chats, whole: bool) -> Outcome | Death:
        """Have a child do a job, and do for it what it asks for."""
        process = self._process = self._process or self._take()
        process.say("job", seal(job))
        for kind, *rest in process.hear(self.check):
            if kind == "made":
                outcome: Outcome = unseal(rest[0])
                return outcome
            if kind == "raised":
                raise unseal(rest[0])
            if kind == "chat":
                number, which, asking = rest
                chats.begin(number, which, asking, process.say)
            elif kind == "waits" and not self._waiting:
                self._waiting = True
                self.waits()
            elif kind == "done":
                self.on_progress(*rest)
            elif kind == "form" and whole:
                self.on_form(*rest)
        self._process, self._died = None, True
        return process.death()

    def _take(self) -> Process:
        """Return a child: an idle one, but none that has run others where it is who kills."""
        with _lock:
            while _idle and not self._died:
                process = _idle.pop()
                if process.alive:
                    return process
                process.end()
        return Process(self.memory)
