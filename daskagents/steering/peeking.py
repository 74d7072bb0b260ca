"""A look at some agents of a block: who they are, what they have, and what waits for them."""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskagents.agent import Agent
from daskagents.block import Block, Charter
from daskagents.delivery import deliver
from daskagents.errors import UsageError
from daskagents.fields import Field, has
from daskagents.sealing import charter_of
from daskagents.tasks import Bundle, state_of

#: Agents that are shown at once, and characters of a text.
PAGE, LONG = 50, 2_000
#: Messages of a memory or an inbox that are shown: the last ones.
_LAST = 20


@dataclass(frozen=True)
class Search:
    """Which agents are looked for, and in which order.

    Parameters
    ----------
    ids
        These; None for any.
    where
        Values of fields that they have, each one or a list of them.
    by
        The field that they are ordered by; empty for their ids.
    largest
        Whether those with the largest values come first.
    most
        How many are wanted.
    """

    ids: Sequence[int] | None = None
    where: Mapping[str, Any] | None = None
    by: str = ""
    largest: bool = True
    most: int = PAGE

    def check(self, cls: type[Agent]) -> None:
        """Raise a `UsageError` if it names what agents do not have."""
        for name in [*(self.where or {}), *([self.by] if self.by else [])]:
            known = [n for n in cls.__fields__ if not n.startswith("_")]
            if name not in known:
                raise UsageError(
                    f"{cls.__name__} has no field {name!r}; it has {', '.join(known) or 'none'}"
                )


def fitting(cls: type[Agent], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of fields as these take them; those that were typed in may be texts.

    Raises
    ------
    UsageError
        If there is no such field, or a value does not fit it.

    Examples
    --------
    >>> import daskagents as da
    >>> class Voter(da.Agent):
    ...     age: int = 0
    ...     name: str = ""
    >>> fitting(Voter, {"age": ["41", 42], "name": "41"})
    {'age': [41, 42], 'name': '41'}
    """
    known = {name: field for name, field in cls.__fields__.items() if not name.startswith("_")}
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise UsageError(
                f"{cls.__name__} has no field {name!r}; it has {', '.join(known) or 'none'}"
            )
        if isinstance(value, list | tuple | set):
            found[name] = [_fit(known[name], each) for each in value]
        else:
            found[name] = _fit(known[name], value)
    return found


def _fit(field: Field, value: Any) -> Any:
    """Return a value as it is, or read as JSON, whichever fits a field."""
    try:
        field.from_array([value])
    except UsageError:
        if not isinstance(value, str):
            raise
        try:
            read = json.loads(value)
        except ValueError:
            read = value
        field.from_array([read])
        return read
    return value


def matching(cls: type[Agent], block: Block, where: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Return which rows of a block have these values."""
    found = np.ones(block.n, bool)
    for name, value in where.items():
        field = cls.__fields__[name]
        wanted = list(value) if isinstance(value, list | tuple | set) else [value]
        among = field.numpy(field.from_array(wanted))
        found &= has(field.numpy(block.columns[name]), among)
    return found


def search(
    blob: bytes | Charter, held: Block | Bundle, wanted: Search, *sent: Any
) -> tuple[int, list[tuple[Any, dict[str, Any]]]]:
    """Return how many agents of a block are looked for, and the first ones in order.

    Each is a pair of what it is ordered by and what is shown of it. What is on its way to their
    inboxes is `sent`.
    """
    block, cls = deliver(blob, state_of(held), sent), charter_of(blob).cls
    chosen = matching(cls, block, wanted.where or {})
    ids = block.ids_of(np.arange(block.n))
    if wanted.ids is not None:
        chosen &= np.isin(ids, np.asarray(wanted.ids, np.int64))
    rows = np.flatnonzero(chosen)
    keys: list[Any] = [(0, at) for at in ids[rows].tolist()]
    if wanted.by:
        values = cls.__fields__[wanted.by].numpy(block.columns[wanted.by])[rows].tolist()
        keys = [(_rank(value), key) for value, (_, key) in zip(values, keys, strict=True)]
    order = first(keys, wanted)
    return len(rows), [(keys[at], _shown(cls, block, int(rows[at]))) for at in order]


def first(keys: Sequence[Any], wanted: Search) -> list[int]:
    """Return where the first ones stand among agents with these keys, in order."""
    places = range(len(keys))
    if wanted.by and wanted.largest:
        # of equal ones those with the smallest ids first
        return heapq.nlargest(wanted.most, places, key=lambda at: (keys[at][0], -keys[at][1]))
    return heapq.nsmallest(wanted.most, places, key=keys.__getitem__)


def _rank(value: Any) -> Any:
    """Return what an agent is ordered by: numbers before texts, and no value as the least."""
    if isinstance(value, bool | int | float):
        return (0, "", -math.inf if math.isnan(value) else value)
    return (1, str(value), 0)


def _shown(cls: type[Agent], block: Block, row: int) -> dict[str, Any]:
    """Return what is shown of one agent, as msgpack and JSON know it."""
    values = {name: f.item(block.columns[name], row) for name, f in cls.__fields__.items()}
    memory = values.pop("_turns", ())
    agent = int(block.ids_of(np.array([row])).item())
    return {
        "id": agent,
        "values": {name: plain(value) for name, value in values.items()},
        "memory": [
            {"content": plain(content), "role": role, "name": name}
            for content, role, name in memory[-_LAST:]
        ],
        "remembers": len(memory),
        "inbox": _inbox(block, agent),
    }


def _inbox(block: Block, agent: int) -> list[dict[str, Any]]:
    """Return the last messages that wait for an agent."""
    if block.mail is None:
        return []
    mail = block.mail.take(np.flatnonzero(block.mail.to == agent)[-_LAST:])
    senders = mail.sender.tolist()
    return [
        {"from": sender, "content": plain(content)}
        for sender, content in zip(senders, mail.contents(), strict=True)
    ]


def plain(value: Any) -> Any:
    """Return a value as msgpack and JSON know it: numbers, bools, texts of a bounded length.

    Examples
    --------
    >>> plain(float("nan")), plain((1, 2)), plain("x" * 5_000)[-3:]
    (None, '(1, 2)', 'xx…')
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value.name if isinstance(value, Enum) else str(value)
    return text if len(text) <= LONG else text[: LONG - 1] + "…"
