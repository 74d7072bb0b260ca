"""Where tasks run: on a Dask cluster, or here in this thread. Both give the same results."""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, TypeVar

import dask
from dask._expr import LLGExpr
from dask._task_spec import Task, TaskRef
from dask.array.core import Array
from dask.utils import key_split
from distributed import Client, Future, WorkerPlugin, futures_of
from distributed.client import _wait as wait_for_all
from distributed.scheduler import KilledWorker
from distributed.system import MEMORY_LIMIT

from daskagents import holding, tasks
from daskagents.cluster import ApartPlugin, HoldPlugin, prepare_workers
from daskagents.keeping import LOST, NEWEST, keeping
from daskagents.loop import Loop
from daskagents.monitor.telling import Teller
from daskagents.plan import Plan
from daskagents.sealing import seal

#: Seconds after which results that are waited for are looked at for failures.
_PATIENCE = 0.5
#: Seconds until the scheduler's news of a task are here; how often workers are told something.
_NEWS, _TRIES = 5.0, 5
_FAILED = ("error", "cancelled")

#: Hears what tasks tell while they run.
Ear = Callable[[Any], None]
#: Hears which tasks were lost with all workers that had them; says whether to try them again.
Judge = Callable[[set[Any]], bool]
T = TypeVar("T")


class Executor(ABC):
    """Runs plans and holds their results behind handles."""

    #: Who is asked about tasks that were lost with one worker after another.
    judge: Judge | None = None
    #: Called now and then while results are waited for; it may raise an error.
    alarm: Callable[[], None] | None = None

    @abstractmethod
    def submit(self, plan: Plan) -> list[Any]:
        """Start a plan and return a handle for each wanted result."""

    @abstractmethod
    def wait(self, handles: Sequence[Any]) -> None:
        """Wait until results are there; raise the error of one that failed."""

    @abstractmethod
    def gather(self, handles: Sequence[Any]) -> list[Any]:
        """Wait for results and bring them here."""

    @abstractmethod
    def done(self, handles: Sequence[Any]) -> bool:
        """Whether all these results are there, or failed."""

    @abstractmethod
    def well(self, handles: Sequence[Any]) -> bool:
        """Whether all these results are there, and none failed."""

    @abstractmethod
    def settle(self, array: Array) -> list[Any]:
        """Start to compute an array; return a handle for each of its chunks, in order."""

    @abstractmethod
    def chunks(self, keys: Sequence[Any], handles: Sequence[Any]) -> dict[Any, Any]:
        """Return the graph of an array whose chunks, of these keys, are these results."""

    @abstractmethod
    def get(self, graph: Any, keys: Any, **kwargs: Any) -> Any:
        """Compute what somebody reads; a Dask scheduler function."""

    @abstractmethod
    def reload(self, written: Sequence[tuple[str, str]], blocks: Sequence[Any]) -> list[Any]:
        """Load blocks that were written, as roots without a past: (path, address of a holder)."""

    @abstractmethod
    def hearing(self, topic: str, ear: Ear) -> Any:
        """Hear what tasks tell under a topic, within a with block."""

    def keeping(self, topic: str) -> AbstractContextManager[None]:
        """Keep what all workers of a run share, within a with block."""
        return nullcontext()  # in one process, its event loop keeps it

    def keep_apart(self, topic: str, blocks: Iterable[tuple[str, int]]) -> None:
        """Have all workers run these blocks of a run in child processes."""

    def tell(self, topic: str, message: Any) -> None:
        """Tell whoever looks at a run something, soon; nobody does where there is no cluster."""

    def finish_telling(self) -> None:
        """Wait until all is told, but not for long."""

    @abstractmethod
    def sees(self, path: str) -> bool:
        """Whether every worker sees a file."""

    @abstractmethod
    def memory(self) -> int | None:
        """Return the bytes that tasks may take in all; None where there is no limit."""

    @abstractmethod
    def scatter(self, value: Any) -> Any:
        """Send a value to the workers; return a handle."""

    def seal(self, value: Any) -> Any:
        """Return what is sent instead of a value that may hold classes of the user's program."""
        return seal(value)

    def forget(self, folder: str) -> None:
        """Drop what workers keep of a run."""
        tasks.forget(folder)

    def cancel(self, handles: Sequence[Any]) -> None:
        """Give up results that nobody will ask for."""

    def stop(self, topic: str) -> None:
        """Let agents that work for a topic finish, and start no more of them."""

    def hold(self, topic: str) -> None:
        """Let the steps of a run that have begun end, and no other begin."""

    def go_on(self, topic: str) -> None:
        """Let the steps of a run begin that was held."""

    def newest(self, handles: Sequence[Any], families: Sequence[str]) -> list[Any]:
        """Return handles of the newest versions of blocks that are there; None where none is.

        What a version is made from has a key that begins as one of the families do.
        """
        return list(handles)

    def connected(self) -> bool:
        """Whether what runs the tasks can still be asked."""
        return True

    def close(self) -> None:
        """Let go of what this executor holds itself."""


