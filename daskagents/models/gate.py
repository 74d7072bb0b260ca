"""A gate that calls go through, as far as the run's keeper has granted this process leave."""

from __future__ import annotations

import asyncio
import pickle
import uuid
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from time import monotonic
from typing import Any, TypeVar

from msgspec.structs import replace

from daskagents import loop
from daskagents.errors import ModelError, RunError
from daskagents.keeper import Accounts
from daskagents.models.base import Answer, Keeper, Model, Request, Wrapper
from daskagents.usage import Usage

A = TypeVar("A", bound=Answer | ModelError)

#: Seconds between two words to the keeper at least, and at most while nothing changes.
_SOONEST, _LATEST = 0.02, 2.0


class LocalKeeper:
    """Keeps what the calls of this event loop share, where no run does."""

    def __init__(self) -> None:
        self.accounts = Accounts()

    async def ask(self, account: str, said: dict[str, Any]) -> dict[str, Any]:
        """Tell the keeper of an account something; return its answer."""
        return self.accounts.tell(account, "here", said, monotonic())

    async def aclose(self) -> None:
        """Do nothing: all it has goes with it."""


class Gate(ABC):
    """Lets calls through that have leave, in the order in which they came.

    It has leave in batches: while calls go through, one coroutine tells the keeper now and then
    what was used and is wanted, and hears what is granted. When nothing is under way any more, all
    is given back, and the gate is gone. One lives in an event loop, for one account of one run.

    Parameters
    ----------
    kind, terms
        Of the account.
    account
        Its name.
    keeper
        Whom to ask.
    """

    def __init__(self, kind: str, terms: list[Any], account: str, keeper: Keeper) -> None:
        self._about = {"kind": kind, "terms": terms, "gate": uuid.uuid4().hex[:12]}
        self._account, self._keeper = account, keeper
        self._loop = asyncio.get_running_loop()
        self._line: deque[tuple[asyncio.Future[Any], Any]] = deque()
        self._talk: asyncio.Task[None] | None = None
        self._soon = asyncio.Event()
        self.flying = 0

    @abstractmethod
    def _admit(self, need: Any) -> Any:
        """Take what one call needs and return it, if there is leave for it; else None."""

    @abstractmethod
    def _report(self, *, bye: bool) -> dict[str, Any]:
        """Return what to tell the keeper; part with what is given back, all of it at a `bye`."""

    @abstractmethod
    def _receive(self, told: dict[str, Any]) -> None:
        """Take what was granted."""

    @abstractmethod
    def need(self, request: Request, n: int) -> Any:
        """Return what a request for `n` answers needs."""

    @abstractmethod
    def leave(self, taken: Any, usage: Usage | Answer | None, error: BaseException | None) -> None:
        """Hear what a call took that went through, and how it ended."""

    def enter(self, need: Any) -> Any:
        """Let a call through at once if it has leave and nobody waits; else return None."""
        if self._talk is None:
            self._talk = self._loop.create_task(self._keep_talking())
        return None if self._line else self._admit(need)

    async def wait(self, need: Any) -> Any:
        """Wait in line until a call may go through; return what it took."""
        future = self._loop.create_future()
        if not self._line:
            self._soon.set()
        self._line.append((future, need))
        line = loop.line.get(None)
        try:
            return await (future if line is None else line.stand(future))
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._undo(future.result())
            raise

    @abstractmethod
    def _undo(self, taken: Any) -> None:
        """Take back a call that was let through and never made."""

    def let_in(self) -> None:
        """Let those at the head of the line through that have leave."""
        line = self._line
        while line:
            future, need = line[0]
            taken = None if future.done() else self._admit(need)
            if taken is None and not future.done():
                return
            line.popleft()
            if taken is not None:
                future.set_result(taken)

    def refuse(self, error: Callable[[], Exception]) -> None:
        """Let all in line fail."""
        while self._line:
            future, _ = self._line.popleft()
            if not future.done():
                future.set_exception(error())

    def head(self) -> Any:
        """Return what the first in line needs; None where nobody waits."""
        while self._line and self._line[0][0].done():
            self._line.popleft()
        return self._line[0][1] if self._line else None

    @property
    def _quiet(self) -> bool:
        return not self.flying and self.head() is None

    async def _keep_talking(self) -> None:
        """Talk with the keeper as long as calls go through."""
        try:
            pause, last = 0.0, None
            while True:
                said = self._report(bye=False)
                bye = said == last and self._quiet
                if bye:
                    said = self._report(bye=True)
                told = await self._keeper.ask(self._account, {**self._about, **said, "bye": bye})
                self._receive(told)
                self.let_in()
                if bye and self._quiet:
                    break
                idle = said == last and self.head() is None
                pause = min(2 * pause, _LATEST) if idle else told["wait"]
                last = said
                await self._rest(pause)
        except Exception as error:
            why = f"what the workers of this run share is not kept any more: {error}"
            self.refuse(lambda: RunError(why))
        finally:
            self._talk = None
            loop.let_go(self)

    async def _rest(self, seconds: float) -> None:
        """Wait, but not as long if somebody is short of leave meanwhile."""
        self._soon.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.sleep(_SOONEST)
                await self._soon.wait()

    async def aclose(self) -> None:
        """Stop talking; what this process had, its keeper takes back when it is gone."""
        if self._talk is not None:
            self._talk.cancel()
            await asyncio.gather(self._talk, return_exceptions=True)


