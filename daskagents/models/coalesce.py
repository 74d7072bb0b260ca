"""A wrapper that makes one request of many that are the same."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat, zip_longest
from typing import Any, TypeAlias

import msgspec

from daskagents import loop
from daskagents.errors import ModelError, UsageError
from daskagents.models.base import Answer, Model, Request, Wrapper, alike
from daskagents.rng import Rng
from daskagents.usage import NAMES, Usage

#: What else requests must have in common to be answered together.
_COMMON = tuple(
    name
    for name in Request.__struct_fields__
    if name not in {"messages", "sampling", "rng", "keeper", "others"}
)


@dataclass(frozen=True)
class Coalesce(Wrapper):
    """Makes one request of many that are the same, and hands each its own answer.

    The answers are drawn anew for each; only the prompt is sent, read and paid once. Those that
    ask the same while the loop of their process still has others to start are asked for together.
    What was taken is shared out, so that it adds up to what was paid.

    Parameters
    ----------
    inner
        The model that is asked, by `chat_many`.
    most
        How many answers one request asks for at most.
    window
        Seconds that a request waits at most for others that are the same. Mostly it is far less:
        it waits no longer than others keep coming.

    Raises
    ------
    UsageError
        If `most` is under 1 or `window` below 0.

    Examples
    --------
    >>> from daskagents import Message, models
    >>> model = Coalesce(models.Dummy(answer="yes"))
    >>> question = models.Request((Message("Well?"),))
    >>> async def ask(times):
    ...     return await asyncio.gather(*[model.chat(question) for _ in range(times)])
    >>> len(asyncio.run(ask(100)))
    100
    """

    most: int = 64
    window: float = 0.005

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.most < 1 or not self.window >= 0:
            raise UsageError(f"most={self.most}, window={self.window}: give 1 or more, 0 or more")

    async def chat(self, request: Request) -> Answer:
        """Ask the inner model, together with all that ask the same just now.

        Raises
        ------
        ModelError
            As the inner model does. What the call took is shared by those that asked together.
        """
        try:
            key = same(request)
        except TypeError:  # it holds something that cannot be compared: it is like no other
            return await self.inner.chat(request)
        desk = loop.resource((Coalesce, self), partial(_Desk, self))
        group, place = desk.join(key, request)
        try:
            answer = await place
        except asyncio.CancelledError:
            group.leave()
            raise
        return await self.inner.chat(request) if answer is None else answer

    async def chat_many(self, request: Request, n: int) -> list[Answer | ModelError]:
        """Ask the inner model for many answers, as those who ask have done so together."""
        return await self.inner.chat_many(request, n)


def same(request: Request) -> Hashable:
    """Return what requests have in common that may be answered together.

    Raises
    ------
    TypeError
        If something in it cannot be hashed, or sent as JSON.
    """
    turns = tuple([(turn.role, turn.text, turn.name) for turn in request.messages])
    sampling = request.sampling and msgspec.json.encode(request.sampling, order="deterministic")
    rest = [getattr(request, name) for name in _COMMON]
    key = turns, sampling or b"", id(request.keeper), *rest
    hash(key)
    return key


#: Where an agent waits for its answer; None tells it to ask alone.
Place: TypeAlias = "asyncio.Future[Answer | None]"


@dataclass(eq=False, slots=True)
class _Group:
    """Those who ask the same, before and while they are asked for."""

    request: Request
    until: float
    places: list[Place] = field(default_factory=list)
    rngs: list[Rng | None] = field(default_factory=list)
    #: How many there were when the loop had last started all that it had to start.
    seen: int = 0
    call: asyncio.Task[None] | None = None

    def leave(self) -> None:
        """Give up the call if nobody waits for it any more."""
        if self.call is not None and all(place.done() for place in self.places):
            self.call.cancel()

    async def ask(self, model: Model) -> None:
        """Ask for all, and give each its answer; none is left waiting, whatever happens."""
        n = len(self.places)
        try:
            found = await model.chat_many(self._whole(), n)
        except ModelError as error:
            found = [error, *(alike(error, Usage()) for _ in range(n - 1))]
        except asyncio.CancelledError:
            for place in self.places:
                place.cancel()
            raise
        except Exception as error:  # it is everybody's own
            for place in self.places:
                _settle(place, error)
            return
        for place, item in zip_longest(self.places, share(found[:n])):
            _settle(place, item)

    def _whole(self) -> Request:
        """Return the one request that stands for all."""
        rng, *others = self.rngs
        drawn = tuple(others) if any(rng is not None for rng in others) else ()
        return msgspec.structs.replace(self.request, rng=rng, others=drawn)


def _settle(place: Place, item: Answer | BaseException | None) -> None:
    """Tell who waits in a place, if it still does."""
    if place.done():
        return
    if isinstance(item, BaseException):
        place.set_exception(item)
    else:
        place.set_result(item)


class _Desk:
    """Where the agents of one loop say what they want to ask."""

    def __init__(self, wrapper: Coalesce) -> None:
        self._inner, self._most, self._window = wrapper.inner, wrapper.most, wrapper.window
        self._loop = asyncio.get_running_loop()
        self._groups: dict[Hashable, _Group] = {}
        self._looking = False
        self._calls: set[asyncio.Task[None]] = set()

    def join(self, key: Hashable, request: Request) -> tuple[_Group, Place]:
        """Return those who ask the same, and a place among them."""
        group = self._groups.get(key)
        if group is None:
            if not self._looking:
                self._looking = True
                self._loop.call_soon(self._look)
            group = self._groups[key] = _Group(request, self._loop.time() + self._window)
        place: Place = self._loop.create_future()
        group.places.append(place)
        group.rngs.append(request.rng)
        if len(group.places) >= self._most:
            self._send(self._groups.pop(key))
        return group, place

    def _look(self) -> None:
        """Send the groups that nobody has joined since the last look, a turn of the loop ago."""
        now = self._loop.time()
        for key, group in list(self._groups.items()):
            if len(group.places) == group.seen or now >= group.until:
                self._send(self._groups.pop(key))
            group.seen = len(group.places)
        self._looking = bool(self._groups)
        if self._looking:
            self._loop.call_soon(self._look)

    def _send(self, group: _Group) -> None:
        """Ask for a group; who is alone asks itself."""
        if sum(not place.done() for place in group.places) < 2:
            for place in group.places:
                _settle(place, None)
            return
        call = group.call = self._loop.create_task(group.ask(self._inner))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def aclose(self) -> None:
        """Give up what is still asked for."""
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)


def share(found: Sequence[Answer | ModelError]) -> list[Answer | ModelError]:
    """Share out what several answers took in all, so that it adds up to the same.

    Each has as much of the prompt as the others, and of what was said as much as it said.

    Examples
    --------
    >>> once = [Answer("one two", prompt_tokens=11, completion_tokens=3), Answer("one", calls=0)]
    >>> [(a.calls, a.prompt_tokens, a.completion_tokens) for a in share(once)]
    [(1, 6, 2), (0, 5, 1)]
    """
    took = [item if isinstance(item, Answer) else item.usage for item in found]
    said = [one.completion_tokens for one in took]
    if not all(said):
        said = [len(item.text) if isinstance(item, Answer) else 0 for item in found]
    n = len(found)
    even, cost, waited = [1] * n, sum(one.cost for one in took), sum(one.waited for one in took)
    parts = zip(
        apportion(sum(one.calls for one in took), even),
        apportion(sum(one.prompt_tokens for one in took), even),
        apportion(sum(one.completion_tokens for one in took), said),
        apportion(sum(one.cached_tokens for one in took), even),
        apportion(sum(one.retries for one in took), even),
        repeat(cost / n, n),
        repeat(waited / n, n),
        strict=True,
    )
    return [_taking(item, part) for item, part in zip(found, parts, strict=True)]


def _taking(item: Answer | ModelError, part: tuple[Any, ...]) -> Answer | ModelError:
    """Return an answer or an error as one that took just so much."""
    if isinstance(item, ModelError):
        return alike(item, Usage(*part))
    return msgspec.structs.replace(item, **dict(zip(NAMES, part, strict=True)))


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Return whole numbers that add up to another, in proportion to weights: largest remainders.

    Examples
    --------
    >>> apportion(10, [1, 1, 1]), apportion(10, [8, 1, 1]), apportion(3, [0, 0])
    ([4, 3, 3], [8, 1, 1], [2, 1])
    """
    if not any(weights):
        weights = [1] * len(weights)
    whole = sum(weights)
    parts = [total * weight // whole for weight in weights]
    left = [total * weight % whole for weight in weights]
    for at in sorted(range(len(weights)), key=lambda at: -left[at])[: total - sum(parts)]:
        parts[at] += 1
    return parts
