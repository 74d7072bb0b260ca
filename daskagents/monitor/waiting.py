"""Waiting for answers on the page, of workers or of the program of a run, and showing them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

#: Seconds between two looks for an answer, and that one may come after the end of its run.
_LOOK, _LATE = 0.05, 1.0


class Waiting:
    """What somebody who looks at the page waits for: the answer to the last question.

    Parameters
    ----------
    root
        Returns the layout that shows answers, which is asked for its document.

    Attributes
    ----------
    busy : bool
        Whether an answer is still to come.
    """

    def __init__(self, root: Callable[[], Any]) -> None:
        self._root = root
        self._task: asyncio.Future[None] | None = None
        self.busy = False

    def drop(self) -> None:
        """Wait no more."""
        self.busy = False
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def ask(
        self,
        question: Callable[[], Awaitable[dict[str, Any]]],
        done: Callable[[dict[str, Any]], None],
    ) -> None:
        """Wait for an answer, instead of the one that was waited for before.

        Parameters
        ----------
        question
            Asks for the answer; gives it, or a dict with ``error``.
        done
            Is called with it, when the document can be changed.
        """
        self.drop()
        self.busy = True
        self._task = asyncio.ensure_future(self._wait(question, done))

    async def _wait(
        self,
        question: Callable[[], Awaitable[dict[str, Any]]],
        done: Callable[[dict[str, Any]], None],
    ) -> None:
        own = asyncio.current_task()
        try:
            answer = await question()
        except Exception as error:  # the page says it, and goes on
            answer = {"error": f"{type(error).__name__}: {error}"}

        def show() -> None:
            if self._task is own:
                self.busy, self._task = False, None
                done(answer)

        document = self._root().document
        if document is not None:  # nobody looks any more
            document.add_next_tick_callback(show)


async def command(plugin: Any, topic: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """Give a run a command; return what it answers, or ``{"error": why}``.

    Parameters
    ----------
    plugin
        The `MonitorPlugin`.
    topic
        Of the run.
    said
        The command.
    """
    run = plugin.runs.get(topic)
    if run is None or not run.open:
        return {"error": "the run has ended, and its program can be asked no more"}
    number = plugin.command(topic, said)
    late = 0.0
    while number not in plugin.answers:
        if late > _LATE:
            return {"error": "the run has ended before it answered"}
        await asyncio.sleep(_LOOK)
        late += 0.0 if run.open else _LOOK
    found: dict[str, Any] = plugin.answers[number]
    return {"error": str(found["error"])} if "error" in found else dict(found.get("said") or {})
