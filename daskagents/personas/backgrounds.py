"""People with backgrounds, and how the writing of these went."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from daskagents.errors import TableError
from daskagents.personas.facts import in_words, template
from daskagents.personas.likeness import Likeness, likeness

#: The columns that people get: the text, and who wrote it.
PERSONA, ORIGIN = "persona", "persona_from"
#: Failures that a report lists.
_LISTED = 10
#: What a run says it took.
_TAKEN = ("calls", "prompt_tokens", "completion_tokens", "cost")


@dataclass(frozen=True, eq=False)
class Backgrounds:
    """People with backgrounds, and how the writing went; made by `write`.

    Parameters
    ----------
    people
        What was given, with two more columns: ``persona``, the text, and ``persona_from``:
        ``"model"``, or ``"row"`` where the model wrote none that goes with the row.
    asked, at_once, rewritten
        How many backgrounds were to be written; of these, how many were right at once, and how many
        after they had been shown what is wrong with them.
    failures
        The others: a row for each, with the columns it was to be written for, ``people`` (how many
        have it), ``tries`` and ``problem``.
    covered
        The share of the people who have a background by the model.
    told
        Of the facts of a row, the share that the model itself told in its words, on average; the
        others were added to the text.
    likeness
        How alike the texts of the model are.
    calls, prompt_tokens, completion_tokens, cost
        What it took; the cost is NaN where no price is known.
    """

    people: Any
    asked: int
    at_once: int
    rewritten: int
    failures: pd.DataFrame
    covered: float
    told: float
    likeness: Likeness
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: float

    def __str__(self) -> str:
        n, failed = len(frame_of(self.people)), len(self.failures)
        paid = "" if math.isnan(self.cost) or not self.cost else f", {self.cost:,.2f} paid"
        lines = [
            f"{self.covered:.1%} of {n:,} people have a background by the model",
            f"{self.asked:,} to write: {self.at_once:,} right at once,"
            f" {self.rewritten:,} rewritten, {failed:,} failed",
        ]
        if failed < self.asked:
            told = f"{self.told:.1%} of the facts are told in the model's words, the others added"
            lines += [told, str(self.likeness)]
        lines.append(
            f"{self.calls:,} calls, {self.prompt_tokens:,} prompt tokens,"
            f" {self.completion_tokens:,} completion tokens{paid}"
        )
        own = ["people", "tries", "problem"]
        for _, failure in self.failures.head(_LISTED).iterrows():
            facts = {str(name): value for name, value in failure.items() if name not in own}
            who = f" ({failure['people']:,} people)" if failure["people"] > 1 else ""
            lines.append(f"failed: {in_words(facts)}{who}: {failure['problem']}")
        if failed > _LISTED:
            lines.append(f"... and {failed - _LISTED:,} more, in .failures")
        return "\n".join(lines)


def gather(
    people: Any,
    table: pd.DataFrame,
    told: pd.DataFrame,
    rows: list[str],
    shared: NDArray[np.int64],
    result: xr.Dataset,
) -> Backgrounds:
    """Put people and what was written for them together.

    Parameters
    ----------
    people, table
        The people as they were given, and as a DataFrame.
    told, rows
        For each background the facts it was written for, as a DataFrame and as JSON.
    shared
        For each person the background that is theirs.
    result
        What the run of the writers returned.
    """
    replied = result.isel(round=0).load(scheduler="threads")
    texts: list[str] = replied["persona"].values.tolist()
    tries, share_told = replied["tries"].values, replied["told"].values
    good = np.array([bool(text) for text in texts])
    given = table[PERSONA].tolist() if PERSONA in table else [None] * len(table)
    personas, origins = [], []
    for own, at in zip(given, shared.tolist(), strict=True):
        row = None if texts[at] else msgspec.json.decode(rows[at])
        personas.append(texts[at] if row is None else _kept(own) or template(row))
        origins.append("model" if row is None else "row")
    failures = told.iloc[~good].reset_index(drop=True)
    failures = failures.assign(
        people=np.bincount(shared, minlength=len(texts))[~good],
        tries=np.nan_to_num(tries[~good]).astype(int),
        problem=[
            said or "the model could not be asked" for said in replied["problem"].values[~good]
        ],
    )
    took = {name: result[name].values.sum() for name in _TAKEN}
    return Backgrounds(
        people=with_columns(people, table, {PERSONA: personas, ORIGIN: origins}),
        asked=len(texts),
        at_once=int((good & (tries == 1)).sum()),
        rewritten=int((good & (tries > 1)).sum()),
        failures=failures,
        covered=float(good[shared].mean()),
        told=float(share_told[good].mean()) if good.any() else 0.0,
        likeness=likeness([text for text in texts if text]),
        cost=float(took.pop("cost")),
        **{name: int(number) for name, number in took.items()},
    )


def _kept(given: Any) -> str:
    """Return the background that somebody had; nothing where it is missing."""
    return given if isinstance(given, str) else ""


def with_columns(people: Any, table: pd.DataFrame, columns: dict[str, list[str]]) -> Any:
    """Return people with more columns, as what they were given as."""
    if isinstance(people, xr.Dataset):
        (dim,) = people.dims
        return people.assign({name: (dim, np.array(v, object)) for name, v in columns.items()})
    return table.assign(**columns)


def frame_of(people: Any) -> pd.DataFrame:
    """Return people as a DataFrame."""
    if isinstance(people, xr.Dataset):
        if len(people.dims) != 1:
            raise TableError(f"the Dataset of people has one dimension, not {list(people.dims)}")
        found = {str(name): people[name].values for name in people.data_vars}
        return pd.DataFrame(found, copy=False)
    if isinstance(people, pd.DataFrame):
        return people
    try:
        return pd.DataFrame(people)
    except (TypeError, ValueError) as error:
        raise TableError(
            f"people are a Dataset over one dimension, a DataFrame or a mapping of columns, not"
            f" {type(people).__name__}: {error}"
        ) from None


def save_people(people: Any, path: Path) -> None:
    """Write people to a .parquet or a .csv file; one that cannot be written whole is not left."""
    table = frame_of(people)
    part = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if path.suffix.lower() == ".csv":
            table.to_csv(part, index=False)
        else:
            table.to_parquet(part, index=False)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
