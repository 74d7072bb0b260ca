"""Messages between agents: what one block has for others, and what waits for its own agents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from daskagents.columns import Column, Plain, concat
from daskagents.errors import InboxError
from daskagents.fields import Field, make_field
from daskagents.message import Message

#: Says of a message that the workflow sent it.
WORKFLOW: Final = -1
#: How contents are kept: numbers and texts as columns of these, all else packed.
Kind = Literal["float", "int", "str", "any"]
#: What takes and keeps them.
FIELDS: dict[Kind, Field] = {
    "float": make_field("Agent", "message", float),
    "int": make_field("Agent", "message", int),
    "str": make_field("Agent", "message", str),
    "any": make_field("Agent", "message", Any),
}
_KINDS: dict[type[Any], Kind] = {float: "float", int: "int", str: "str"}


@dataclass(frozen=True)
class Mail:
    """Messages on their way, or in the inboxes of one block: a row for each.

    Parameters
    ----------
    to, sender
        Ids of agents, shape (n,); sender -1 is the workflow.
    kind, content
        What is said, as a column, and how it is kept.
    """

    to: NDArray[np.int64]
    sender: NDArray[np.int64]
    kind: Kind
    content: Column

    def __len__(self) -> int:
        return len(self.to)

    @property
    def nbytes(self) -> int:
        """Bytes of all of it."""
        return self.to.nbytes + self.sender.nbytes + self.content.nbytes

    def take(self, rows: NDArray[Any] | slice) -> Mail:
        """Return some of the messages."""
        return Mail(self.to[rows], self.sender[rows], self.kind, self.content.take(rows))

    def contents(self) -> list[Any]:
        """Return what is said, as Python objects."""
        return FIELDS[self.kind].tolist(self.content)

    def array(self) -> NDArray[Any]:
        """Return what is said as one array."""
        return FIELDS[self.kind].array(self.content)


def make_mail(to: NDArray[np.int64], sender: NDArray[np.int64], contents: Sequence[Any]) -> Mail:
    """Return messages as rows.

    Examples
    --------
    >>> mail = make_mail(np.array([3, 1]), np.array([0, 0]), ["hi", "you"])
    >>> mail.kind, mail.contents()
    ('str', ['hi', 'you'])
    """
    kind = kind_of(contents)
    field = FIELDS[kind]
    return Mail(to, sender, kind, field.numbers(contents) or field.column(contents))


def kind_of(contents: Sequence[Any]) -> Kind:
    """Return how contents are kept."""
    types = set(map(type, contents))
    return _KINDS.get(next(iter(types)), "any") if len(types) == 1 else "any"


def join(several: Sequence[Mail]) -> Mail | None:
    """Return messages one after another; None where there are none."""
    full = [mail for mail in several if len(mail)]
    if not full:
        return None
    if len(full) == 1:
        return full[0]
    to = np.concatenate([mail.to for mail in full])
    sender = np.concatenate([mail.sender for mail in full])
    if len({mail.kind for mail in full}) == 1:
        return Mail(to, sender, full[0].kind, concat([mail.content for mail in full]))
    contents = [content for mail in full for content in mail.contents()]
    return Mail(to, sender, "any", FIELDS["any"].column(contents))


@dataclass(frozen=True)
class Wide:
    """A message to all agents, or to all that have some value in a field.

    Parameters
    ----------
    sender
        Its id.
    match
        The field and its value; None for everyone.
    content
        What is said.
    """

    sender: int
    match: tuple[str, Any] | None
    content: Any


@dataclass(frozen=True)
class Posted:
    """What the agents of one block sent in a step, in order of the senders.

    Parameters
    ----------
    mail
        To single agents; None where there is none.
    wide
        To many at once.
    lost
        How many messages were to agents that do not exist; and one such id, and who wrote to it.
    """

    mail: Mail | None = None
    wide: tuple[Wide, ...] = ()
    lost: int = 0
    example: tuple[int, int] = (0, 0)

    @property
    def nbytes(self) -> int:
        """Bytes of all of it."""
        return (0 if self.mail is None else self.mail.nbytes) + 200 * len(self.wide)


def spread(
    wide: Sequence[Wide],
    ids: NDArray[np.int64],
    fields: Mapping[str, Field],
    columns: Mapping[str, Column],
) -> list[Mail]:
    """Return messages to many as such to each of a block's agents that they mean."""
    found = []
    for one in wide:
        meant = ids
        if one.match is not None:
            name, value = one.match
            meant = ids[_equal(fields[name], columns[name], value)]
        if len(meant):
            sender = np.full(len(meant), one.sender)
            found.append(make_mail(meant, sender, [one.content] * len(meant)))
    return found


def _equal(field: Field, column: Column, value: Any) -> NDArray[np.bool_]:
    wanted = field.coerce(value)
    if isinstance(column, Plain) and wanted is not None:
        found: NDArray[np.bool_] = column.values == field.numbers([wanted]).values  # type: ignore[union-attr]
        return found if column.mask is None else found & ~column.mask
    return np.array([each == wanted for each in field.tolist(column)], bool)


