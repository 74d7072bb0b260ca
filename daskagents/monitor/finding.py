"""Finding agents of a run by id, by a value, by the extremes of a reply, or by failures.

Pure functions of a run directory: they read closed rounds chunk by chunk, while the run is under
way and after it, and return 50 agents at a time, as plain values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from daskagents.checked import Checked
from daskagents.errors import FolderError, UsageError
from daskagents.failures import each_failure
from daskagents.monitor.plain import plain
from daskagents.monitor.stored import Source, Stored

#: Agents that are told of at a time.
PAGE = 50
#: Columns of a table of agents.
_COLUMNS = 12
Ids = NDArray[np.int64]
T = TypeVar("T")


@dataclass(frozen=True)
class Query:
    """Which agents are looked for. What is given holds all together.

    Parameters
    ----------
    ids
        These agents; None for all.
    where
        Those that have a value: where it is looked for, its name, and the value as a text.
    failed
        Those that failed: in the round, or ever.
    by
        In the order of a number: where it is looked for, and its name. Agents without one are left
        out. Else by id.
    largest
        Whether the largest number is first.
    round
        Of the replies and failures; -1 is the last round in the results.
    """

    ids: tuple[int, ...] | None = None
    where: tuple[Source, str, str] | None = None
    failed: Literal["", "round", "ever"] = ""
    by: tuple[Source, str] | None = None
    largest: bool = True
    round: int = -1


def read_query(said: dict[str, Any]) -> Query:
    """Return a query that has travelled, as msgpack and JSON have it.

    Examples
    --------
    >>> read_query({"where": ["given", "city", "Oslo"]})
    Query(ids=None, where=('given', 'city', 'Oslo'), failed='', by=None, largest=True, round=-1)
    """
    tuples: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in said.items()
    }
    return Query(**tuples)


def find(
    folder: str | Path, population: str, query: Query | dict[str, Any], start: int = 0
) -> dict[str, Any]:
    """Find agents of a run.

    Parameters
    ----------
    folder
        The run directory.
    population
        Its name; "" for the first.
    query
        Which agents; a `Query`, or the same as a dict.
    start
        How many of those found are passed over.

    Returns
    -------
    dict
        ``found``, how many there are in all; ``start``; ``round``, that of the replies, or None;
        ``rounds`` in all; ``known``, the names of replies and of given columns; ``columns``, a
        source and a name each; ``rows``, at most 50, with ``id``, ``failed``, the ``values`` of the
        columns, and ``why`` an agent failed in the round.

    Raises
    ------
    FolderError, UsageError
        If there is no such run, or it does not have what is asked for.
    """
    wanted = read_query(query) if isinstance(query, dict) else query
    return again(lambda: _find(Stored(Path(folder), population), wanted, max(0, start)))


def again(ask: Callable[[], T]) -> T:
    """Ask once more where a checkpoint was removed while it was read, as a newer one is there."""
    try:
        return ask()
    except (FolderError, FileNotFoundError):
        return ask()


def _find(stored: Stored, query: Query, start: int) -> dict[str, Any]:
    round_ = stored.round(query.round) if stored.rounds or query.round >= 0 else None
    if (query.failed or (query.by or query.where or ("",))[0] == "reply") and round_ is None:
        raise UsageError("no round is in the results yet; look again once one is closed")
    found, ids = _search(stored, query, start)
    columns = _columns(stored, query)
    rows = _rows(stored, ids, columns, round_)
    return {
        "found": found,
        "start": start,
        "round": round_,
        "rounds": stored.rounds,
        "known": {"reply": list(stored.replies), "given": list(stored.given)},
        "columns": columns,
        "rows": rows,
    }


def _search(stored: Stored, query: Query, start: int) -> tuple[int, Ids]:
    """Return how many agents are found, and which of them are on the page."""
    keep, found = start + PAGE, 0
    ids, keys = np.zeros(0, np.int64), np.zeros(0)
    for at, stop in _spans(stored, query):
        some = _within(stored, query, at, stop)
        own = np.zeros(0)
        if query.by is not None:
            own = _numbers(stored, query, some, at, stop)
            some, own = some[own == own], own[own == own]
        found += len(some)
        if query.by is None:
            ids = np.concatenate([ids, some[: keep - len(ids)]])
            continue
        ids, keys = np.concatenate([ids, some]), np.concatenate([keys, own])
        order = np.lexsort((ids, -keys if query.largest else keys))[:keep]
        ids, keys = ids[order], keys[order]
    return found, ids[start:keep]


def _spans(stored: Stored, query: Query) -> list[tuple[int, int]]:
    """Return the agents that are looked at together."""
    asked: list[tuple[Source, str]] = [] if query.by is None else [query.by]
    asked += [] if query.where is None else [query.where[:2]]
    width = stored.width(*asked)
    if query.ids is not None:
        starts = sorted({each // width * width for each in query.ids if 0 <= each < stored.n})
    else:
        starts = list(range(0, stored.n, width))
    return [(at, min(stored.n, at + width)) for at in starts]


def _within(stored: Stored, query: Query, start: int, stop: int) -> Ids:
    """Return the agents of a span that are meant, whatever their order."""
    meant = np.ones(stop - start, bool)
    if query.ids is not None:
        meant[:] = False
        meant[[each - start for each in query.ids if start <= each < stop]] = True
    if query.where is not None and meant.any():
        source, name, text = query.where
        values = stored.read(source, name, start, stop, query.round)
        meant[: len(values)] &= equal(values, text)
        meant[len(values) :] = False
    if query.failed:
        meant &= _failed(stored, query, start, stop)
    return np.flatnonzero(meant) + start


def _failed(stored: Stored, query: Query, start: int, stop: int) -> NDArray[np.bool_]:
    """Return which agents of a span failed."""
    if stored.failed is None:
        return np.zeros(stop - start, bool)
    flags = Checked(stored.failed)
    if query.failed == "round":
        found: NDArray[np.bool_] = flags[stored.round(query.round), start:stop]
        return found
    ever, window = np.zeros(stop - start, bool), int(stored.failed.chunks[0])
    for at in range(0, stored.rounds, window):
        ever |= flags[at : min(at + window, stored.rounds), start:stop].any(axis=0)
    return ever


def _numbers(stored: Stored, query: Query, ids: Ids, start: int, stop: int) -> NDArray[np.float64]:
    """Return the numbers that some agents of a span are ordered by."""
    assert query.by is not None
    values = stored.read(*query.by, start, stop, query.round)
    if values.dtype.kind not in "fiub":
        raise UsageError(f"{query.by[1]!r} is a text; only numbers have a largest and a smallest")
    found = np.full(stop - start, np.nan)
    found[: len(values)] = values
    return found[ids - start]


def equal(values: NDArray[Any], text: str) -> NDArray[np.bool_]:
    """Return which values are the one that a text means: a number, true or false, or itself.

    Examples
    --------
    >>> equal(np.array([1.0, 2.5]), "2.5").tolist(), equal(np.array([True, False]), "no").tolist()
    ([False, True], [False, True])
    """
    if values.dtype.kind == "b":
        known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.strip().lower() not in known:
            raise UsageError(f"{text!r} is neither true nor false")
        found: NDArray[np.bool_] = values == known[text.strip().lower()]
        return found
    if values.dtype.kind not in "fiu":
        found = values == text
        return found
    if text.strip().lower() in ("", "none", "nan"):
        found = values != values
        return found
    try:
        found = values == (int(text) if values.dtype.kind in "iu" else float(text))
    except ValueError:
        raise UsageError(f"{text!r} is no number, and numbers are looked for") from None
    return found


def _columns(stored: Stored, query: Query) -> list[list[str]]:
    """Return what is told of each agent: what was asked for first, then replies, then the rest."""
    asked = [] if query.by is None else [list(query.by)]
    asked += [] if query.where is None else [list(query.where[:2])]
    every = [["reply", name] for name in stored.replies] if stored.rounds else []
    every += [["given", name] for name in stored.given]
    found = [list(pair) for pair in dict.fromkeys(map(tuple, [*asked, *every]))]
    return found[:_COLUMNS]


def _rows(
    stored: Stored, ids: Ids, columns: Sequence[Sequence[str]], round_: int | None
) -> list[dict[str, Any]]:
    """Return what is told of some agents."""
    values = [_pick(stored, source, name, ids, round_) for source, name in columns]
    failed = np.zeros(len(ids), bool)
    if round_ is not None and stored.failed is not None:
        for chunk, inside in _by_chunk(ids, int(stored.failed.chunks[-1])):
            stop = min(stored.n, chunk.stop)
            failed[inside] = Checked(stored.failed)[round_, chunk.start : stop][
                ids[inside] - chunk.start
            ]
    rows = [
        {"id": int(each), "failed": bool(flag), "values": [column[at] for column in values]}
        for at, (each, flag) in enumerate(zip(ids, failed, strict=True))
    ]
    bad = {row["id"]: row for row in rows if row["failed"]}
    rounds = set() if round_ is None else {round_}
    for failure in each_failure(stored.folder, rounds) if bad else ():
        if failure["agent"] in bad and failure["population"] == stored.name:
            bad[failure["agent"]]["why"] = plain(f"{failure['error']}: {failure['message']}")
    return rows


def _pick(stored: Stored, source: Any, name: str, ids: Ids, round_: int | None) -> list[Any]:
    """Return one value of some agents, as plain ones."""
    found: list[Any] = [None] * len(ids)
    for chunk, inside in _by_chunk(ids, stored.width((source, name))):
        values = stored.read(
            source, name, chunk.start, chunk.stop, -1 if round_ is None else round_
        )
        for at in inside.tolist():
            row = int(ids[at]) - chunk.start
            found[at] = plain(values[row]) if row < len(values) else None
    return found


def _by_chunk(ids: Ids, width: int) -> list[tuple[range, NDArray[np.int64]]]:
    """Return the chunks that some agents are in, and which of them are in each."""
    chunks = ids // width
    return [
        (range(int(chunk) * width, (int(chunk) + 1) * width), np.flatnonzero(chunks == chunk))
        for chunk in np.unique(chunks)
    ]