class Held(TaskRef):  # type: ignore[misc]
    """A result that is here already, under the key it was computed by."""

    __slots__ = ("value",)

    def __init__(self, key: Any, value: Any) -> None:
        super().__init__(key)
        self.value = value


class Here(Executor):
    """Runs every task at once in this thread: no scheduler, and a debugger stops where it is."""

    def __init__(self) -> None:
        self._ears: dict[str, Ear] = {}
        self._loop: Loop | None = None

    def submit(self, plan: Plan) -> list[Any]:
        values: dict[Any, Any] = {}
        with tasks.here(self.loop, self._tell):
            for key, task in plan.graph.items():
                held = {arg.key: arg.value for arg in task.args if isinstance(arg, Held)}
                values[key] = task(values | held if held else values)
        return [Held(key, values[key]) for key in plan.wanted]

    @property
    def loop(self) -> Loop:
        """The loop of this thread; of a helper thread where one runs here already (Jupyter)."""
        if self._loop is None:
            running = False
            with suppress(RuntimeError):
                running = bool(asyncio.get_running_loop())
            self._loop = Loop(thread=running)
        return self._loop

    def wait(self, handles: Sequence[Any]) -> None:
        return None

    def gather(self, handles: Sequence[Any]) -> list[Any]:
        return [held.value for held in handles]

    def done(self, handles: Sequence[Any]) -> bool:
        return True

    def well(self, handles: Sequence[Any]) -> bool:
        return True

    def settle(self, array: Array) -> list[Any]:
        (computed,) = dask.persist(array, scheduler="synchronous")
        graph = dict(computed.__dask_graph__())
        return [Held(key, _plain(graph[key])) for key in _keys(array)]

    def chunks(self, keys: Sequence[Any], handles: Sequence[Any]) -> dict[Any, Any]:
        return {key: held.value for key, held in zip(keys, handles, strict=True)}

    def get(self, graph: Any, keys: Any, **kwargs: Any) -> Any:
        return dask.get(graph, keys, **kwargs)

    def reload(self, written: Sequence[tuple[str, str]], blocks: Sequence[Any]) -> list[Any]:
        return [
            Held(path, tasks.load_state(path, block))
            for (path, _), block in zip(written, blocks, strict=True)
        ]

    @contextmanager
    def hearing(self, topic: str, ear: Ear) -> Iterator[None]:
        self._ears[topic] = ear
        try:
            yield
        finally:
            del self._ears[topic]

    def _tell(self, topic: str, message: Any) -> None:
        if topic in self._ears:
            self._ears[topic](message)

    def sees(self, path: str) -> bool:
        return True

    def memory(self) -> int | None:
        return int(MEMORY_LIMIT)  # of the machine, or of the container

    def scatter(self, value: Any) -> Any:
        return value

    def seal(self, value: Any) -> Any:
        return value  # a copy would have other breakpoints and closures than what was written

    def close(self) -> None:
        if self._loop is not None:
            self._loop.close()
            self._loop = None


