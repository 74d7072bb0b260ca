"""A model that asks nobody: for tests, for rules of thumb and for measuring the rest."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, is_dataclass
from enum import Enum
from functools import partial
from typing import Any, TypeAlias

import msgspec

from daskagents.errors import UsageError
from daskagents.loop import resource
from daskagents.models import schema
from daskagents.models.base import Answer, Model, Request
from daskagents.models.kinds import kind_of
from daskagents.models.samples import sample

#: A text, a number, or an instance of the request's schema.
Said: TypeAlias = Any


@dataclass(frozen=True)
class Dummy(Model):
    """A model that answers after a while, with what it is told to.

    Parameters
    ----------
    latency
        Seconds until the answer comes.
    answer
        A text, a number, or an instance of the request's schema; or ``function(request, rng)``
        that returns one, where `rng` is the agent's. None: an instance of the schema drawn with
        the agent's `rng`, or without a schema a number from 0 to 100 as a text.
    model
        What it calls itself.

    Examples
    --------
    >>> import asyncio
    >>> from daskagents import Message
    >>> dummy = Dummy(answer=lambda request, rng: request.messages[-1].text.upper())
    >>> answer = asyncio.run(dummy.chat(Request((Message("hello you"),))))
    >>> answer.text, answer.tokens
    ('HELLO YOU', 4)
    """

    repeats = True
    latency: float = 0.0
    answer: Said | Callable[[Request, Any], Said] | None = ""
    model: str = field(default="dummy", kw_only=True)

    async def chat(self, request: Request) -> Answer:
        """Answer one request; tokens are counted as words.

        Raises
        ------
        AnswerError
            If the text does not fit the request's schema.
        UsageError
            If the answer is to be drawn and the request has no `rng`, or it is no text, number or
            instance.
        """
        if self.latency > 0:
            await resource(("alarm", self.latency), partial(_Alarm, self.latency)).set()
        said = self._say(request)
        wanted = request.schema
        text = said if isinstance(said, str) else _text(said, wanted, self.answer is None)
        value = None if wanted is None else schema.read(text, wanted)
        prompt = sum(len(turn.text.split()) for turn in request.messages)
        return Answer(text, value, prompt, len(text.split()), self.model, cost=0.0)

    def _say(self, request: Request) -> Said:
        """Return what it is told to say."""
        if callable(self.answer):
            return self.answer(request, request.rng)
        if self.answer is not None:
            return self.answer
        if request.rng is None:
            raise UsageError("this Dummy draws its answers, and the request has no rng; pass rng=")
        if request.schema is not None:
            return sample(request.schema, request.rng)
        return str(request.rng.uniform(0, 100))


def _text(said: Said, wanted: Any, drawn: bool) -> str:
    """Return as a text what is none: a number, or an instance of what is wanted."""
    if drawn and said is None:  # as of X | None
        return "null"
    if isinstance(said, int | float) and wanted is None:
        return str(said)
    if isinstance(said, int | float | Enum | tuple) or (wanted is not None and is_dataclass(said)):
        return msgspec.json.encode(said).decode()
    kinds = "str or a number" + (f", or what fits {kind_of(wanted).name}" if wanted else "")
    raise UsageError(f"the answer of a Dummy is a {type(said).__name__}; return {kinds}")


class _Alarm:
    """Wakes all that wait for one and the same time, with one timer: one each costs far more."""

    def __init__(self, latency: float) -> None:
        self._latency = latency
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()

    def set(self) -> asyncio.Future[None]:
        """Return a future that is done after the latency."""
        future = self._loop.create_future()
        due = self._loop.time() + self._latency
        self._waiting.append((due, future))
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._ring)
        return future

    def _ring(self) -> None:
        now, waiting = self._loop.time(), self._waiting
        while waiting and waiting[0][0] <= now:
            _, future = waiting.popleft()
            if not future.done():  # it may have been cancelled
                future.set_result(None)
        self._timer = self._loop.call_at(waiting[0][0], self._ring) if waiting else None

    async def aclose(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
