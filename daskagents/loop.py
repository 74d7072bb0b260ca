"""The event loop that a process runs its waiting agents on."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

#: Agents that may be under way at once in one process; more wait without a cost.
IN_FLIGHT = 65_536
#: Agents of one step that may wait for leave to ask before no more are started.
_IN_LINE = 256
#: Agents that are started in one turn of the loop.
_AT_ONCE = 64

_resources: dict[asyncio.AbstractEventLoop, dict[Hashable, Any]] = {}


def resource(key: Hashable, make: Callable[[], T]) -> T:
    """Return what the running loop keeps under `key`, made on first use.

    It is closed with the loop, by its `aclose` or `close` coroutine. Use it for connection pools.
    """
    kept = _resources.setdefault(asyncio.get_running_loop(), {})
    if key not in kept:
        kept[key] = make()
    return kept[key]  # type: ignore[no-any-return]


def let_go(kept: Any) -> None:
    """Keep something no longer for the running loop, without closing it."""
    keeps = _resources.get(asyncio.get_running_loop(), {})
    for key in [key for key, value in keeps.items() if value is kept]:
        del keeps[key]


async def close_resources() -> None:
    """Close all that the running loop keeps."""
    for kept in _resources.pop(asyncio.get_running_loop(), {}).values():
        close = getattr(kept, "aclose", None) or kept.close
        with suppress(OSError):
            await close()


class Line:
    """The agents of one step that wait for leave to ask a model.

    They hold all that an agent under way holds, so no more are started while the line is long.
    """

    def __init__(self) -> None:
        self._length = 0
        self._short = asyncio.Event()
        self._short.set()

    async def stand(self, leave: asyncio.Future[T]) -> T:
        """Wait for leave, in the line."""
        self._length += 1
        if self._length >= _IN_LINE:
            self._short.clear()
        try:
            return await leave
        finally:
            self._length -= 1
            if self._length == _IN_LINE // 2:
                self._short.set()

    async def is_short(self) -> None:
        """Wait until the line is short."""
        await self._short.wait()


#: The line of the step that an agent takes part in.
line: ContextVar[Line] = ContextVar("line")


class Loop:
    """An event loop with a bound on the agents under way.

    Parameters
    ----------
    thread
        Whether the loop has a thread of its own. Without one, `run` drives the loop in the thread
        that calls it, so that a debugger stops where the agents are; or in a helper thread if
        another loop runs there already, as in Jupyter.

    """

    def __init__(self, *, thread: bool) -> None:
        self._loop = asyncio.new_event_loop()
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._thread: threading.Thread | None = None
        if thread:
            self._thread = threading.Thread(
                target=self._loop.run_forever, name="daskagents-loop", daemon=True
            )
            self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end and return its result."""
        if self._thread is None:
            task = self._loop.create_task(coroutine)
            return self._here(task) if asyncio._get_running_loop() is None else self._aside(task)
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine on a loop that has a thread of its own; return what it will give."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _here(self, task: asyncio.Task[T]) -> T:
        """Drive the loop in this thread until a task is done; what is interrupted is ended."""
        try:
            return self._loop.run_until_complete(task)
        except BaseException:
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError, KeyboardInterrupt, SystemExit):
                    self._loop.run_until_complete(task)
            raise

    def _aside(self, task: asyncio.Task[T]) -> T:
        """Drive the loop in a helper thread until a task is done."""
        with ThreadPoolExecutor(1, "daskagents-loop") as helper:
            waiting = helper.submit(self._loop.run_until_complete, task)
            try:
                return waiting.result()
            except BaseException:
                self._loop.call_soon_threadsafe(task.cancel)
                raise

    def run_each(self, one: Callable[[int], Awaitable[None]], rows: Iterator[int]) -> None:
        """Run ``one(row)`` for every row, as many at a time as this process may have under way."""
        self.run(self._each(one, rows))

    async def _each(self, one: Callable[[int], Awaitable[None]], rows: Iterator[int]) -> None:
        # A lane takes one agent after another: an agent not yet started costs nothing.
        async def lane(row: int) -> None:
            await one(row)
            for later in rows:
                await one(later)

        own = Line()
        line.set(own)
        async with asyncio.TaskGroup() as lanes:
            for started in itertools.count(1):
                if not started % _AT_ONCE:
                    await asyncio.sleep(0)  # so that they get to where they wait
                    await own.is_short()
                await self._slots.acquire()
                row = next(rows, None)
                if row is None:
                    self._slots.release()
                    break
                # not in the lane itself: one that is cancelled before it begins runs no `finally`
                lanes.create_task(lane(row)).add_done_callback(lambda _: self._slots.release())

    def close(self) -> None:
        """Close what the loop keeps, then the loop."""
        if self._loop.is_closed():
            return
        self.run(close_resources())
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()


_shared: Loop | None = None
_lock = threading.Lock()


def shared_loop() -> Loop:
    """Return the one loop of this process that has its own thread, started on first use."""
    global _shared
    with _lock:
        if _shared is None:
            _shared = Loop(thread=True)
        return _shared


def close_shared_loop() -> None:
    """Stop the loop of this process, if there is one."""
    global _shared
    with _lock:
        loop, _shared = _shared, None
    if loop is not None:
        loop.close()


@contextmanager
def patient_gc() -> Iterator[None]:
    """Let the garbage collector look seldom, as suits very many short-lived coroutines.

    With the defaults it is the largest cost of a step of waiting agents. What somebody else has
    frozen before, stays so.
    """
    before, frozen = gc.get_threshold(), gc.get_freeze_count() > 0
    if not frozen:
        gc.collect()
        gc.freeze()
    gc.set_threshold(200_000, 50, 1_000)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        if not frozen:
            gc.unfreeze()
