"""What a run is asked while it is under way: to pause, to stop, to tell, to be changed."""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from daskagents.errors import DaskAgentsError, RunError, StoppedError, UsageError
from daskagents.executors import Here
from daskagents.monitor.news import tell_state
from daskagents.scaling import scale
from daskagents.session import Session, pass_through
from daskagents.snapshot import Snapshot
from daskagents.steering import interventions
from daskagents.steering.interventions import Intervention
from daskagents.steering.mailbox import Mailbox
from daskagents.steering.outside import Outside
from daskagents.store import Store

#: Seconds between two looks for commands in the run directory, or whether to go on.
_LOOK = 0.2
#: Seconds that a command may take when the run has ended.
_PATIENCE = 5.0
#: Questions from outside that are asked at the same time.
_AT_ONCE = 4

#: A command, and what is called with its answer.
_Job = tuple[Mapping[str, Any], Callable[[dict[str, Any]], None]]
_log = logging.getLogger("daskagents")


class Control:
    """Does what a run is asked, in a thread of its own, as long as a with block lasts.

    Commands come from the scheduler, under the topic of the run, or as files in its directory.
    What takes long is done in further threads; in a run without a cluster by the thread of the
    run itself, between two steps.

    Parameters
    ----------
    session, store
        Of the run.
    snapshot
        Says how far the run is.
    source
        The run directory whose interventions are made again; empty for the run's own.

    Attributes
    ----------
    state : str
        ``paused``, ``stopping``, or empty.
    """

    def __init__(
        self, session: Session, store: Store, snapshot: Callable[[], Snapshot], source: str = ""
    ) -> None:
        self.session, self.store, self._snapshot = session, store, snapshot
        self.state = ""
        self.outside = Outside(session, store)
        known = interventions.read(Path(source or store.folder))
        if source and known and not store.temporary:
            interventions.write(store.folder, known, sync=store.sync)
        self._interventions = known
        self._round = -1
        self._rounds: int | None = None
        self._main = threading.current_thread()
        self._change = threading.Condition()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._here: deque[tuple[Callable[[Mapping[str, Any]], Any], _Job]] = deque()
        self._mailbox = None if store.temporary else Mailbox(store.folder)
        self._threads = ThreadPoolExecutor(_AT_ONCE, "daskagents-outside")
        self._thread = threading.Thread(target=self._work, name="daskagents-control", daemon=True)
        self._open = ExitStack()
        self._ended = False
        self._known: dict[str, tuple[Callable[[Mapping[str, Any]], Any], bool]] = {
            "status": (self._status, False),
            "pause": (self._pause, False),
            "resume": (self._go_on, False),
            "stop": (self._stop, False),
            "intervene": (self._intervene, False),
            "scale": (self._scale, False),
            "look": (self.outside.look, True),
            "find": (self.outside.find, True),
            "interview": (self.outside.interview, True),
            "survey": (self.outside.survey, True),
        }

    def start(self, rounds: Any = None) -> None:
        """Begin to listen; `rounds` is how many there will be, where that is known."""
        self._rounds = rounds if type(rounds) is int else None
        if self._mailbox is not None:
            self._mailbox.clear()
        topic = f"{self.session.topic}-control"
        self._open.enter_context(self.session.executor.hearing(topic, self._hear))
        self.session.gate, self.session.executor.alarm = self.gate, self._alarm
        self._thread.start()

    def close(self) -> None:
        """Listen no more; tell those who wait that the run has ended."""
        if self._ended:
            return
        self._ended = True
        if self.session.held:
            with suppress(Exception):  # a cluster that is gone
                self.session.executor.go_on(self.session.topic)
        self.state, self.session.held = "", False
        self.session.executor.alarm = None
        self.session.gate = pass_through
        self._jobs.put(None)
        if self._thread.ident is not None:
            self._thread.join(_PATIENCE)
        self._threads.shutdown(wait=False, cancel_futures=True)
        with suppress(Exception):  # a connection that is gone
            self._open.close()
        late = [job for _, job in self._here]
        if self._mailbox is not None:
            late += self._mailbox.take()
        for _, answer in late:
            answer({"error": "the run has ended"})

    def gate(self) -> None:
        """Wait as long as the run is paused.

        Raises
        ------
        StoppedError
            If the run is to stop.
        """
        self._do_here()
        while self.state == "paused":
            with self._change:
                self._change.wait(_LOOK)
            self._do_here()
        self._alarm()

    def begin_round(self, number: int) -> None:
        """Make the interventions that are for a round, before its first step."""
        self.gate()
        with self._change:
            self._round = number
            due = [one for one in self._interventions if one.round == number]
        for one in due:
            agents = one.apply(self.session)
            if not self.session.retracing:
                self.store.note("intervened", round=number, agents=agents)

    def _alarm(self) -> None:
        if self.state == "stopping" and threading.current_thread() is self._main:
            raise StoppedError(
                "the run was stopped"
                + (
                    ""
                    if self.store.temporary
                    else f"; go on: daskagents resume {self.store.folder}"
                )
            )

    def _hear(self, command: Any) -> None:
        """Take a command from the scheduler; its answer goes back the same way."""
        topic, number = self.session.topic, command.get("id")

        def answer(said: dict[str, Any]) -> None:
            self.session.executor.tell(topic, {"answer": number, **said})

        self._jobs.put((command, answer))

    def _work(self) -> None:
        while not self._ended:
            with suppress(queue.Empty):
                job = self._jobs.get(timeout=_LOOK)
                if job is None:
                    break
                self._begin(job)
            if self._mailbox is not None:
                for each in self._mailbox.take():
                    self._begin(each)

    def _begin(self, job: _Job) -> None:
        """Do what is quickly done; have others do the rest."""
        what = str(job[0].get("do"))
        if what not in self._known:
            known = ", ".join(sorted(self._known))
            job[1]({"error": f"a run cannot be asked to {what!r}; it can {known}"})
            return
        function, is_long = self._known[what]
        if not is_long:
            _finish(function, job)
        elif isinstance(self.session.executor, Here):
            self._here.append((function, job))
            with self._change:
                self._change.notify_all()
        else:
            self._threads.submit(_finish, function, job)

    def _do_here(self) -> None:
        """Do what only the thread of the run can do."""
        while self._here and threading.current_thread() is self._main:
            _finish(*self._here.popleft())

    def _status(self, command: Mapping[str, Any]) -> dict[str, Any]:
        said = self._snapshot()
        return {
            "state": self.state or "running",
            "workflow": self.store.about.get("workflow", {}).get("name", ""),
            "folder": "" if self.store.temporary else str(self.store.folder),
            "rounds": said.rounds,
            "of": self._rounds,
            "replies": said.replies,
            "failed": said.failed,
            "calls": said.calls,
            "tokens": said.tokens,
            "cost": None if said.cost != said.cost else said.cost,
            "seconds": said.seconds,
            "process": os.getpid(),
            "host": socket.gethostname(),
            "populations": {name: m.lives.count for name, m in self.session.members.items()},
        }

    def _pause(self, command: Mapping[str, Any]) -> dict[str, Any]:
        if self.state == "stopping":
            raise RunError("the run is stopping; it cannot be paused")
        if self.state != "paused":
            self.session.executor.hold(self.session.topic)
            self._set("paused")
        return {"state": self.state, "round": self._round}

    def _go_on(self, command: Mapping[str, Any]) -> dict[str, Any]:
        if self.state == "stopping":
            raise RunError("the run is stopping; when it has ended: daskagents resume DIR")
        if self.state == "paused":
            self.session.executor.go_on(self.session.topic)
            self._set("")
        return {"state": "running", "round": self._round}

    def _stop(self, command: Mapping[str, Any]) -> dict[str, Any]:
        self._set("stopping")
        return {"state": "stopping", "round": self._round}

    def _set(self, state: str) -> None:
        """Change the state, and say so."""
        with self._change:
            self.state, self.session.held = state, state == "paused"
            self._change.notify_all()
        self.store.note(state or "unpaused", round=self._round)
        tell_state(self.session, state or "running")

    def _intervene(self, command: Mapping[str, Any]) -> dict[str, Any]:
        said = {name: value for name, value in command.items() if name not in ("id", "do")}
        known = {"round", "population", "environment", "set", "where", "agents", "message"}
        if said.keys() - known:
            raise UsageError(
                f"an intervention has no {', '.join(sorted(said.keys() - known))}; it has"
                f" {', '.join(sorted(known))}"
            )
        if not said.get("environment"):
            said["population"] = self.outside.members(said.get("population")).name
        wanted = said.pop("round", None)
        one = Intervention(round=-1, made=time.strftime("%Y-%m-%dT%H:%M:%S%z"), **said)
        one = one.checked(self.session)
        with self._change:
            after = self._round + 1
            round_ = after if wanted is None else int(wanted)
            if round_ < after:
                raise UsageError(
                    f"round {round_} has begun; the next one that can be changed is round {after}"
                )
            every = [*self._interventions, replace(one, round=round_)]
            interventions.write(self.store.folder, every, sync=self.store.sync)
            self._interventions = every
        return {"round": round_}

    def _scale(self, command: Mapping[str, Any]) -> dict[str, Any]:
        return {"workers": scale(self.session.executor, int(command["workers"]))}


def _finish(function: Callable[[Mapping[str, Any]], Any], job: _Job) -> None:
    """Do what is asked, and tell the result or what was wrong."""
    command, answer = job
    try:
        said: dict[str, Any] = {"said": function(command)}
    except DaskAgentsError as error:
        said = {"error": str(error), "kind": "usage" if isinstance(error, UsageError) else "run"}
    except Exception as error:
        _log.warning("what was asked from outside has failed", exc_info=error)
        said = {"error": f"{type(error).__name__}: {error}"}
    answer(said)


__all__ = ["Control"]
