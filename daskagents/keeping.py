"""Where a run's accounts are kept: in the scheduler process, by a plugin; and how workers ask."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any
from weakref import WeakSet

from distributed import Client, SchedulerPlugin
from distributed.comm import CommClosedError

from daskagents.errors import RunError
from daskagents.keeper import Accounts
from daskagents.monitor.plugin import MonitorPlugin

#: What workers ask of the scheduler, and what clients tell it and ask.
ASK, OPEN, CLOSE = "daskagents_ask", "daskagents_open", "daskagents_close"
LOST = "daskagents_lost"
NEWEST = "daskagents_newest"
RUNS, COMMAND, ANSWER = "daskagents_runs", "daskagents_command", "daskagents_answer"


class KeeperPlugin(SchedulerPlugin):  # type: ignore[misc]
    """Keeps the accounts of the runs that a scheduler works for, each apart from the others.

    A run's accounts are there from its `open` to its `close`, or until its client is gone. What a
    worker holds is taken back when it is gone. They live as long as the scheduler's process, whose
    end is the end of its runs.
    """

    name = "daskagents-keeper"
    # the accounts of other runs are kept by the one that is there
    idempotent = True

    def __init__(self) -> None:
        self.runs: dict[str, Accounts] = {}
        self.clients: dict[str, str] = {}

    async def start(self, scheduler: Any) -> None:
        """Let workers and clients reach this plugin."""
        scheduler.handlers |= {
            ASK: self.ask,
            OPEN: self.open,
            CLOSE: self.close_run,
            LOST: self.lost,
            NEWEST: self.newest,
            RUNS: self.list_runs,
            COMMAND: self.command,
            ANSWER: self.answer,
        }
        self._scheduler = scheduler

    async def lost(self, client: str) -> list[Any]:
        """Return the tasks, of all that a client waits for, that were lost with their workers.

        Each one: Dask itself, asked to try a task again, overlooks those behind one that it let go.
        """
        scheduler = self._scheduler
        waiting, seen = list(scheduler.clients[client].wants_what), set()
        while waiting:
            task = waiting.pop()
            if task not in seen and task.state != "memory":
                seen.add(task)
                waiting += task.dependencies
        most = scheduler.allowed_failures
        return [task.key for task in seen if task.state == "erred" and task.suspicious > most]

    async def newest(self, keys: list[Any], families: list[str], client: str) -> list[Any]:
        """Return the newest versions of blocks that are there, and keep them for a client.

        Parameters
        ----------
        keys
            The newest versions of all, which may still be computing.
        families
            How the keys of such versions begin: what a version is made from is one of these.
        client
            Who wants them.

        Returns
        -------
        list
            A key for each; None where no version is there.
        """
        found = []
        for key in keys:
            task = self._scheduler.tasks.get(key)
            while task is not None and task.state != "memory":
                before = (one for one in task.dependencies if _is_of(one.key, families))
                task = next(before, None)
            found.append(None if task is None else task.key)
        there = [key for key in found if key is not None]
        self._scheduler.client_desires_keys(keys=there, client=client)
        return found

    async def list_runs(self) -> list[dict[str, Any]]:
        """Return what the scheduler has heard of runs that have not ended, the newest last."""
        return [
            {"topic": run.topic, "state": run.state, **run.about}
            for run in self._monitor().runs.values()
            if run.open
        ]

    async def command(self, topic: str, said: dict[str, Any]) -> str:
        """Pass a command on to a run; return under which name its answer will be there."""
        number: str = self._monitor().command(topic, said)
        return number

    async def answer(self, number: str) -> dict[str, Any] | None:
        """Return the answer to a command; None as long as there is none."""
        found: dict[str, Any] | None = self._monitor().answers.get(number)
        return found

    def _monitor(self) -> Any:
        return self._scheduler.plugins[MonitorPlugin.name]

    async def open(self, topic: str, client: str) -> None:
        """Begin to keep the accounts of a run."""
        self.runs.setdefault(topic, Accounts())
        self.clients[topic] = client

    async def close_run(self, topic: str) -> None:
        """Forget a run."""
        self.runs.pop(topic, None)
        self.clients.pop(topic, None)

    async def ask(
        self, topic: str, account: str, worker: str, said: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Tell the accounts of a run what a worker says; return None if the run is over."""
        accounts = self.runs.get(topic)
        return None if accounts is None else accounts.tell(account, worker, said, monotonic())

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """Let the first worker after all were lost take what would rather be on another one.

        Dask keeps such a task waiting for the worker that is gone, as long as there is none at all.
        """
        for task in scheduler.unrunnable:
            if task.loose_restrictions:
                task.worker_restrictions = None

    def remove_worker(self, scheduler: Any, worker: str, **kwargs: Any) -> None:
        """Take back what a worker holds that is gone."""
        for accounts in self.runs.values():
            accounts.lose(worker, monotonic())

    def remove_client(self, scheduler: Any, client: str) -> None:
        """Forget the runs of a client that is gone."""
        for topic in [topic for topic, owner in self.clients.items() if owner == client]:
            del self.runs[topic], self.clients[topic]


