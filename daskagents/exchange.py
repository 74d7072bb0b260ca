"""The exchange of messages: from the blocks of the senders to those of the agents they are for.

What a block sends is cut into lanes, each for some blocks that follow one another; the parts of a
lane are joined in order of the senders; and each block takes its own out of its lane, as its next
step begins. There are few lanes, so that the tasks grow with the blocks, and not with their square.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from daskagents.block import Heard, Said, pick_rows
from daskagents.delivery import Lane, collect, pick, split
from daskagents.mail import WORKFLOW, make_mail
from daskagents.message import Message
from daskagents.plan import plan_each
from daskagents.sealing import unseal
from daskagents.tasks import Mask, Sealed

if TYPE_CHECKING:
    from daskagents.members import Members
    from daskagents.session import Session

#: Lanes of an exchange.
_LANES = 8


def lanes(bounds: Sequence[int]) -> list[int]:
    """Return at which blocks lanes begin, and where the last one ends.

    Examples
    --------
    >>> lanes([0, 10, 20, 30]), lanes(range(0, 21))
    ([0, 1, 2, 3], [0, 2, 5, 7, 10, 12, 15, 17, 20])
    """
    blocks = len(bounds) - 1
    count = min(_LANES, blocks)
    return [blocks * lane // count for lane in range(count + 1)]


def exchange(session: Session, members: Members, bundles: Sequence[Any], step: int) -> None:
    """Send what the agents of a step have sent on its way to the blocks it is for."""
    name = f"{members.name}-{step}-{session.token}"
    starts = lanes(members.bounds.tolist())
    cuts = [int(members.bounds[at]) for at in starts]
    submit, gone = session.executor.submit, members.lives.packed
    cut = submit(plan_each(f"posted-{name}", split, [(b, tuple(cuts), gone) for b in bundles]))
    many = range(len(starts) - 1)
    rows = [(one, lane) for lane in many for one in cut]
    picked = submit(plan_each(f"lanes-{name}", pick, rows)) if len(cut) > 1 else []
    if picked:
        rows = [tuple(picked[lane * len(cut) : (lane + 1) * len(cut)]) for lane in many]
        joined = submit(plan_each(f"lane-{name}", collect, rows))
    else:
        joined = submit(plan_each(f"lane-{name}", pick, rows))
    for lane, (start, end) in zip(joined, pairwise(starts), strict=True):
        for index in range(start, end):
            if members.handles[index] is None:  # all of its agents are gone
                continue
            members.coming.setdefault(index, []).append(lane)


def tell(
    session: Session,
    members: Members,
    indexes: Sequence[int],
    heards: Sequence[Any],
    masks: Sequence[Mask],
) -> None:
    """Put a message of the workflow into the inboxes of agents."""
    bounds = members.bounds
    rows = [
        (int(bounds[index]), int(bounds[index + 1] - bounds[index]), heard, mask)
        for index, heard, mask in zip(indexes, heards, masks, strict=True)
    ]
    session.told += 1
    name = f"told-{members.name}-{session.count}-{session.told}-{session.token}"
    for index, lane in zip(
        indexes, session.executor.submit(plan_each(name, _told, rows)), strict=True
    ):
        members.coming.setdefault(index, []).append(lane)


def _told(first: int, n: int, heard: Heard | Sealed, mask: Mask) -> Lane:
    """Return what the workflow says as messages to the agents of one block."""
    rows = pick_rows(mask, n)
    ids = first + (np.arange(n) if rows is None else rows)
    said: Heard = unseal(heard.blob) if isinstance(heard, Sealed) else heard
    if isinstance(said, Message | Said):
        if isinstance(said, Said) and said.failure:
            return Lane(None, ())
        contents = [said.content] * len(ids)
    else:
        contents = np.broadcast_to(said, ids.shape).tolist()
    return Lane(make_mail(ids, np.full(len(ids), WORKFLOW), contents), ())