class Cluster(Executor):
    """Runs tasks on the workers of a Dask client."""

    def __init__(self, client: Client) -> None:
        self.client = client
        prepare_workers(client)
        self._teller = Teller(client)

    def submit(self, plan: Plan) -> list[Any]:
        # named, so that Dask does not look through each task for a name of its own
        expr = LLGExpr(dict(plan.graph), _determ_token=uuid.uuid4().hex)
        # without a time-out, rounds asked for at once would be worked on in any order
        return list(self.client.get(expr, list(plan.wanted), sync=False, fifo_timeout="0s"))

    def wait(self, handles: Sequence[Any]) -> None:
        def ask() -> None:
            failed = [future for future in handles if future.status in _FAILED]
            self.client.gather(failed)  # raises

        self._insist(ask, list(handles))

    def gather(self, handles: Sequence[Any]) -> list[Any]:
        return self._insist(lambda: list(self.client.gather(list(handles))), list(handles))

    def _insist(self, ask: Callable[[], T], futures: list[Future]) -> T:
        """Wait for results and ask for them, again if tasks were lost and are tried again."""
        while True:
            self._wait(futures)
            try:
                return ask()
            except KilledWorker as error:
                failed = [future for future in futures if future.status == "error"]
                if not self._retry(failed, error):
                    raise

    def _retry(self, failed: list[Future], error: KilledWorker) -> bool:
        """Try again what was lost with its workers, and all that waits for it; or return False."""
        scheduler = self.client.scheduler
        lost = self.client.sync(getattr(scheduler, LOST), client=self.client.id)
        if self.judge is None or not self.judge(set(lost) or {error.task}):
            return False
        # not Client.retry: it stumbles over tasks that it holds no future of
        self.client.sync(scheduler.retry, keys=lost, client=self.client.id)
        end = time.monotonic() + _NEWS  # that they are under way again comes on another connection
        while any(future.status == "error" for future in failed) and time.monotonic() < end:
            time.sleep(0.005)
        return True

    def _wait(self, futures: list[Future]) -> None:
        """Wait until results are there or one has failed."""
        # to gather at once would do; interrupted while it waits, it complains of each result later
        while not self.done(futures) and not any(f.status in _FAILED for f in futures):
            if self.alarm is not None:
                self.alarm()
            self.client.sync(_wait_awhile, futures)

    def done(self, handles: Sequence[Any]) -> bool:
        return all(future.done() for future in handles)

    def well(self, handles: Sequence[Any]) -> bool:
        return all(future.status == "finished" for future in handles)

    def settle(self, array: Array) -> list[Any]:
        graph = self.client.persist(array).__dask_graph__()
        return [graph[key] for key in _keys(array)]

    def chunks(self, keys: Sequence[Any], handles: Sequence[Any]) -> dict[Any, Any]:
        return {
            key: future if future.key == key else Task(key, tasks.same, future)
            for key, future in zip(keys, handles, strict=True)
        }

    def get(self, graph: Any, keys: Any, **kwargs: Any) -> Any:
        futures = self.client.get(graph, keys, sync=False, **kwargs)
        return self._insist(lambda: self.client.gather(futures), futures_of(futures))

    def reload(self, written: Sequence[tuple[str, str]], blocks: Sequence[Any]) -> list[Any]:
        with suppress(ValueError):  # a scheduler may refuse to run functions
            self.client.run_on_scheduler(_forget_groups)
        loaded: list[Future] = []
        homes = spread(written, self.client.nthreads())
        for (path, _), address, block in zip(written, homes, blocks, strict=True):
            loaded.append(
                self.client.submit(
                    tasks.load_state,
                    path,
                    block,
                    workers=[address] if address else None,
                    allow_other_workers=bool(address),
                    pure=False,
                )
            )
        return loaded

    @contextmanager
    def hearing(self, topic: str, ear: Ear) -> Iterator[None]:
        def hear(event: tuple[float, Any]) -> None:
            if isinstance(event[1], dict):  # else it is what this program told itself
                ear(event[1])

        self.client.subscribe_topic(topic, hear)
        try:
            yield
        finally:
            if self.client.status == "running":
                self.client.unsubscribe_topic(topic)

    def keeping(self, topic: str) -> AbstractContextManager[None]:
        return keeping(self.client, topic)

    def keep_apart(self, topic: str, blocks: Iterable[tuple[str, int]]) -> None:
        self._tell_workers(ApartPlugin(topic, blocks))

    def _tell_workers(self, plugin: WorkerPlugin) -> None:
        """Tell all workers something, those to come too."""
        for _ in range(_TRIES):
            with suppress(OSError):  # a worker that dies is told, until it is missed
                self.client.register_plugin(plugin)
                break

    def tell(self, topic: str, message: Any) -> None:
        self._teller.say(topic, message)

    def finish_telling(self) -> None:
        self._teller.finish()

    def sees(self, path: str) -> bool:
        return all(self.client.run(tasks.sees, path).values())

    def memory(self) -> int | None:
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        limits = [worker["memory_limit"] for worker in workers]
        return sum(limits) if limits and all(limits) else None

    def scatter(self, value: Any) -> Any:
        return self.client.scatter([value], hash=False)[0]

    def forget(self, folder: str) -> None:
        self.client.run(tasks.forget, folder, on_error="ignore")

    def stop(self, topic: str) -> None:
        self.client.run(tasks.stop, topic, on_error="ignore")

    def hold(self, topic: str) -> None:
        begun = self.client.run(holding.hold, topic, on_error="ignore")
        # by then none begins anywhere, and those that have begun somewhere may begin everywhere
        self._tell_workers(HoldPlugin(topic, max(begun.values(), default=-1)))

    def go_on(self, topic: str) -> None:
        with suppress(ValueError):  # it is held no more
            self.client.unregister_worker_plugin(HoldPlugin.name_of(topic))
        self.client.run(holding.go_on, topic, on_error="ignore")

    def newest(self, handles: Sequence[Any], families: Sequence[str]) -> list[Any]:
        ask = getattr(self.client.scheduler, NEWEST)
        keys = [future.key for future in handles]
        found = self.client.sync(ask, keys=keys, families=list(families), client=self.client.id)
        return [None if key is None else Future(key, self.client) for key in found]

    def connected(self) -> bool:
        return bool(self.client.status == "running")

    def cancel(self, handles: Sequence[Any]) -> None:
        # not Client.cancel: it fails, and the scheduler drops the client, where a task between two
        # of ours (of a mean, say) is nobody's own; what nobody holds is let go as well
        for future in handles:
            future.release()


