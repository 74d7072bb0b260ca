"""What takes longer is asked of a worker, which does it in a thread beside its tasks.

Neither the scheduler's event loop nor a worker's waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

from daskagents.errors import DaskAgentsError, FolderError

#: What workers are asked under.
LOOK = "daskagents_look"
#: What can be asked for, and the function that answers: of plain values, with a plain dict.
QUESTIONS = {
    "by": "daskagents.monitor.grouped:by",
    "find": "daskagents.monitor.finding:find",
    "history": "daskagents.monitor.history:history",
    "conversation": "daskagents.monitor.history:conversation",
}
#: Seconds until an answer must be there.
_PATIENCE = 120.0


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(2, "daskagents-look")


def prepare(worker: Any) -> None:
    """Let a worker answer."""
    worker.handlers[LOOK] = answer


async def answer(what: str, given: list[Any]) -> dict[str, Any]:
    """Answer a question, in a thread of this worker.

    Parameters
    ----------
    what
        One of `QUESTIONS`.
    given
        The arguments of its function.
    """
    module, _, name = QUESTIONS[what].partition(":")
    try:
        function: Callable[..., dict[str, Any]] = getattr(import_module(module), name)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_threads(), partial(function, *given))
    except DaskAgentsError as error:
        unseen = isinstance(error, FolderError) and not Path(given[0], "run.json").exists()
        return {"error": str(error), "kind": "unseen" if unseen else "usage"}
    except Exception as error:  # whoever looks at the page is told, and no worker is hurt
        return {"error": f"{type(error).__name__}: {error}"}


async def ask(scheduler: Any, what: str, *given: Any) -> dict[str, Any]:
    """Ask the worker that has the least to do; return its answer, or ``{"error": why}``.

    Where no worker is left, or they do not see the run directory, a thread of the scheduler looks.
    """
    workers = [w for w in scheduler.workers.values() if w.status.name == "running"]
    if not workers:
        return _unseen(await answer(what, list(given)), given)
    worker = min(workers, key=lambda w: (w.occupancy, w.address))
    found = await _ask(scheduler, worker, what, given)
    if found.get("kind") == "unseen":
        found = _unseen(await answer(what, list(given)), given)
    return found


def _unseen(found: dict[str, Any], given: tuple[Any, ...]) -> dict[str, Any]:
    """Say it better where nobody sees the run directory."""
    if found.get("kind") != "unseen":
        return found
    return {
        "error": f"neither the workers nor the scheduler see {given[0]}; give runs an `out` that"
        " they share, or look at the run where it is: daskagents show DIR"
    }


async def _ask(scheduler: Any, worker: Any, what: str, given: tuple[Any, ...]) -> dict[str, Any]:
    """Ask one worker."""
    try:
        async with asyncio.timeout(_PATIENCE):
            call = getattr(scheduler.rpc(worker.address), LOOK)
            return dict(await call(what=what, given=list(given)))
    except (OSError, TimeoutError) as error:
        return {"error": f"the worker {worker.address} did not answer: {error!r}"}
    except Exception as error:  # one that has another version of this package
        return {"error": f"the worker {worker.address} could not answer: {error}"}


class Asked:
    """A question that a view has asked: it looks for the answer when it is updated next.

    Examples
    --------
    >>> asked = Asked()
    >>> asked.busy, asked.answer
    (False, None)
    """

    def __init__(self) -> None:
        self.answer: dict[str, Any] | None = None
        self.question: tuple[Any, ...] = ()
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether the answer is still to come."""
        return self._task is not None and not self._task.done()

    def ask(self, scheduler: Any, what: str, *given: Any) -> None:
        """Ask, on the event loop of the scheduler; an answer that is still to come is dropped."""
        if self._task is not None:
            self._task.cancel()
        self.question, self.answer = (what, *given), None
        self._task = asyncio.ensure_future(self._wait(scheduler, what, given))

    async def _wait(self, scheduler: Any, what: str, given: tuple[Any, ...]) -> None:
        self.answer = await ask(scheduler, what, *given)

    def clear(self) -> None:
        """Ask nothing any more."""
        if self._task is not None:
            self._task.cancel()
        self._task, self.answer, self.question = None, None, ()
