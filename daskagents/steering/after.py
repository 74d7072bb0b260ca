"""The agents of a run that is not under way, asked as they are in its last checkpoint."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from daskagents.block import Block, Charter
from daskagents.errors import RunError, UsageError
from daskagents.executors import Executor
from daskagents.journal.attempt import Journaling
from daskagents.journal.reading import usage_of
from daskagents.lock import Lock
from daskagents.models.base import Model
from daskagents.models.budget import Budget
from daskagents.models.stack import stack
from daskagents.past import Checkpoint, newest_checkpoint, read_past
from daskagents.plan import plan_each
from daskagents.population import Population
from daskagents.replies import make_frame
from daskagents.resuming import Found
from daskagents.running import executor_for
from daskagents.steering.copies import Ground, ask
from daskagents.steering.outside import next_number
from daskagents.steering.peeking import fitting
from daskagents.steering.surveys import Survey, keep, pick
from daskagents.store import file_name
from daskagents.table import Table
from daskagents.tasks import load_state, same


@dataclass(frozen=True)
class Asked:
    """What is asked, and of whom: see `Survey`."""

    question: Any
    population: str | None = None
    where: Mapping[str, Any] | None = None
    agents: Sequence[int] | None = None
    sample: int | None = None
    name: str = ""
    keep: bool = True


def ask_stored(folder: Path, asked: Asked, client: Any, model: Any) -> xr.Dataset:
    """Ask agents of a run that is not under way; the answers are journaled in its directory.

    Parameters
    ----------
    folder
        The run directory.
    asked
        What, and of whom.
    client, model
        As for `resume`.

    Raises
    ------
    FolderError
        If the folder holds no run, or a live one.
    UsageError
        If something of the program cannot be found, or there is nobody to ask.
    RunError
        If there is no checkpoint yet.
    """
    found = Found(folder, {}, asks=model is None, typed_in=True)
    lock = Lock(folder)
    try:
        key, name = _population(found, asked.population)
        checkpoint = newest_checkpoint(folder)
        if checkpoint is None:
            raise RunError(
                f"{folder} has no checkpoint yet, in which its agents could be asked; go on with"
                f" the run: daskagents resume {folder}"
            )
        if any(
            one["population"] == name and "leave" in one for one in read_past(folder).lives.values()
        ):
            raise UsageError(
                f"agents of {name!r} have left, and who they were only the run itself knows; ask"
                " while it is under way"
            )
        population = found.population(key)
        with (
            executor_for(client) as executor,
            _ground(found, population, name, checkpoint, executor, model) as ground,
        ):
            number = next_number(folder)
            survey = Survey(
                number,
                asked.name,
                name,
                asked.question,
                fitting(population.cls, asked.where or {}),
                asked.agents,
                asked.sample,
                checkpoint.round,
                checkpoint.steps - 1,
            )
            missing = [i for i, held in enumerate(ground.handles) if held is None]
            spans = [np.arange(*ground.bounds[i : i + 2]) for i in missing]
            gone = np.concatenate([np.empty(0, np.int64), *spans])
            ids = pick(ground, survey, gone, found.about["seed"])
            answers, _, failure = ask(ground, ids, asked.question, number)
            if failure is not None and bool(answers["failed"].all()):
                who = f"agent {failure.agent}: {failure}"
                raise RunError(f"nobody could answer; the first was {who}")
            return keep(folder if asked.keep else None, survey, answers)
    finally:
        lock.release()


def _population(found: Found, name: str | None) -> tuple[str, str]:
    """Return under which name the program has a population, and the run."""
    known = {said["name"]: key for key, said in found.about["populations"].items()}
    if name is None and len(known) == 1:
        name = next(iter(known))
    if name is None or name not in known:
        what = "say which population" if name is None else f"there is no population {name!r}"
        raise UsageError(f"{what}; the run has {', '.join(known) or 'none'}")
    return known[name], name


@contextmanager
def _ground(
    found: Found,
    population: Population,
    name: str,
    checkpoint: Checkpoint,
    executor: Executor,
    model: Any,
) -> Iterator[Ground]:
    """Yield the blocks of a population as they are in a checkpoint."""
    settings = found.settings(model)
    asked: Model | None = settings.model
    if model is None:
        asked = population.model or asked
    limits = found.about.get("budget")
    if asked is not None:
        budget = Budget(**limits) if limits else None
        asked = stack(asked, budget, usage_of(found.folder))
    token = uuid.uuid4().hex[:10]
    topic = f"daskagents-{token}"
    paths = _written(checkpoint.folder / file_name(name))
    blob = executor.seal(Charter(population.cls, name, settings.seed, asked))
    with executor.keeping(topic):
        (charter,) = executor.submit(plan_each(f"charter-{token}-{name}", same, [(blob,)]))
        shared = executor.sees(str(found.folder / "run.json"))
        there = [path for path in paths if path]
        blocks = [None if shared else executor.scatter(load_state(path)) for path in there]
        loaded = iter(executor.reload([(path, "") for path in there], blocks))
        handles = [next(loaded) if path else None for path in paths]
        rows = [(handle,) for handle in handles if handle is not None]
        spans = iter(executor.gather(executor.submit(plan_each(f"span-{token}", span_of, rows))))
        bounds = _bounds([None if handle is None else next(spans) for handle in handles])
        journal = Journaling(str(found.folder), token, sync=settings.sync)
        frame = population._frame
        if int(bounds[-1]) != population.table.n:  # some have entered since
            frame = make_frame(Table(int(bounds[-1]), {}), {}, population.dim, bounds)
        yield Ground(
            executor,
            topic,
            token,
            name,
            charter,
            bounds,
            handles,
            frame,
            population.dim,
            journal if asked is not None and shared else None,
        )


def _bounds(spans: Sequence[tuple[int, int] | None]) -> Any:
    """Return where blocks begin, and the end, from the first row and the rows of each."""
    bounds = [0]
    for span in spans:
        bounds.append(bounds[-1] if span is None else sum(span))
    return np.array(bounds, np.int64)


def span_of(block: Block) -> tuple[int, int]:
    """Return the first row of a block, and how many it has."""
    return block.first, block.n


def _written(folder: Path) -> list[str]:
    """Return where each block is written; empty for one of which all agents are gone."""
    written = {int(path.name): str(path) for path in folder.glob("[0-9]" * 5)}
    return [written.get(index, "") for index in range(max(written, default=-1) + 1)]