@dataclass(frozen=True)
class Gated(Wrapper):
    """A wrapper whose calls go through a gate."""

    @abstractmethod
    def _open(self, keeper: Keeper) -> Gate:
        """Make the gate of this event loop."""

    @property
    @abstractmethod
    def account(self) -> str:
        """The name of what calls share."""

    def _gate(self, request: Request) -> Gate:
        keeper = request.keeper or loop.resource("keeper", LocalKeeper)
        return loop.resource((self.account, keeper), lambda: self._open(keeper))

    async def chat(self, request: Request) -> Answer:
        """Ask the inner model as soon as there is leave.

        Raises
        ------
        ModelError
            Of the inner model.
        RunError
            If what all workers share is not kept any more.
        """
        gate = self._gate(request)
        need = gate.need(request, 1)
        taken, waited = gate.enter(need), 0.0
        if taken is None:
            taken, waited = await _waiting(gate, need)
        try:
            answer = await self.inner.chat(request)
        except BaseException as error:
            _failed(gate, taken, waited, error)
            raise
        gate.leave(taken, answer, None)
        return _after(answer, waited)

    async def chat_many(self, request: Request, n: int) -> list[Answer | ModelError]:
        """Ask the inner model for several answers at once, as soon as there is leave for all."""
        gate = self._gate(request)
        need = gate.need(request, n)
        taken, waited = gate.enter(need), 0.0
        if taken is None:
            taken, waited = await _waiting(gate, need)
        try:
            answers = await self.inner.chat_many(request, n)
        except BaseException as error:
            _failed(gate, taken, waited, error)
            raise
        gate.leave(taken, sum((answer.usage for answer in answers), Usage()), None)
        return [_after(answers[0], waited), *answers[1:]]


async def _waiting(gate: Gate, need: Any) -> tuple[Any, float]:
    """Wait until a gate lets a call through; return what it took, and how long that was."""
    began = monotonic()
    taken = await gate.wait(need)
    return taken, monotonic() - began


def _failed(gate: Gate, taken: Any, waited: float, error: BaseException) -> None:
    """Tell a gate of a call that failed, and the error how long it waited."""
    if not isinstance(error, ModelError):
        gate.leave(taken, None, error)
        return
    gate.leave(taken, error.usage, error)
    error.usage += Usage(waited=waited)


def _after(answer: A, waited: float) -> A:
    """Return an answer, or the error in its place, as one that waited so much longer."""
    if isinstance(answer, Answer):
        return replace(answer, waited=answer.waited + waited) if waited else answer
    answer.usage += Usage(waited=waited)
    return answer


def account_name(kind: str, name: str, inner: Model, *terms: Any) -> str:
    """Return a name for an account that equal wrappers have in common, and others have not.

    A name that was given stands for the model, so that wrappers of several models share.
    """
    if name:
        known = name.encode()
    else:
        try:
            known = pickle.dumps(inner)
        except Exception:  # whatever a user's own model raises that is made of lambdas
            known = repr(inner).encode()
    digest = blake2b(repr((name, terms)).encode() + known, digest_size=8).hexdigest()
    return f"{kind}-{name or type(inner).__name__}-{digest}"
