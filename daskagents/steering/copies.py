"""Copies of agents that are asked from outside: only their answers are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from distributed import get_worker
from numpy.typing import NDArray

from daskagents import tasks
from daskagents.block import Block, Call, Charter, Failure, pick_rows
from daskagents.errors import RunError, UsageError
from daskagents.executors import Executor
from daskagents.forms import Form, as_numpy, blank
from daskagents.journal.attempt import Journaling
from daskagents.journal.segments import journal_of, pack
from daskagents.keeping import WorkerKeeper
from daskagents.members import address
from daskagents.message import Message
from daskagents.plan import plan_each
from daskagents.sealing import charter_of, seal, unseal
from daskagents.step import run_step
from daskagents.tasks import Bundle, Mask, Place, state_of
from daskagents.usage import Tally

#: Steps from this number on are no steps of the workflow, but questions from outside.
OUTSIDE = 1_000_000_000


@dataclass(frozen=True)
class Told:
    """What the copies of one block have answered."""

    form: Form | None
    values: dict[str, NDArray[Any]]
    failed: NDArray[np.bool_]
    first_failure: Failure | None
    usage: Tally
    attempt: str = ""


@dataclass(frozen=True)
class Ground:
    """Where the copies are made: the blocks of a population, as they are at some time.

    Parameters
    ----------
    executor
        Where tasks run.
    topic
        Under which workers find the accounts of the run.
    token
        What the keys of tasks end with.
    population
        Its name.
    charter
        The handle of its charter.
    bounds
        The first agent of each block, and the end.
    handles
        The blocks; None where all agents of one are gone.
    frame
        The coordinates of all agents.
    dim
        Their dimension.
    journal
        How answers are written down; None where they are not.
    """

    executor: Executor
    topic: str
    token: str
    population: str
    charter: Any
    bounds: NDArray[np.int64]
    handles: Sequence[Any]
    frame: xr.Dataset
    dim: str
    journal: Journaling | None = None


def ask(
    ground: Ground, ids: NDArray[np.int64] | None, question: Any, number: int
) -> tuple[xr.Dataset, Tally, Failure | None]:
    """Ask copies of some agents a question.

    Parameters
    ----------
    ground
        The agents.
    ids
        Who of them, in order; None for all.
    question
        A `Question`.
    number
        Which question from outside of this run it is, from 0.

    Returns
    -------
    xarray.Dataset
        Over the dimension of the population: ``answer``, or what the answers are made of, and
        ``failed``; with the coordinates that the agents were given.
    Tally
        What it took.
    Failure or None
        Why the first agent failed that did.
    """
    indexes, _, masks = address(ground.bounds, ids)
    there = [at for at, index in enumerate(indexes) if ground.handles[index] is not None]
    step = OUTSIDE + number
    name = f"asked-{ground.population}-{step}-{ground.token}"
    sealed = seal(Message(question))
    call = Call(step, "interview", sends=False)
    rows = [
        (
            ground.charter,
            ground.handles[indexes[at]],
            call,
            sealed,
            masks[at],
            Place(ground.topic, step, indexes[at], journal=ground.journal),
        )
        for at in there
    ]
    told: list[Told] = []
    if rows:
        told = ground.executor.gather(ground.executor.submit(plan_each(name, _ask_block, rows)))
        _pack(ground, step, [indexes[at] for at in there], told)
    asked = _ids(ground, [indexes[at] for at in there], [masks[at] for at in there])
    first = next((one.first_failure for one in told if one.first_failure is not None), None)
    found = _dataset(ground, asked, told)
    return found, Tally(each for one in told for each in one.usage), first


def _ask_block(
    blob: bytes | Charter, held: Block | Bundle, call: Call, sealed: Any, mask: Mask, place: Place
) -> Told:
    """Ask copies of some agents of one block; what they become is thrown away."""
    block, charter = state_of(held), charter_of(blob)
    here = tasks.own_loop.get() is not None
    with tasks.attempting(charter, call, place) as journal:
        outcome = run_step(
            charter,
            block,
            call,
            unseal(sealed) if isinstance(sealed, bytes) else sealed,
            pick_rows(mask, block.n),
            loop=tasks.loop_of_agents,
            keeper=None if here else WorkerKeeper(place.topic, get_worker()),
            journal=journal,
        )
    values = {name: as_numpy(column) for name, column in outcome.replies.items()}
    attempt = "" if journal is None else journal.name
    return Told(outcome.form, values, outcome.failed, outcome.first_failure, outcome.usage, attempt)


def _pack(ground: Ground, step: int, indexes: Sequence[int], told: Sequence[Told]) -> None:
    """Bring the answers of all blocks into one file."""
    accepted = {at: one.attempt for at, one in zip(indexes, told, strict=True) if one.attempt}
    if accepted and ground.journal is not None:
        row = (journal_of(ground.journal.folder), step, accepted)
        plan = plan_each(f"pack-{ground.token}-{step}", pack, [row])
        ground.executor.gather(ground.executor.submit(plan))


def _ids(ground: Ground, indexes: Sequence[int], masks: Sequence[Mask]) -> NDArray[np.int64]:
    """Return the ids of those who were asked."""
    found = [np.empty(0, np.int64)]
    for index, mask in zip(indexes, masks, strict=True):
        first, end = int(ground.bounds[index]), int(ground.bounds[index + 1])
        rows = pick_rows(mask, end - first)
        found.append(first + (np.arange(end - first) if rows is None else rows))
    return np.concatenate(found)


def _dataset(ground: Ground, ids: NDArray[np.int64], told: Sequence[Told]) -> xr.Dataset:
    """Put what was answered together."""
    forms = {one.form for one in told if one.form is not None and not one.failed.all()}
    if len(forms) > 1:
        said = " and ".join(sorted(map(str, forms)))
        raise RunError(
            f"some agents of {ground.population!r} answer with {said}; have `interview` of their"
            " class return the same for all: declare it, as def interview(self, message) -> str"
        )
    if not forms and told:
        first = next((one.first_failure for one in told if one.first_failure), None)
        raise RunError(f"nobody of {ground.population!r} answered: {first}")
    kinds = next(iter(forms)).kinds if forms else ()
    if forms and not kinds:
        raise UsageError(
            f"`interview` of {ground.population!r} returns nothing; have it return the answer"
        )
    data: dict[str, Any] = {}
    for name, kind in kinds:
        parts = [
            one.values[name] if one.form == next(iter(forms)) else blank(kind, len(one.failed))
            for one in told
        ]
        data[name or "answer"] = (ground.dim, np.concatenate(parts))
    if told:
        data["failed"] = (ground.dim, np.concatenate([one.failed for one in told]))
    known = ids[ids < ground.frame.sizes[ground.dim]]
    frame = ground.frame.isel({ground.dim: known}) if len(known) == len(ids) else None
    coords: Any = {ground.dim: ids} if frame is None else frame.coords
    taken = data.keys() & set(coords)
    found = xr.Dataset(data, {n: c for n, c in coords.items() if n not in taken})
    return found.load(scheduler="threads")


__all__ = ["OUTSIDE", "Ground", "ask"]
