"""The members of one group in a scene: who answers when asked, and is read but not written to."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine, Iterator, Sequence
from functools import lru_cache
from typing import Any, ClassVar, overload

from daskagents.agent import Agent, behaviour
from daskagents.errors import UsageError
from daskagents.message import Message
from daskagents.rng import Draws, Rng

#: Stands for what the workflow said to the group.
_SAME = object()


class Member:
    """A member of a group: ``await member(content)`` gives its answer, as a `Message`.

    The fields of its agent are read as ``member.field``. Only the agent itself changes them. What
    it assigned in an answer that it could not end is taken back.

    Attributes
    ----------
    id : int
        The agent's number in its population.
    index : int
        The place in the group, from 0, in order of ids. A field of that name goes before.
    """

    __slots__ = ("_agent", "_group", "_place", "_said_by", "id")

    _reply: ClassVar[Any]
    _waits: ClassVar[bool]
    _named: ClassVar[bool]
    _population: ClassVar[str]

    def __init__(self, agent: Agent, group: Group, place: int) -> None:
        self._agent, self._group, self._place, self.id = agent, group, place, agent.id
        name = agent.name if self._named else ""  # type: ignore[attr-defined]
        self._said_by = name or f"{self._population} {agent.id}"

    async def __call__(self, content: Any = _SAME) -> Message:
        """Ask the member; without a content, what the workflow said to the group."""
        if content is _SAME:
            message = self._group.message
        else:
            message = content if type(content) is Message else Message(content)
        agent = self._agent
        state = agent.__dict__
        before = state.copy()
        try:
            said = self._reply(agent, message)
            if self._waits:
                said = await said
        except BaseException as error:
            state.clear()
            state.update(before)
            self._group.blamed, self._group.culprit = error, self._place
            raise
        return Message(said, "user", self._said_by)

    @property
    def index(self) -> int:
        """The place in the group, from 0."""
        return self._place

    def __repr__(self) -> str:
        return f"<member {self._place} of group {self._group.label!r}: {self._agent!r}>"


class Group(Sequence[Member]):
    """The members of one group, in order of their ids.

    Attributes
    ----------
    label
        The value that they share.
    message : Message
        What the workflow said to the group.
    """

    __slots__ = ("_at", "_draws", "_members", "_rng", "blamed", "culprit", "label", "message")

    def __init__(self, label: Any, message: Message, draws: Draws, at: int) -> None:
        self.label, self.message = label, message
        self._draws, self._at = draws, at
        self._rng: Rng | None = None
        self._members: list[Member] = []
        #: The error that a member raised last, and which member.
        self.blamed: BaseException | None = None
        self.culprit = 0

    def add(self, member: Member) -> None:
        """Let a member in."""
        self._members.append(member)

    @property
    def content(self) -> Any:
        """What the workflow said to the group."""
        return self.message.content

    @property
    def rng(self) -> Rng:
        """Random numbers of the group's own; they follow from the seed, the group and the step."""
        if self._rng is None:
            self._rng = self._draws.rng(self._at)
        return self._rng

    async def reply(self, content: Any = _SAME) -> list[Message]:
        """Ask all members at once, and return what they answer, in order of their ids.

        Where some raise, the others come to their end, and the first error is raised.
        """
        asked = [member(content) for member in self._members]
        if self._members[0]._waits:
            said = await asyncio.gather(*asked, return_exceptions=True)
        else:  # none waits, and a task for each would only take time
            said = [await _settled(one) for one in asked]
        for at, one in enumerate(said):
            if isinstance(one, BaseException):
                self.blamed, self.culprit = one, at
                raise one
        return said  # type: ignore[return-value]

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members)

    @overload
    def __getitem__(self, at: int) -> Member: ...
    @overload
    def __getitem__(self, at: slice) -> list[Member]: ...
    def __getitem__(self, at: int | slice) -> Member | list[Member]:
        return self._members[at]

    def __repr__(self) -> str:
        return f"<group {self.label!r} of {len(self)} members>"


async def _settled(asked: Coroutine[Any, Any, Message]) -> Message | Exception:
    """Return an answer, or the error that came in its place."""
    try:
        return await asked
    except Exception as error:
        return error


@lru_cache(64)
def member_class(cls: type[Agent], population: str) -> type[Member]:
    """Return the class of the members of groups of a population, which have its fields to read."""
    reply = behaviour(cls, "reply")
    body: dict[str, Any] = {
        "__slots__": (),
        "_reply": staticmethod(reply),
        "_waits": inspect.iscoroutinefunction(reply),
        "_named": "name" in cls.__fields__ and cls.__fields__["name"].type is str,
        "_population": population,
    }
    for name in cls.__fields__:
        if not name.startswith("_"):
            body[name] = property(_reader(name), _refuse(cls.__name__, name))
    return type(f"{cls.__name__}Member", (Member,), body)


def _reader(name: str) -> Any:
    return lambda member: getattr(member._agent, name)


def _refuse(owner: str, name: str) -> Any:
    def refuse(member: Member, value: Any) -> None:
        raise UsageError(
            f"a scene does not assign {owner}.{name}: only the agent itself does; tell it"
            f" (await member(...)) and let its reply assign self.{name}"
        )

    return refuse
