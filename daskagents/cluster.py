"""Connecting to a Dask cluster, or starting one; and what each worker needs."""

from __future__ import annotations

import ast
import gc
import logging
import signal
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any
from weakref import WeakSet

import dask
from dask.sizeof import sizeof
from distributed import Client, LocalCluster, Status, WorkerPlugin

from daskagents import apart, holding
from daskagents.block import Block, Outcome
from daskagents.columns import Coded, Plain, Ragged
from daskagents.delivery import Lane
from daskagents.environments.files import Version
from daskagents.environments.tasks import Grown
from daskagents.errors import BudgetError, UsageError
from daskagents.loop import close_shared_loop, patient_gc, shared_loop
from daskagents.mail import Mail, Posted
from daskagents.monitor import asking
from daskagents.tasks import STOPPED, Bundle, ripen

_OURS = (Plain, Ragged, Coded, Block, Outcome, Bundle, Mail, Posted, Lane, Version, Grown)


@sizeof.register(_OURS)  # type: ignore[untyped-decorator]
def _size(value: Any) -> int:
    return int(value.nbytes) + 200


class AgentsPlugin(WorkerPlugin):  # type: ignore[misc]
    """Gives a worker process its event loop and a patient garbage collector."""

    name = "daskagents"
    # a second client must not stop the loop that the agents of the first are on
    idempotent = True

    def setup(self, worker: Any) -> None:
        """Start the loop, before the first task needs it."""
        self._gc = patient_gc()
        self._gc.__enter__()
        shared_loop()
        asking.prepare(worker)
        if worker.status != Status.running:
            ripen(_START)
        logging.getLogger("distributed.worker").addFilter(_is_news)

    def teardown(self, worker: Any) -> None:
        """Stop the loop and the children, and restore the garbage collector."""
        apart.end_idle()
        close_shared_loop()
        self._gc.__exit__(None, None, None)
        logging.getLogger("distributed.worker").removeFilter(_is_news)


class HushPlugin(WorkerPlugin):  # type: ignore[misc]
    """Keeps a worker from writing of what is cut short when it is closed."""

    name = "daskagents-hush"

    def setup(self, worker: Any) -> None:
        """Let it write while it runs, and no longer."""
        for handler in logging.getLogger("distributed").handlers:
            handler.addFilter(lambda record: worker.status is Status.running)


class ApartPlugin(WorkerPlugin):  # type: ignore[misc]
    """Tells all workers, those to come too, which blocks of a run are to be run apart.

    Not the tasks themselves: those that are tried again are the very same.
    """

    idempotent = False

    def __init__(self, topic: str, blocks: Iterable[tuple[str, int]]) -> None:
        self.name, self._topic, self._blocks = f"{topic}-apart", topic, frozenset(blocks)

    def setup(self, worker: Any) -> None:
        """Tell this worker."""
        apart.mark(self._topic, self._blocks)


class HoldPlugin(WorkerPlugin):  # type: ignore[misc]
    """Tells all workers, those to come too, that a run is held."""

    idempotent = False

    def __init__(self, topic: str, last: int) -> None:
        self.name, self._topic, self._last = self.name_of(topic), topic, last

    @staticmethod
    def name_of(topic: str) -> str:
        """Return the name of the plugin of a run."""
        return f"{topic}-held"

    def setup(self, worker: Any) -> None:
        """Tell this worker."""
        holding.hold(self._topic, self._last)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a worker is to write of it: not of a step that was stopped on purpose."""
    message = record.getMessage()
    return STOPPED not in message and f"{BudgetError.__name__}(" not in message


#: Seconds that a worker needs to tell its nanny that it is there. A nanny whose worker is killed
#: before does not start another one.
_START = 1.0
#: Seconds within which a scheduler has to answer.
_PATIENCE = 10.0

_prepared: WeakSet[Client] = WeakSet()


def prepare_workers(client: Client) -> None:
    """Register the plugin with a cluster, once per client."""
    if client not in _prepared:
        client.register_plugin(AgentsPlugin())
        _prepared.add(client)


def start_cluster(workers: int | None = None) -> LocalCluster:
    """Start worker processes of one thread each on this machine, for one run.

    Parameters
    ----------
    workers
        How many; by default one per core.

    """
    check_main_guard()
    preload = [*dask.config.get("distributed.worker.preload"), __name__]
    with _deaf_children():
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            preload=preload,
        )


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Keep Ctrl-C from the processes that are started here: to end them is our business.

    They inherit it from the thread that starts them. For this one, it waits until the end.
    """
    resource_tracker.ensure_running()  # started later, it would let Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def dask_setup(worker: Any) -> None:
    """Leave Ctrl-C to the program that started the workers; Dask calls this in each of them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # it names each task that was under way when the program ended
    logging.getLogger("distributed.worker.state_machine").setLevel(logging.ERROR)


@contextmanager
def connect(client: Client | str | None, workers: int | None = None) -> Iterator[Client]:
    """Yield the client to use: the given, the current one, or that of a cluster of our own.

    Parameters
    ----------
    client
        A client, the address of a scheduler, or None.
    workers
        Processes of a cluster that has to be started.

    """
    if isinstance(client, Client):
        if client.asynchronous or client.status != "running":
            state = "asynchronous" if client.asynchronous else client.status
            raise UsageError(f"client is {state}; give a client that is connected and blocks")
        yield client
        return
    if isinstance(client, str):
        with client_at(client) as connected:
            yield connected
        return
    if client is not None:
        raise UsageError(f"client is {client!r}; give a Client, an address, 'sync' or None")
    current = current_client()
    if current is not None:
        yield current
        return
    with start_cluster(workers) as cluster, Client(cluster, set_as_default=False) as started:
        yield started


def current_client() -> Client | None:
    """Return the Dask client that is current in this program, if any."""
    try:
        return Client.current()
    except ValueError:
        return None


def client_at(address: str) -> Client:
    """Return a client of a scheduler; a `UsageError` if none answers."""
    try:
        return Client(address, set_as_default=False, timeout=_PATIENCE)
    except (OSError, ValueError) as error:
        why = str(error)
    gc.collect()  # the failed client, here and now: within another's start it would block for ever
    raise UsageError(
        f"no Dask scheduler answers at {address!r} ({why}); start one with `dask scheduler`"
        " and `dask worker ADDRESS`, or leave client= out"
    )


def check_main_guard() -> None:
    """Refuse to start processes from a program that they would run again from its top.

    Worker processes import the main program; one that starts them without
    ``if __name__ == "__main__":`` would start itself without end.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    main = sys.modules.get("__main__")
    source = getattr(main, "__file__", None)
    if source is None or getattr(main, "__spec__", None) is not None:
        return  # a notebook, a prompt, or python -m
    for frame, line in traceback.walk_stack(None):
        if frame.f_code.co_name == "<module>" and frame.f_globals is vars(main):
            if not _guarded(Path(source), line):
                raise UsageError(
                    f"{source}:{line} starts worker processes, which import this file and would"
                    " start it again; put what the program does under `if __name__ =="
                    ' "__main__":`, and leave only definitions outside'
                )
            return


def _guarded(source: Path, line: int) -> bool:
    """Whether a line of a program stands under a test of ``__name__``."""
    try:
        tree = ast.parse(source.read_bytes())
    except (OSError, SyntaxError):
        return True  # not a Python file that we can judge
    return any(
        isinstance(node, ast.If)
        and node.lineno <= line <= (node.end_lineno or line)
        and any(isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(node.test))
        for node in tree.body
    )