def check_limit(mail: Mail, limit: int | None, name: str) -> None:
    """Raise an `InboxError` if an agent has more messages than it may.

    Parameters
    ----------
    mail
        All that waits for a block's agents.
    limit
        Messages that one may have.
    name
        The population's name.
    """
    if limit is None or len(mail) <= limit:
        return
    ids, counts = np.unique(mail.to, return_counts=True)
    most = int(counts.argmax())
    if counts[most] > limit:
        senders, each = np.unique(mail.sender[mail.to == ids[most]], return_counts=True)
        by = int(senders[each.argmax()])
        who = "the workflow" if by == WORKFLOW else f"agent {by}"
        raise InboxError(
            f"the inbox of agent {ids[most]} of {name!r} overflows: {counts[most]} messages, most"
            f" of them ({each.max()}) from {who}, and inbox_limit is {limit}; let it reply more"
            " often, send it less, or raise inbox_limit in its class"
        )


class Inbox(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The messages that one agent got since it last replied, in order; made as they are read.

    It is a sequence of `Message`. There are as many as agents, so it is made as quickly as can be.

    Attributes
    ----------
    senders : list of int
        The ids of those who sent them; -1 is the workflow.
    contents : list
        What they said.
    """

    _senders: list[int]
    _contents: list[Any]
    _start: int
    _stop: int

    @property
    def senders(self) -> list[int]:
        """The ids of those who sent them; -1 is the workflow."""
        return self._senders[self._start : self._stop]

    @property
    def contents(self) -> list[Any]:
        """What they said."""
        return self._contents[self._start : self._stop]

    def __len__(self) -> int:
        return self._stop - self._start

    def __iter__(self) -> Iterator[Message]:
        for at in range(self._start, self._stop):
            yield self._message(at)

    def __getitem__(self, at: Any) -> Any:
        places = range(self._start, self._stop)[at]
        if isinstance(places, range):
            return tuple(map(self._message, places))
        return self._message(places)

    def _message(self, at: int) -> Message:
        sender = self._senders[at]
        return Message(self._contents[at], name="" if sender == WORKFLOW else str(sender))

    def __repr__(self) -> str:
        return f"<inbox of {len(self)} messages>"

    __contains__ = Sequence.__contains__
    __reversed__ = Sequence.__reversed__
    index, count = Sequence.index, Sequence.count


Sequence.register(Inbox)
#: That of an agent to whom nobody has written.
NO_MAIL: Final = Inbox([], [], 0, 0)


class Inboxes:
    """What waits for the agents of a block that a step addresses.

    Parameters
    ----------
    mail
        All that waits in the block.
    ids
        The ids of those who are addressed, in order.
    """

    def __init__(self, mail: Mail, ids: NDArray[np.int64]) -> None:
        order = np.argsort(mail.to, kind="stable")
        self._mail, self._ids = mail.take(order), ids
        self.starts = np.searchsorted(self._mail.to, ids, "left")
        self.stops = np.searchsorted(self._mail.to, ids, "right")

    def rows(self) -> list[Any]:
        """Return the inbox of each agent."""
        senders, contents = self._mail.sender.tolist(), self._mail.contents()
        starts, stops = self.starts.tolist(), self.stops.tolist()
        return list(map(Inbox, repeat(senders), repeat(contents), starts, stops))

    def block(self) -> BlockInbox:
        """Return the inboxes as `reply_block` sees them."""
        counts = self.stops - self.starts
        agent = np.repeat(np.arange(len(self._ids)), counts)
        within = np.arange(len(agent)) - np.repeat(np.cumsum(counts) - counts, counts)
        mail = self._mail.take(np.repeat(self.starts, counts) + within)
        return BlockInbox(counts, agent, mail.sender, mail.array())

    def left(self, heard: NDArray[np.bool_]) -> Mail | None:
        """Return what still waits: of those not addressed, and of those who did not hear it."""
        gone = np.zeros(len(self._mail) + 1, np.int64)
        np.add.at(gone, self.starts[heard], 1)
        np.add.at(gone, self.stops[heard], -1)
        kept = np.cumsum(gone[:-1]) == 0
        return self._mail.take(np.flatnonzero(kept)) if kept.any() else None


@dataclass(frozen=True)
class BlockInbox:
    """The inboxes of all agents of a block, as arrays; of each agent in order.

    Parameters
    ----------
    count
        How many messages each agent has, shape (agents,).
    agent
        Whose each message is, as a position among the agents, shape (messages,), ascending.
    sender
        The id of who sent it; -1 is the workflow.
    content
        What it says.
    """

    count: NDArray[np.int64]
    agent: NDArray[np.int64]
    sender: NDArray[np.int64]
    content: NDArray[Any]

    def __len__(self) -> int:
        return len(self.agent)


def no_inbox(n: int) -> BlockInbox:
    """Return the inboxes of agents none of whom has got a message."""
    none = np.zeros(0, np.int64)
    return BlockInbox(np.zeros(n, np.int64), none, none, np.zeros(0))
