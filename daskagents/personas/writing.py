"""Backgrounds written by a model: one for each person, or some that people of a kind share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from daskagents.errors import TableError, UsageError
from daskagents.models.budget import Budget
from daskagents.options import did_you_mean
from daskagents.personas.backgrounds import ORIGIN, PERSONA, Backgrounds, frame_of, gather
from daskagents.personas.facts import role_of, row_text
from daskagents.personas.sharing import share
from daskagents.personas.writer import Task, Writer, write_backgrounds
from daskagents.population import Population
from daskagents.running import run
from daskagents.session import MAX_FAILED

#: Values of a column that exclude each other: so many at the most.
_CHOICES = 200
#: Most words of a background.
_MOST_WORDS = 2_000


def write(
    people: Any,
    *,
    model: Any,
    out: str | Path | None = None,
    resume: bool = False,
    reuse: int | None = None,
    fields: Sequence[str] | None = None,
    instructions: str = "",
    words: int = 80,
    tries: int = 3,
    client: Any = None,
    seed: int = 0,
    budget: Budget | None = None,
    max_failed: float = MAX_FAILED,
    progress: bool | None = None,
    **sampling: Any,
) -> Backgrounds:
    """Let a model write the background of each person, and check it against the person's row.

    A background has a name, an age, a gender, a job and a personality: those of the row where it
    has them, and else invented. One that contradicts the row is shown to the model, with why, and
    written again. Where no try goes with the row, the person keeps the ``persona`` that was given,
    or gets a text made of the row; it is counted and listed. Facts that the model's words leave out
    are added to them.

    It is a run like any other, of an agent for each background: journaled, so that it can be
    resumed, and with a budget.

    Parameters
    ----------
    people
        A Dataset over one dimension, as `daskagents.personas.sample` returns it, a DataFrame, or a
        mapping of columns. A column ``persona`` is no fact, but what people keep where the model
        fails.
    model
        Who writes, as for `daskagents.run`.
    out, resume, client, seed, budget, max_failed, progress
        As for `daskagents.run`. With `out` and ``resume=True`` the writing goes on where it was
        killed or stopped; where it is done, also by `daskagents.resume`, nothing is asked again.
    reuse
        Write so many backgrounds for each distinct row, and share them among those who have it, by
        chance and each as often as the others. By default everybody has a background of their own.
    fields
        The columns that the model is told; by default all.
    instructions
        What the model is told besides, such as ``"Write in Polish."``.
    words
        About how long a background is to be.
    tries
        How often one may be written until it goes with its row.
    **sampling
        Parameters of the calls, such as ``temperature=1.0``.

    Returns
    -------
    Backgrounds
        With ``people``; printed, it says how the writing went.

    Raises
    ------
    UsageError
        Before anything is asked: what was asked for wrongly.
    BudgetError
        If the budget is spent: go on with a larger one and ``resume=True``.
    RunError
        If more than `max_failed` of the writers could not ask the model at all.

    Examples
    --------
    >>> import json
    >>> from daskagents import models, personas
    >>> ann = {"name": "Ann Bell", "age": 34, "gender": "female", "job": "farmer"}
    >>> text = "Ann is 34. She is a farmer who likes the rain."
    >>> ann |= {"personality": "calm", "background": text}
    >>> always = models.Dummy(answer=json.dumps(ann))
    >>> people = {"age": [34, 52], "job": ["farmer", "farmer"]}
    >>> found = personas.write(people, model=always, client="sync")
    >>> for text in found.people["persona"]:
    ...     print(text)
    Ann is 34. She is a farmer who likes the rain. (personality: calm)
    A person (age: 52; job: farmer).
    >>> found.failures["problem"].tolist()
    ['the age is 52, and the answer says 34; the age is 52, and the background says 34']
    """
    table = frame_of(people)
    names = _fields(table, fields)
    _check(reuse, words, tries, model, instructions)
    shares = share(table[names], reuse, seed)
    told = table[names].iloc[shares.row]
    rows = [row_text(names, values) for values in zip(*map(told.get, names), strict=True)]
    task = Task(reuse or 1, _choices(table[names]), instructions, tries, words, {**sampling})
    result = run(
        write_backgrounds,
        Population(Writer, {"row": rows, "copy": shares.copy}),
        _encoded(task),
        client=client,
        model=model,
        seed=seed,
        out=out,
        resume=resume,
        budget=budget,
        max_failed=max_failed,
        progress=progress,
    )
    return gather(people, table, told, rows, shares.of, result)


def _fields(table: pd.DataFrame, fields: Sequence[str] | None) -> list[str]:
    """Return the columns that are facts."""
    known = [name for name in map(str, table.columns) if name not in (PERSONA, ORIGIN)]
    if not len(table):
        raise TableError("there are no people to write backgrounds of")
    if isinstance(fields, str):
        raise UsageError(f"fields={fields!r}: give a list of columns")
    for name in known if fields is None else fields:
        if name not in known:
            raise UsageError(
                f"fields: the people have no column {name!r}; they have {', '.join(known)}"
                f"{did_you_mean(name, known)}"
            )
    names = known if fields is None else list(fields)
    if not names:
        raise TableError("the people have no column that could be told; give at least one")
    return names


def _choices(table: pd.DataFrame) -> dict[str, list[str]]:
    """Return the values of columns whose values exclude each other: those of jobs and degrees."""
    found = {}
    for name in table.columns:
        if role_of(str(name)) in ("job", "education"):
            values = pd.unique(table[name].dropna().astype(object))
            if len(values) <= _CHOICES and all(isinstance(value, str) for value in values):
                found[str(name)] = sorted(values)
    return found


def _check(reuse: int | None, words: int, tries: int, model: Any, instructions: str) -> None:
    """Raise a `UsageError` if something is asked for wrongly."""
    if model is None:
        raise UsageError("there is no model to write backgrounds; give model=...")
    for name, value, most in (("tries", tries, 100), ("words", words, _MOST_WORDS)):
        if type(value) is not int or not 1 <= value <= most:
            raise UsageError(f"{name} is {value!r}; give a whole number from 1 to {most:,}")
    if reuse is not None and (type(reuse) is not int or reuse < 1):
        raise UsageError(f"reuse is {reuse!r}; give a number of backgrounds for each distinct row")
    if not isinstance(instructions, str):
        raise UsageError(f"instructions is {instructions!r}; give a text")


def _encoded(task: Task) -> str:
    try:
        return msgspec.json.encode(task).decode()
    except (TypeError, msgspec.MsgspecError) as error:
        raise UsageError(f"a parameter of the calls cannot be written down: {error}") from None
