"""The tasks of a step: their keys and what each depends on. Pure: no client, nothing is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dask._task_spec import Task

from daskagents import tasks
from daskagents.block import Call
from daskagents.columns import Column
from daskagents.environments.tasks import Seen
from daskagents.tasks import Mask, Place

#: The key of a task, as Dask takes it.
Key = tuple[str, int] | str


@dataclass(frozen=True)
class Plan:
    """Tasks to run, and those whose results are wanted."""

    graph: Mapping[Key, Task]
    wanted: Sequence[Key]


@dataclass(frozen=True)
class BlockCall:
    """One block's share of a step: its rows as the last step left them, and its message.

    `held` and `heard` are handles of results, or, for `heard`, a value; `seen` says how it sees an
    environment, and `sent` has the handles of that, and `coming` those of messages for it.
    """

    index: int
    held: Any
    heard: Any
    mask: Mask
    seen: Seen | None = None
    sent: Sequence[Any] = ()
    coming: Sequence[Any] = ()


def plan_blocks(
    name: str,
    charter: Any,
    bounds: Sequence[int],
    given: Sequence[str | Mapping[str, Column] | None],
) -> Plan:
    """Plan the first version of every block, made by tasks so that a lost one is made again."""
    graph: dict[Key, Task] = {}
    for index, source in enumerate(given):
        first, n = int(bounds[index]), int(bounds[index + 1] - bounds[index])
        key = (name, index)
        graph[key] = Task(key, tasks.begin, charter, first, n, source)
    return Plan(graph, list(graph))


def plan_step(
    name: str, charter: Any, calls: Sequence[BlockCall], call: Call, place: Place, offset: int = 0
) -> Plan:
    """Plan one step: a task per block.

    The key of the task of the j-th addressed block is ``(name, offset + j)``, so that the
    results are the chunks of one array.
    """
    graph: dict[Key, Task] = {}
    for position, block in enumerate(calls, offset):
        key = (name, position)
        where = replace(place, index=block.index)
        graph[key] = Task(
            key,
            tasks.do_step,
            charter,
            block.held,
            call,
            block.heard,
            block.mask,
            where,
            len(block.coming),
            block.seen,
            *block.coming,
            *block.sent,
        )
    return Plan(graph, list(graph))


def plan_each(name: str, function: Any, rows: Sequence[tuple[Any, ...]]) -> Plan:
    """Plan one task per row of arguments."""
    graph: dict[Key, Task] = {
        (name, at): Task((name, at), function, *arguments) for at, arguments in enumerate(rows)
    }
    return Plan(graph, list(graph))
