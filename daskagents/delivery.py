"""What tasks do with messages: cut into lanes, join, and put into the inboxes of a block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskagents.block import Block, Charter
from daskagents.mail import Mail, Wide, check_limit, join, spread
from daskagents.sealing import charter_of


@dataclass(frozen=True)
class Lane:
    """What some blocks get.

    Parameters
    ----------
    mail
        For single agents.
    wide
        For all agents, or many of them.
    gone
        Which agents have left, packed; None where none have.
    """

    mail: Mail | None
    wide: tuple[Wide, ...]
    gone: NDArray[np.uint8] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all of it."""
        return (0 if self.mail is None else self.mail.nbytes) + 200 * len(self.wide)


def split(
    bundle: Any, cuts: tuple[int, ...], gone: NDArray[np.uint8] | None = None
) -> tuple[Lane, ...]:
    """Cut what a block sent into lanes."""
    posted = bundle.outcome.posted
    if posted.mail is None:
        return tuple(Lane(None, posted.wide, gone) for _ in cuts[1:])
    order = np.argsort(posted.mail.to, kind="stable")
    ends = np.searchsorted(posted.mail.to[order], cuts)
    found = []
    for start, end in pairwise(ends.tolist()):
        rows = np.sort(order[start:end])  # in the order of the senders again
        found.append(Lane(posted.mail.take(rows) if len(rows) else None, posted.wide, gone))
    return tuple(found)


def pick(split_up: tuple[Lane, ...], lane: int) -> Lane:
    """Return one lane of what a block sent."""
    return split_up[lane]


def collect(*parts: Lane) -> Lane:
    """Join the parts of a lane."""
    mail = join([part.mail for part in parts if part.mail is not None])
    return Lane(mail, tuple(one for part in parts for one in part.wide), parts[0].gone)


def deliver(blob: bytes | Charter, block: Block, coming: Sequence[Lane]) -> Block:
    """Put what has come for a block into the inboxes of its agents.

    Raises
    ------
    InboxError
        If an agent has more messages than it may.
    """
    if not coming:
        return block
    charter = charter_of(blob)
    found: list[Mail] = [] if block.mail is None else [block.mail]
    for lane in coming:
        own = [] if lane.mail is None else [_own(lane.mail, block)]
        own += _spread(lane, charter, block)
        found += [_by_sender(own)] if own else []
    mail = join(found)
    if mail is not None:
        check_limit(mail, charter.cls.inbox_limit, charter.name)
    return replace(block, mail=mail)


def _spread(lane: Lane, charter: Charter, block: Block) -> list[Mail]:
    """Return what a lane has for many as messages to those of a block who are there."""
    if not lane.wide:
        return []
    rows = np.arange(block.n)
    if lane.gone is not None:
        there = ~np.unpackbits(lane.gone, count=block.first + block.n).astype(bool)
        rows = rows[there[block.first :]]
    columns = {name: column.take(rows) for name, column in block.columns.items()}
    return spread(lane.wide, block.first + rows, charter.cls.__fields__, columns)


def _own(mail: Mail, block: Block) -> Mail:
    inside = (mail.to >= block.first) & (mail.to < block.first + block.n)
    return mail if inside.all() else mail.take(np.flatnonzero(inside))


def _by_sender(several: Sequence[Mail]) -> Mail:
    """Return messages in order of their senders; of one sender, those to single agents first."""
    whole = join(several)
    if whole is None:
        return several[0]
    order: NDArray[np.int64] = np.argsort(whole.sender, kind="stable")
    return whole.take(order)
