"""Entries: what the journal says of one chat, as msgpack; from answers, and to answers again."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

import msgspec

from daskagents import errors
from daskagents.errors import ModelError
from daskagents.models.base import Answer, Request
from daskagents.usage import NAMES, Usage

#: The parts of a `Usage`.
Numbers: TypeAlias = tuple[int, int, int, int, int, float, float]
#: A text as it is, or what refers to a long one; see `daskagents.journal.texts`.
Text: TypeAlias = str


class Head(msgspec.Struct, array_like=True, tag=0, frozen=True):
    """What stands first in a segment: whose it is."""

    format: int
    life: str
    step: int
    block: int
    population: str
    method: str


class Asked(msgspec.Struct, array_like=True, frozen=True):
    """A request: who said what, and what else it asked for."""

    digest: bytes
    turns: list[tuple[str, str, Text]]
    wanted: Text = ""


class Said(msgspec.Struct, array_like=True, frozen=True):
    """One chat: the `call`-th of an agent in the step.

    `drawn` is how many random numbers the agent had drawn when it ended, `began` the time since
    the epoch in seconds, `numbers` what it took.
    """

    agent: int
    call: int
    asked: Asked
    drawn: int
    began: float
    seconds: float
    numbers: Numbers

    @property
    def usage(self) -> Usage:
        """What it took."""
        return Usage(*self.numbers)


class Entry(Said, array_like=True, tag=1, frozen=True):
    """A chat that was answered."""

    text: str
    value: Any
    model: str
    endpoint: str
    reasoning: str = ""
    how: str = ""
    probabilities: dict[str | int, float] | None = None

    def answer(self, request: Request) -> Answer:
        """Return the answer as the agent got it."""
        value = self.value
        if request.schema is not None:
            value = msgspec.convert(value, request.schema)
        took = dict(zip(NAMES, self.numbers, strict=True))
        return Answer(
            text=self.text,
            value=value,
            model=self.model,
            endpoint=self.endpoint,
            reasoning=self.reasoning,
            how=self.how,
            probabilities=self.probabilities,
            **took,  # type: ignore[arg-type]
        )


class Lapse(Said, array_like=True, tag=2, frozen=True):
    """A chat that failed in the end, and how."""

    kind: str
    message: str
    endpoint: str
    passing: bool
    status: int = 0
    wait: float = 0.0

    def error(self) -> Exception:
        """Return the error as the agent got it."""
        known, message = _error_named(self.kind), self.message
        # whatever it is made with, and shown as it was: a KeyError quotes what it is given
        like: Any = type(self.kind, (known,), {"__str__": lambda error: message})
        error: Any = like.__new__(like) if known.__module__ != errors.__name__ else known(message)
        error.args = (message,)
        if isinstance(error, ModelError):
            error.usage, error.passing, error.wait = self.usage, self.passing, self.wait
        for name, value in (("endpoint", self.endpoint), ("status", self.status)):
            if value:
                setattr(error, name, value)
        return error  # type: ignore[no-any-return]


def _error_named(kind: str) -> type[Exception]:
    """Return a class of errors by its name: ours, Python's, or one of the user's own."""
    found = getattr(errors, kind, None) or getattr(builtins, kind, None)
    if not (isinstance(found, type) and issubclass(found, Exception)):
        found = next((one for one in _kinds_of(Exception) if one.__name__ == kind), ModelError)
    return found


def _kinds_of(known: type[Exception]) -> Iterator[type[Exception]]:
    """Yield all classes of errors that are made from one."""
    for one in type.__subclasses__(known):
        yield one
        yield from _kinds_of(one)


class Taken(msgspec.Struct, array_like=True, tag=3, frozen=True):
    """The answers that an attempt found: of other attempts, up to an offset in their segments."""

    attempts: list[tuple[str, int]]


Record = Head | Entry | Lapse | Taken
Chat = Entry | Lapse

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Record).decode
_numbers = attrgetter(*NAMES)


def numbers_of(usage: Any) -> Numbers:
    """Return the parts of a usage, or of an answer, which has them too."""
    return _numbers(usage)


class About(NamedTuple):
    """Which chat of whom, random numbers drawn by its end, when it began and its seconds."""

    agent: int
    call: int
    drawn: int
    began: float
    seconds: float


def entry_of(answer: Answer, asked: Asked, about: About) -> Entry:
    """Return the entry of an answer."""
    value = answer.value
    if value is not None and type(value) not in (str, int, float, bool):
        value = msgspec.to_builtins(value)
    return Entry(
        about.agent,
        about.call,
        asked,
        about.drawn,
        about.began,
        about.seconds,
        numbers_of(answer),
        answer.text,
        value,
        answer.model,
        answer.endpoint,
        answer.reasoning,
        answer.how,
        answer.probabilities,
    )


def lapse_of(error: Exception, asked: Asked, about: About) -> Lapse:
    """Return the entry of a chat that failed."""
    return Lapse(
        about.agent,
        about.call,
        asked,
        about.drawn,
        about.began,
        about.seconds,
        numbers_of(getattr(error, "usage", Usage())),
        type(error).__name__,
        str(error).encode("utf-8", "backslashreplace").decode(),
        str(getattr(error, "endpoint", "")),
        bool(getattr(error, "passing", False)),
        status if isinstance(status := getattr(error, "status", 0), int) else 0,
        float(getattr(error, "wait", 0.0)),
    )


def wanted_of(request: Request) -> str:
    """Return in words what a request asks for besides its messages."""
    if request.schema is None and not request.sampling:
        return ""
    parts: list[str] = []
    if request.schema is not None:
        schema = request.schema
        parts.append(f"schema={getattr(schema, '__qualname__', None) or schema!r}")
    if request.extract:
        parts.append("extract=True")
    if request.choices:
        parts.append(f"choices={list(request.choices)!r}")
    parts += [f"{name}={value!r}" for name, value in sorted(request.sampling.items())]
    return ", ".join(parts)


__all__ = ["Asked", "Chat", "Entry", "Head", "Lapse", "Record", "Taken", "Text"]