async def _wait_awhile(futures: list[Future]) -> None:
    """Wait for results, but not for ever.

    A time-out of `Client.sync` is an error that holds itself, and with it the frames of whoever
    waits: results would stay on the cluster until Python looks for cycles.
    """
    waiting = asyncio.ensure_future(wait_for_all(futures))
    # whatever becomes of it after an interrupt is nobody's any more, and no complaint of asyncio's
    waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        await asyncio.wait({waiting}, timeout=_PATIENCE)
        if waiting.done():
            waiting.result()
    finally:
        waiting.cancel()


def _forget_groups(dask_scheduler: Any) -> None:
    """Let the scheduler forget the groups of tasks that are gone; every step has some of its own.

    Its spans keep each group for ever, its computations those of the last hundred, and it knows
    the last 100,000 names of tasks by heart.
    """
    known = set(dask_scheduler.task_groups.values())
    spans = dask_scheduler.extensions.get("spans")
    holders = spans.spans_search_by_name.get(("default",), ()) if spans else ()
    for holder in (*holders, *dask_scheduler.computations):
        holder.groups.intersection_update(known)
    key_split.cache_clear()


# sent by value: the scheduler need not have this package
_forget_groups.__module__ = "__main__"


def spread(written: Sequence[tuple[str, str]], threads: Mapping[str, int]) -> list[str]:
    """Return which worker goes on with each block: its holder, but none with more than its share.

    Dask runs a task where its data is, so blocks of short steps gather on one worker in time.

    Parameters
    ----------
    written
        Path and holder of each block; those of a population are in one folder.
    threads
        Of each worker.

    Returns
    -------
    list of str
        The addresses; ``""`` where there are no workers.

    Examples
    --------
    >>> spread([("c/0", "a"), ("c/1", "a"), ("c/2", "a"), ("c/3", "b")], {"a": 1, "b": 1})
    ['a', 'a', 'b', 'b']
    """
    total = sum(threads.values())
    sizes = Counter(str(Path(path).parent) for path, _ in written)
    taken: Counter[tuple[str, str]] = Counter()
    homes = []
    for path, holder in written:
        folder = str(Path(path).parent)
        home = holder
        if taken[folder, holder] >= math.ceil(
            sizes[folder] * threads.get(holder, 0) / (total or 1)
        ):
            free = sorted(threads, key=lambda a: (taken[folder, a] / max(threads[a], 1), a))
            home = free[0] if free else ""
        taken[folder, home] += 1
        homes.append(home)
    return homes


def _keys(array: Array) -> list[Any]:
    """Return the keys of an array's chunks, in order."""
    return list(dask.core.flatten(array.__dask_keys__()))


def _plain(node: Any) -> Any:
    """Return the value of a graph's data node."""
    return node.value if hasattr(node, "value") else node


__all__ = ["Cluster", "Executor", "Held", "Here"]
