"""Models that tests of wrappers are put around: they do as they are told, and count."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from daskagents.errors import AnswerError, EndpointError, ModelError
from daskagents.loop import Loop
from daskagents.message import Message
from daskagents.models import Answer, Model, Request
from daskagents.usage import Usage

T = TypeVar("T")

HELLO = Request((Message("be brief", "system"), Message("hello you")))


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop of its own, and close what it kept there."""
    loop = Loop(thread=False)
    try:
        return loop.run(coroutine)
    finally:
        loop.close()


def passing(status: int = 503, wait: float = 0.0, **usage: Any) -> EndpointError:
    error = EndpointError(f"status {status}")
    error.status, error.passing, error.wait, error.usage = status, True, wait, Usage(**usage)
    return error


def final(status: int = 400) -> EndpointError:
    error = EndpointError(f"status {status}")
    error.status = status
    return error


def odd() -> AnswerError:
    return AnswerError("it makes no sense")


@dataclass(eq=False, frozen=True)
class Told(Model):
    """Says what a script has next, after a while; errors are raised."""

    script: Iterator[str | ModelError | Answer]
    latency: float = 0.0
    seen: list[Request] = field(default_factory=list)

    async def chat(self, request: Request) -> Answer:
        self.seen.append(request)
        said = next(self.script)
        await asyncio.sleep(self.latency)
        if isinstance(said, ModelError):
            raise said
        return said if isinstance(said, Answer) else Answer(said, cost=0.0)


@dataclass(eq=False, frozen=True)
class Batch(Model):
    """Gives many answers at once, by a function of how many are asked for."""

    answers: Callable[[Request, int], list[Answer | ModelError]]
    latency: float = 0.0
    asked: list[int] = field(default_factory=list)

    async def chat(self, request: Request) -> Answer:
        (answer,) = await self.chat_many(request, 1)
        if isinstance(answer, ModelError):
            raise answer
        return answer

    async def chat_many(self, request: Request, n: int) -> list[Answer | ModelError]:
        self.asked.append(n)
        await asyncio.sleep(self.latency)
        return self.answers(request, n)
