"""Surveys: who is asked, what comes of it, and where it is kept."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from daskagents.block import Block, Charter, Failure
from daskagents.errors import UsageError
from daskagents.plan import plan_each
from daskagents.question import Question
from daskagents.sealing import charter_of
from daskagents.steering.copies import Ground
from daskagents.steering.peeking import matching
from daskagents.tasks import Bundle, state_of, writing

#: Different answers up to which a summary counts each.
_FEW = 50
#: What a summary tells of numbers: these quantiles.
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_NAME = re.compile(r"[\w-]{1,64}", re.ASCII)


@dataclass(frozen=True)
class Survey:
    """One question to many agents.

    Parameters
    ----------
    number
        Which question from outside it is.
    name
        What it is kept under; empty for ``survey-1`` and so on.
    population
        Who is asked.
    question
        What.
    where, agents, sample
        Those with these values of fields; with these ids; and of these so many, by chance.
    round, step
        How many rounds were over for the workflow, and the step after which it was.
    """

    number: int
    name: str
    population: str
    question: Question
    where: Mapping[str, Any]
    agents: Sequence[int] | None
    sample: int | None
    round: int
    step: int

    def __post_init__(self) -> None:
        if self.name and not _NAME.fullmatch(self.name):
            raise UsageError(f"name is {self.name!r}; give letters, digits, - and _")
        if self.sample is not None and (type(self.sample) is not int or self.sample < 1):
            raise UsageError(f"sample is {self.sample!r}; give how many agents to ask")

    def about(self) -> dict[str, Any]:
        """Return what its Dataset says of it."""
        asked = self.question
        said = {
            "question": asked.text,
            "choices": list(asked.choices),
            "shuffled": int(asked.shuffle),
            "schema": "" if asked.schema is None else getattr(asked.schema, "__name__", "?"),
            "population": self.population,
            "where": json.dumps(dict(self.where), default=str) if self.where else "",
            "sample": self.sample or 0,
            "round": self.round,
            "step": self.step,
            "made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        return {name: value for name, value in said.items() if value not in ("", [])}


def pick(
    ground: Ground, survey: Survey, gone: NDArray[np.int64], seed: int
) -> NDArray[np.int64] | None:
    """Return the ids of those who are asked; None for all.

    Raises
    ------
    UsageError
        If nobody is.
    """
    n = int(ground.bounds[-1])
    ids: NDArray[np.int64] | None = None
    if survey.agents is not None:
        wanted = np.unique(np.asarray(survey.agents, np.int64))
        if len(wanted) and (wanted[0] < 0 or wanted[-1] >= n):
            raise UsageError(f"there is no agent {wanted[-1]}; the ids are 0 to {n - 1}")
        ids = wanted
    if survey.where:
        having = _having(ground, survey)
        ids = having if ids is None else np.intersect1d(ids, having)
    if len(gone):
        ids = np.setdiff1d(np.arange(n) if ids is None else ids, gone)
    if ids is not None and not len(ids):
        said = f" with {dict(survey.where)}" if survey.where else ""
        raise UsageError(f"nobody is asked: there is no such agent in {survey.population!r}{said}")
    if survey.sample is not None and survey.sample < (n if ids is None else len(ids)):
        rng = np.random.default_rng([seed, survey.number])
        every = n if ids is None else ids
        ids = np.sort(rng.choice(every, survey.sample, replace=False))
    return ids


def _having(ground: Ground, survey: Survey) -> NDArray[np.int64]:
    there = [held for held in ground.handles if held is not None]
    name = f"having-{ground.population}-{survey.number}-{ground.token}"
    rows = [(ground.charter, held, dict(survey.where)) for held in there]
    found = ground.executor.gather(ground.executor.submit(plan_each(name, having, rows)))
    return np.concatenate([np.empty(0, np.int64), *found])


def having(
    blob: bytes | Charter, held: Block | Bundle, where: Mapping[str, Any]
) -> NDArray[np.int64]:
    """Return the ids of those agents of a block that have some values."""
    block = state_of(held)
    return block.ids_of(np.flatnonzero(matching(charter_of(blob).cls, block, where)))


def keep(run: Path | None, survey: Survey, found: xr.Dataset) -> xr.Dataset:
    """Write the answers into the run directory, and return them with what they are of."""
    name = survey.name or _free(run)
    found = found.assign_attrs(name=name, **survey.about())
    if run is None:
        return found
    folder = run / "surveys"
    path, draft = folder / f"{name}.zarr", folder / f".{name}.new"
    if path.exists():
        raise UsageError(f"{path} is there already; give the survey another name")
    with writing(path):
        folder.mkdir(exist_ok=True)
        shutil.rmtree(draft, ignore_errors=True)
        found.to_zarr(draft, consolidated=False, zarr_format=3)
        draft.rename(path)
    return found


def _free(run: Path | None) -> str:
    number = 1
    while run is not None and (run / "surveys" / f"survey-{number}.zarr").exists():
        number += 1
    return f"survey-{number}"


def open_surveys(run: Path) -> dict[str, xr.Dataset]:
    """Return the surveys of a run directory, by name."""
    paths = sorted((run / "surveys").glob("*.zarr"))
    return {path.stem: xr.open_zarr(path, consolidated=False, chunks=None) for path in paths}


def summary(found: xr.Dataset, failure: Failure | None) -> dict[str, Any]:
    """Return what there is to say of a survey in few words, as JSON has it."""
    failed = found["failed"].values
    said: dict[str, Any] = {
        "name": found.attrs["name"],
        "asked": len(failed),
        "failed": int(failed.sum()),
    }
    if failure is not None:
        said["first_failure"] = f"agent {failure.agent}: {failure}"
    for name, variable in found.data_vars.items():
        if name == "failed":
            continue
        of = said if name == "answer" else said.setdefault("answers", {}).setdefault(str(name), {})
        of |= _counted(variable.values[~failed])
    return said


def _counted(values: NDArray[Any]) -> dict[str, Any]:
    """Return the counts of answers, or the quantiles of many different numbers."""
    different, counts = np.unique(values, return_counts=True)
    if values.dtype.kind in "fiub" and len(different) > _FEW:
        return {"quantiles": np.quantile(values, _QUANTILES).tolist(), "mean": float(values.mean())}
    order = np.argsort(-counts, kind="stable")
    named = [(str(different[at]), int(counts[at])) for at in order.tolist()]
    rest = sum(count for _, count in named[_FEW:])
    said: dict[str, Any] = {"counts": dict(named[:_FEW])}
    if rest:
        said["others"] = rest
    if values.dtype.kind in "fiub" and len(values):
        said["mean"] = float(values.mean())
    return said
