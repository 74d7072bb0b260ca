"""Failures of a run, agent by agent: written by the tasks, read back as a table."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from daskagents.block import Failure
from daskagents.events import line_of, read_events

if TYPE_CHECKING:
    import xarray as xr

_TEXTS = ("population", "error", "message", "where", "answer")


def write_failures(folder: Path, step: int, name: str, lapses: Iterable[Failure]) -> None:
    """Write why agents of a block failed in a step, under the name of the piece of its replies.

    Parameters
    ----------
    folder
        The run directory.
    step
        Its number.
    name
        Of the piece, which tells the attempts apart.
    lapses
        Why each agent failed that did.
    """
    path = folder / "failures" / f"{step:06d}" / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
        for one in lapses:
            kind, _, message = one.reason.partition(": ")
            message = f"{one.group}: {message}" if one.group else message
            said = {"error": kind, "message": message, "where": one.where, "answer": one.answer}
            file.write(line_of("failed", {"agent": one.agent, **said}, str))


def read_failures(
    folder: Path, rounds: set[int] | None = None, agent: int | None = None
) -> xr.Dataset:
    """Return why agents failed, a row for each time one did."""
    import xarray as xr  # not above: workers, which only write, would take as long as to start

    rows = [row for row in each_failure(folder, rounds) if agent is None or row["agent"] == agent]
    columns: dict[str, Any] = {}
    for name in ("round", "step", "agent", *_TEXTS):
        dtype: Any = np.dtypes.StringDType() if name in _TEXTS else np.dtype(np.int64)
        columns[name] = ("failure", np.array([row[name] for row in rows], dtype))
    return xr.Dataset(columns)


def each_failure(folder: Path, rounds: Container[int] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the failures of the attempts that count, by step and agent; of some rounds or all."""
    steps: dict[int, dict[str, Any]] = {}
    pieces: dict[int, list[str]] = {}
    for event in read_events(folder / "events.jsonl"):
        if event["event"] == "step":
            steps[event["step"]] = event
        elif event["event"] == "done":
            pieces[event["step"]] = event["pieces"]
    for place in sorted((folder / "failures").glob("*")):
        step = steps[int(place.name)]
        if rounds is not None and step["round"] not in rounds:
            continue
        about = {name: step[name] for name in ("round", "step", "population")}
        counting = pieces.get(int(place.name))
        found: dict[int, dict[str, Any]] = {}
        for path in sorted(place.iterdir()):
            # of a step that stopped the run no attempt was accepted, and so each counts
            if counting is None or path.name.removesuffix(".jsonl") in counting:
                found |= {event["agent"]: {**about, **event} for event in read_events(path)}
        yield from (found[agent] for agent in sorted(found))
