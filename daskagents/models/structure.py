"""Answers of a given structure: how they are asked for, repaired, and extracted from free text."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from daskagents.errors import AnswerError, ModelError
from daskagents.message import Message
from daskagents.models import schema
from daskagents.models.base import Answer, Request, sound
from daskagents.models.grammar import grammar
from daskagents.models.kinds import kind_of
from daskagents.models.text import shorten
from daskagents.usage import Usage

#: What a model is told when its answer does not fit.
_REPAIR = "This answer cannot be used: {problem}\nAnswer again, in the form that was asked for."
#: What a model is told that is to say again in a given form what it said freely.
_EXTRACT = "Report the final answer that you gave, in the form asked for, and nothing else."
#: How much of its own answer a model is shown again, in characters.
_SHOWN = 4_000


@dataclass(frozen=True, slots=True)
class Structure:
    """How answers of a given structure are got from a model.

    Parameters
    ----------
    send
        Sends a request once, its schema along, and returns the answer without a value.
    how
        What is sent along: ``"schema"`` or ``"grammar"``.
    tell
        Makes a problem presentable: says where, and takes the key out.
    """

    send: Callable[[Request], Awaitable[Answer]]
    how: str
    tell: Callable[[str], str]

    async def ask(self, request: Request) -> Answer:
        """Ask for a value of the request's schema: by one call, or by two with `extract`.

        Raises
        ------
        AnswerError
            If the answer does not fit, and its repair does not either.
        """
        return await self.finish(request, await self.send(opening(request)))

    async def finish(self, request: Request, answer: Answer) -> Answer:
        """Get the value from the answer to the opening of a request."""
        if request.extract:
            return await self._extract(request, answer)
        return await self._settle(request, answer)

    async def finish_all(
        self, request: Request, answers: Sequence[Answer | ModelError]
    ) -> list[Answer | ModelError]:
        """Finish many answers to one request, each alone."""

        async def one(answer: Answer | ModelError) -> Answer:
            if isinstance(answer, ModelError):
                raise answer
            return await self.finish(request, answer)

        return sound(await asyncio.gather(*map(one, answers), return_exceptions=True))

    async def _extract(self, request: Request, free: Answer) -> Answer:
        """Have the model say in the form asked for what it said freely."""
        asked = msgspec.structs.replace(
            request,
            messages=_reply(request, free.text, _EXTRACT),
            sampling={**request.sampling, "temperature": 0.0},
            extract=False,
        )
        try:
            found = await self._settle(asked, await self.send(asked))
        except ModelError as error:
            raise _after(error, free.usage) from None
        how = "extract" if found.how == self.how else found.how
        return msgspec.structs.replace(
            found.after(free.usage), text=free.text, reasoning=free.reasoning, how=how
        )

    async def _settle(self, request: Request, answer: Answer) -> Answer:
        """Read an answer; if it does not fit, show the model why, once, and read what it says."""
        try:
            return _filled(request, answer, self.how)
        except AnswerError as error:
            problem = str(error)
        told = _REPAIR.format(problem=problem)
        again = msgspec.structs.replace(request, messages=_reply(request, answer.text, told))
        try:
            repaired = await self.send(again)
        except ModelError as error:
            raise _after(error, answer.usage) from None
        repaired = repaired.after(answer.usage)
        try:
            return _filled(request, repaired, "repair")
        except AnswerError as error:
            failed = AnswerError(self.tell(f"{error}; it was shown its error once before"))
            failed.usage = repaired.usage
        raise failed


def opening(request: Request) -> Request:
    """Return what is asked first: with `extract`, for free text."""
    if not request.extract:
        return request
    return msgspec.structs.replace(request, schema=None, extract=False, choices=())


def _filled(request: Request, answer: Answer, how: str) -> Answer:
    """Return an answer with its value."""
    value = schema.read(answer.text, request.schema)
    return msgspec.structs.replace(answer, value=value, how=how)


def _reply(request: Request, said: str, told: str) -> tuple[Message, ...]:
    """Return the conversation with what the model said, and what it is told then."""
    return (*request.messages, Message(shorten(said, _SHOWN), "assistant"), Message(told))


def _after(error: ModelError, spent: Usage) -> ModelError:
    """Note with an error what had been answered, and is to be paid, before it."""
    error.usage = spent + error.usage
    return error


@lru_cache(256)
def form(wanted: Any, as_grammar: bool) -> dict[str, Any]:
    r"""Return what asks an endpoint for a schema: the parameters of the body.

    Examples
    --------
    >>> form(bool, True)
    {'grammar': 'root ::= "{\\"answer\\":" ("true" | "false") "}"'}
    """
    if as_grammar:
        return {"grammar": grammar(wanted)}
    kind = kind_of(wanted)
    named = {
        "name": kind.node.cls.__name__ if kind.wrapped else _plain(kind.name),
        "strict": True,
        "schema": schema.json_schema(wanted),
    }
    # Encoded once: it is longer than most requests.
    encoded = msgspec.json.encode({"type": "json_schema", "json_schema": named})
    return {"response_format": msgspec.Raw(encoded)}


def _plain(name: str) -> str:
    """Return a name of what all endpoints take."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:64]
