"""One block of people: pure functions of a spec, a seed and the number of the block."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskagents.errors import SpecError
from daskagents.personas.expressions import relabel
from daskagents.personas.labels import Column, Labels
from daskagents.personas.names import Names
from daskagents.personas.numbers import Numbers
from daskagents.personas.rounding import Counts, shuffled
from daskagents.personas.spec import Computed, Constant, Counter, Field, Shares, Spec
from daskagents.personas.templates import Template
from daskagents.personas.values import Kind

#: People of a block. It is part of what a seed means: another size makes other people.
BLOCK = 1 << 16

Columns = dict[str, Column]


def generator(seed: int, name: str, start: int | str) -> np.random.Generator:
    """Return the random numbers of one field in the block that starts at a row.

    They depend on nothing else.

    Examples
    --------
    >>> one, other = generator(1, "age", 0), generator(1, "age", 1)
    >>> one.random() != other.random()
    True
    """
    key = blake2b(f"{seed}/{name}/{start}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


def as_it_is(spec: Spec) -> Spec:
    """Return a spec: as a task, it is made again where its worker is lost."""
    return spec


def cells_of(field: Field, columns: Mapping[str, Column], n: int) -> NDArray[np.int64]:
    """Return the cell of each person in the conditions of a field."""
    return np.zeros(n, np.int64) if field.given is None else field.given.cells(columns, n)


def count_cells(field: Field, columns: Mapping[str, Column], n: int) -> Counts:
    """Return how many people of a block are in each cell of a field."""
    return np.bincount(cells_of(field, columns, n), minlength=len(field.cells))


def advance(
    spec: Spec,
    seed: int,
    bounds: tuple[int, int],
    columns: Columns,
    counts: Mapping[str, Counts],
    wanted: Collection[str],
) -> Columns:
    """Return the columns of a block with more fields made.

    Parameters
    ----------
    spec, seed
        What the people are, and what everything random follows from.
    bounds
        Where the block begins and ends.
    columns
        What was made of it before.
    counts
        For each field of shares, by its first name: how many people of the block get each value.
    wanted
        Names of fields; their ancestors must be made, or wanted too.
    """
    found = dict(columns)
    for field in spec.fields:
        if field.names[0] not in found and any(name in wanted for name in field.names):
            made = _make(field, seed, bounds, found, counts.get(field.names[0]))
            found |= dict(zip(field.names, made, strict=True))
    return found


def _make(
    field: Field, seed: int, bounds: tuple[int, int], columns: Columns, counts: Counts | None
) -> tuple[Column, ...]:
    """Return the columns of one field in one block."""
    start, end = bounds
    n, name = end - start, field.names[0]
    rng: Callable[[], np.random.Generator] = lambda: generator(seed, name, start)  # noqa: E731
    match field.source:
        case Shares() as shares:
            assert counts is not None, name
            rows = shuffled(cells_of(field, columns, n), counts, rng())
            return tuple(column[rows] for column in shares.columns)
        case Numbers() as numbers:
            return (numbers.make(cells_of(field, columns, n), rng()),)
        case Constant(values=values):
            return (values[cells_of(field, columns, n)],)
        case Counter(start=first, step=step):
            return (first + step * np.arange(start, end, dtype=np.int64),)
        case Computed() as computed:
            return (_compute(name, computed, field.kinds[0], columns, n),)
        case Template() as template:
            return (template.fill(columns, n),)
        case Names() as names:
            sexes = None if names.sex is None else columns[names.sex]
            return (names.make(cells_of(field, columns, n), sexes, rng()),)


def _compute(name: str, computed: Computed, kind: Kind, columns: Columns, n: int) -> Column:
    """Return what an expression makes of a block, in the type that was found before.

    Raises
    ------
    SpecError
        If it is no finite number for somebody, who is shown.
    """
    found = computed.expression.evaluate(columns, n)
    if isinstance(found, Labels):
        return found if kind.values is None else relabel(found, tuple(map(str, kind.values)))
    if not kind.is_number:
        return found
    with np.errstate(invalid="ignore"):
        if computed.unit:
            found = np.floor(found / computed.unit + 0.5) * computed.unit
            if computed.unit < 1:
                found = np.round(found, round(-np.log10(computed.unit)))
        found = np.clip(found, computed.low, computed.high)
        wrong = ~(np.abs(found) < 2.0**62) if kind.type == "int" else ~np.isfinite(found)
    if wrong.any():
        row = int(np.argmax(wrong))
        said = ", ".join(
            f"{key} = {_value(columns[key], row)}" for key in computed.expression.names
        )
        raise SpecError(
            f"fields.{name}.expression: {computed.expression.text!r} is {found[row]} for"
            f" {int(wrong.sum()):,} of {n:,} people, such as one of {said}; guard it with"
            " `a if b else c`, or with min and max"
        )
    return np.rint(found).astype(np.int64) if kind.type == "int" else found.astype(np.float64)


def _value(column: Column, row: int) -> Any:
    return column.words[column.codes[row]] if isinstance(column, Labels) else column[row]
