"""Tells the scheduler what a program has to say of its runs, in order and without waiting."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any

from distributed import Client

#: Seconds between two calls to the scheduler: what is said meanwhile goes together.
_PACE = 0.1
#: Seconds that the end of a run waits until all is told.
_PATIENCE = 5.0


class Teller:
    """Tells what is said under a topic, as `Client.log_event` does; but that waits for an answer.

    Parameters
    ----------
    client
        Whose scheduler is told.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._waiting: deque[tuple[str, Any]] = deque()
        self._task: asyncio.Task[None] | None = None

    def say(self, topic: str, message: Any) -> None:
        """Have something told, soon; from any thread."""
        self._waiting.append((topic, message))
        self._client.loop.add_callback(self._begin)

    def finish(self) -> None:
        """Wait until all that was said is told, but not for long."""
        if self._client.status == "running":
            with suppress(OSError, TimeoutError):
                self._client.sync(self._told, callback_timeout=2 * _PATIENCE)

    def _begin(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._tell())

    async def _told(self) -> None:
        self._begin()
        assert self._task is not None
        await asyncio.wait({self._task}, timeout=_PATIENCE)

    async def _tell(self) -> None:
        """Tell all there is, then rest; what cannot be told is nobody's loss but the page's."""
        with suppress(OSError):
            while self._waiting:
                topic = self._waiting[0][0]
                messages = []
                while self._waiting and self._waiting[0][0] == topic:
                    messages.append(self._waiting.popleft()[1])
                await self._client.scheduler.log_event(topic=topic, msg=messages)
                if not self._waiting:
                    await asyncio.sleep(_PACE)
