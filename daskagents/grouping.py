"""Where the rows of groups are: brought together block by block, and back home when need be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from dask._task_spec import Task, TaskRef
from numpy.typing import NDArray

from daskagents.block import Block, Charter, Scene
from daskagents.delivery import Lane, deliver
from daskagents.members import Members, address
from daskagents.past import LOST
from daskagents.plan import Key, Plan, plan_each
from daskagents.session import Session
from daskagents.shuffle import assemble, bring_back, split
from daskagents.table import block_bounds
from daskagents.tasks import Bundle, Mask, state_of

#: Rows up to which each new block takes its own from the old ones directly.
DIRECT = 65_536
#: Parts that an old block is cut into otherwise.
LANES = 8
#: Bytes of ids that travel in the graph itself.
_LIGHT = 1 << 20

#: Makes the task that ends a move: from its key, which block it makes, the ids and the parts.
_Last = Callable[[Key, int, Any, list[Any]], Task]


@dataclass
class Grouped(Members):
    """Groups of a population within a session, as they are in one play or several.

    `bounds` says which groups each block has. While they are the newest, the rows of the members
    are here, and not in the population's own blocks.

    Parameters
    ----------
    home
        The population.
    shared
        The field that the members of a group have in common.
    ids
        The members, group by group, in each by id.
    cuts
        Where each block begins among these, and the end.
    """

    home: Any = None
    shared: str = ""
    ids: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    cuts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))

    @property
    def agents(self) -> Members:
        """The population of the members."""
        return self.home  # type: ignore[no-any-return]

    @property
    def are_groups(self) -> bool:
        """Whether these are groups, which have labels in place of ids."""
        return True

    def address(self, rows: NDArray[np.int64] | None) -> tuple[list[int], list[int], list[Mask]]:
        """Return all blocks: `rows` says only where their groups stand among all labels."""
        return address(self.bounds, None)

    def labels(self, rows: NDArray[np.int64] | None) -> Any:
        """Return the values that the members of each group share."""
        every = self.frame.indexes[self.dim]
        return every if rows is None else every[rows]

    def scene_of(self, session: Session, play: Any) -> Scene | None:
        """Return what tasks are to know of a scene."""
        return Scene(session.executor.seal(play), self.shared, self.bounds)

    def is_like(self, other: Grouped) -> bool:
        """Whether the same members are in the same groups and blocks."""
        return (
            self.shared == other.shared
            and np.array_equal(self.bounds, other.bounds)
            and np.array_equal(self.cuts, other.cuts)
            and np.array_equal(self.ids, other.ids)
        )

    def newest(self, session: Session) -> list[Any]:
        """Return handles of the blocks, where there are any: the state is the population's."""
        return self.handles

    def begin(self, session: Session) -> list[Any]:
        """Bring the rows of the groups together, if they are not; return handles of the blocks."""
        home: Members = self.home
        if home.coming:
            take_in(session, home)
        if home.away is not self:
            self.handles = self._bring_together(session, home)
            home.away = self
        if home.at_home:  # nobody needs the rows there any more, where all of a block are here
            home.at_home = False
            indexes, whole, _ = self._homes()
            for index in np.array(indexes)[whole].tolist():
                home.handles[index] = LOST
        return self.handles

    def _homes(self) -> tuple[list[int], NDArray[np.bool_], list[NDArray[np.int64]]]:
        """Return which blocks the members come from, whether all of each, and who of each."""
        ids = np.sort(self.ids)
        indexes, counts, _ = address(self.home.bounds, ids)
        whole = np.diff(self.home.bounds)[indexes] == counts
        return indexes, whole, np.split(ids, np.cumsum(counts)[:-1])

    def _bring_together(self, session: Session, home: Members) -> list[Any]:
        held, wanted = home.newest(session), self._parts()
        sources = [np.arange(first, end) for first, end in pairwise(home.bounds.tolist())]

        def last(key: Key, at: int, ids: Any, parts: list[Any]) -> Task:
            return Task(key, take_rows, ids, *parts)

        return _move(session, home, "group", held, sources, wanted, last)

    def bring_back(self, session: Session) -> None:
        """Make the next version of the population's own blocks of what its groups became."""
        home: Members = self.home
        indexes, whole, wanted = self._homes()

        def last(key: Key, at: int, ids: Any, parts: list[Any]) -> Task:
            old = None if whole[at] else home.handles[indexes[at]]
            return Task(key, return_rows, old, int(home.bounds[indexes[at]]), ids, *parts)

        handles = _move(session, home, "home", self.handles, self._parts(), wanted, last)
        for index, handle in zip(indexes, handles, strict=True):
            home.handles[index] = handle
        home.at_home = True

    def _parts(self) -> list[NDArray[np.int64]]:
        """Return the ids of each block."""
        return [self.ids[first:end] for first, end in pairwise(self.cuts.tolist())]