def _is_of(key: Any, families: list[str]) -> bool:
    """Whether a key is of one of some families of tasks."""
    name = str(key[0] if isinstance(key, tuple) else key)
    return name.startswith(tuple(families))


_registered: WeakSet[Client] = WeakSet()


@contextmanager
def keeping(client: Client, topic: str) -> Iterator[None]:
    """Have the scheduler keep the accounts of a run, within a with block.

    Raises
    ------
    RunError
        If the scheduler's process does not have this package.
    """
    _register(client)
    client.sync(getattr(client.scheduler, OPEN), topic=topic, client=client.id)
    try:
        yield
    finally:
        if client.status == "running":
            with suppress(OSError):  # the scheduler is gone, and so is what it kept
                client.sync(getattr(client.scheduler, CLOSE), topic=topic)


def _register(client: Client) -> None:
    """Register the plugin with a scheduler, once per client."""
    if client in _registered:
        return
    try:
        client.register_plugin(KeeperPlugin())
        client.register_plugin(MonitorPlugin())
    except (ImportError, AttributeError) as error:
        raise RunError(
            f"the process of the Dask scheduler at {client.scheduler.address} cannot import this"
            f" version of daskagents ({error}); install it there too, in the environment that"
            " `dask scheduler` is started from, and start it again"
        ) from None
    _registered.add(client)


class WorkerKeeper:
    """Asks the keeper of a run from any event loop of a worker's process.

    Parameters
    ----------
    topic
        The run.
    worker
        The worker, on whose own event loop Dask's connections are.
    """

    def __init__(self, topic: str, worker: Any) -> None:
        self.topic, self._worker = topic, worker

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WorkerKeeper) and other.topic == self.topic

    def __hash__(self) -> int:
        return hash(self.topic)

    async def ask(self, account: str, said: dict[str, Any]) -> dict[str, Any]:
        """Tell the keeper of an account something; return its answer.

        Raises
        ------
        RunError
            If the run is over, or its scheduler cannot be reached.
        """
        asking = self._ask(account, said)
        try:
            future = asyncio.run_coroutine_threadsafe(asking, self._worker.loop.asyncio_loop)
            told = await asyncio.wrap_future(future)
        except (CommClosedError, OSError, RuntimeError) as error:
            asking.close()
            raise RunError(f"the Dask scheduler cannot be asked: {error}") from error
        if told is None:
            raise RunError("the run is over, or its Dask scheduler was started anew")
        return told

    async def _ask(self, account: str, said: dict[str, Any]) -> dict[str, Any] | None:
        ask = getattr(self._worker.scheduler, ASK)
        address = self._worker.address
        told: dict[str, Any] | None
        told = await ask(topic=self.topic, account=account, worker=address, said=said)
        return told