def take_in(session: Session, home: Members) -> None:
    """Put what has come for a population into its inboxes, at home, before its rows move."""
    held, coming = home.newest(session), home.coming
    home.away, home.coming = None, {}
    home.moves += 1
    rows = [(home.charter, held[index], *coming[index]) for index in sorted(coming)]
    plan = plan_each(f"inboxes-{home.name}-{session.token}-{home.moves}", delivered, rows)
    for index, handle in zip(sorted(coming), session.executor.submit(plan), strict=True):
        home.handles[index] = handle


def delivered(blob: bytes | Charter, held: Block | Bundle, *coming: Lane) -> Block:
    """Return a block with what has come in its inboxes."""
    return deliver(blob, state_of(held), coming)


def _move(
    session: Session,
    home: Members,
    what: str,
    held: Sequence[Any],
    sources: Sequence[NDArray[np.int64]],
    wanted: Sequence[NDArray[np.int64]],
    last: _Last,
) -> list[Any]:
    """Submit the tasks that make blocks of rows of others.

    Parameters
    ----------
    held, sources
        The handle of each old block, and the ids of its rows.
    wanted
        The ids of the rows of each new block.
    """
    home.moves += 1
    name = f"{what}-{home.name}-{session.token}-{home.moves}"
    where = np.empty(home.n, np.int64)
    for index, ids in enumerate(sources):
        where[ids] = index
    sent: Sequence[Any] = wanted
    if sum(ids.nbytes for ids in wanted) > _LIGHT:
        sent = session.lazies.send(wanted, f"{name}-ids")
    graph: dict[Key, Task] = {}
    parts: dict[tuple[int, int], Any] = {}
    few = sum(map(len, wanted)) <= DIRECT
    if not few:
        lanes = _lanes(home.n, wanted)
        count = int(max(lanes[ids].max() for ids in wanted)) + 1
        for index, ids in enumerate(sources):
            if held[index] is None:  # all of its agents are gone
                continue
            key: Key = (f"{name}-cut", index)
            graph[key] = Task(key, cut_rows, held[index], lanes[ids], count)
            for lane in range(count):
                one: Key = (f"{name}-lane", index * count + lane)
                graph[one] = Task(one, nth, TaskRef(key), lane)
                parts[index, lane] = TaskRef(one)
    ends: list[Key] = []
    for at, ids in enumerate(wanted):
        found = np.unique(where[ids]).tolist()
        lane = 0 if few else int(lanes[ids[0]])
        mine = [held[index] if few else parts[index, lane] for index in found]
        end: Key = (name, at)
        graph[end] = last(end, at, sent[at], mine)
        ends.append(end)
    return session.executor.submit(Plan(graph, ends))


def _lanes(n: int, wanted: Sequence[NDArray[np.int64]]) -> NDArray[np.uint8]:
    """Return the lane that each agent's row takes; 255 for those that stay."""
    lanes = np.full(n, 255, np.uint8)
    for at, ids in enumerate(wanted):
        lanes[ids] = at * min(LANES, len(wanted)) // len(wanted)
    return lanes


def cut_rows(held: Block | Bundle, lanes: NDArray[np.uint8], n: int) -> tuple[Block, ...]:
    """Cut a block into the rows of each lane."""
    return split(state_of(held), lanes, n)


def nth(parts: tuple[Block, ...], at: int) -> Block:
    """Return the rows of one lane."""
    return parts[at]


def take_rows(ids: NDArray[np.int64], *held: Block | Bundle) -> Block:
    """Make a block of the rows of some agents."""
    return assemble(ids, [state_of(one) for one in held])


def return_rows(
    old: Block | Bundle | None, first: int, ids: NDArray[np.int64], *held: Block | Bundle
) -> Block:
    """Make the next version of a block of a population, from rows that were away."""
    before = None if old is None else state_of(old)
    return bring_back(before, first, ids, [state_of(one) for one in held])


def pack(sizes: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """Return the first group of each block, and how many there are, for blocks of about `rows`.

    Examples
    --------
    >>> pack(np.array([2, 2, 2, 9, 1]), 4)
    array([0, 2, 4, 5])
    """
    starts = np.cumsum(sizes) - sizes
    (first,) = np.nonzero(np.diff(starts // rows, prepend=-1))
    return np.append(first, len(sizes))


def block_rows(agents: int, block_size: int) -> int:
    """Return about how many rows a block of groups has; from the population alone."""
    return min(int(block_bounds(agents, True)[1]), block_size)
