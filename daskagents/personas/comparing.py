"""What a spec asked for, against what people are: shares cell by cell, means, joint distances."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from daskagents.errors import SpecError
from daskagents.personas.blocks import Columns, cells_of
from daskagents.personas.expressions import relabel
from daskagents.personas.labels import Column, Labels
from daskagents.personas.lazy import column_of, compact
from daskagents.personas.nodes import hint
from daskagents.personas.numbers import Numbers
from daskagents.personas.spec import Field, Shares, Spec

#: Most values of a field whose joint shares with others are looked at.
FEW = 64


@dataclass(frozen=True)
class Line:
    """One figure: what was asked for, and what there is.

    Parameters
    ----------
    field
        Its name, or names.
    given
        The cell of its conditions; ``""`` for all people.
    value
        What is counted; ``"mean"`` or ``"sd"`` of numbers.
    asked, achieved
        People, or the mean or sd.
    counted
        Whether these are people.
    exact
        Whether less than one person may differ; those of surveys are drawn row by row.
    """

    field: str
    given: str
    value: str
    asked: float
    achieved: float
    counted: bool = True
    exact: bool = True


@dataclass(frozen=True)
class Pair:
    """How far two fields are, together, from what was asked for.

    Parameters
    ----------
    one, other
        The fields.
    asked
        ``"given"`` where one is a condition of the other, ``"independent"`` where they have
        nothing to do with each other.
    distance
        The total variation: the share of people who would have to change.
    """

    one: str
    other: str
    asked: str
    distance: float


def columns_of(spec: Spec, people: Any) -> Columns:
    """Return the columns of people, as the spec has them.

    Raises
    ------
    SpecError
        If a column is missing, or holds a value that the spec does not know.
    """
    known = [str(name) for name in (people.variables if isinstance(people, xr.Dataset) else people)]
    found: Columns = {}
    for name, kind in spec.kinds.items():
        if name not in known:
            raise SpecError(f"the people have no column {name!r}{hint(name, known)}")
        given = people[name]
        is_array = isinstance(given, xr.DataArray)
        column = column_of(given) if is_array else compact(np.asarray(given, None))
        texts = isinstance(column, Labels) or column.dtype.kind not in "biuf"
        if texts != (kind.type == "text"):
            raise SpecError(f"column {name!r} of the people is not of {kind.said}")
        if kind.type == "text" and kind.values is not None:
            column = column if isinstance(column, Labels) else _labels(column)
            words = tuple(map(str, kind.values))
            if strange := [word for word in column.words if word not in words]:
                raise SpecError(f"column {name!r} holds {strange[0]!r}{hint(strange[0], words)}")
            column = relabel(column, words)
        found[name] = column
    return found


def _labels(column: NDArray[Any]) -> Labels:
    words, codes = np.unique(column.astype(object), return_inverse=True)
    return Labels(codes.astype(np.uint32), tuple(words.tolist()))


def lines(spec: Spec, columns: Columns, n: int) -> Iterator[Line]:
    """Yield what was asked for and what there is, of all fields for which this is known."""
    for field in spec.fields:
        if isinstance(field.source, Shares):
            if field.source.marginals:
                yield from _marginal_lines(field.source, columns, n)
            elif field.source.drawn:
                yield from _survey_lines(field, field.source, columns, n)
            elif len(field.source.weights[0]) <= FEW**2:
                yield from _share_lines(field, field.source, columns, n)
        elif isinstance(field.source, Numbers):
            yield from _number_lines(field, field.source, columns, n)


def value_of(field: Field, shares: Shares, columns: Mapping[str, Column]) -> NDArray[np.int64]:
    """Return for each person which row of a table of shares it has; rows that are alike are one.

    Raises
    ------
    SpecError
        If somebody has values that no row has.
    """
    tables = [_key(column) for column in shares.columns]
    sizes = [table.max() + 1 for table in tables]
    keys, first = np.unique(_whole(tables, sizes), return_index=True)
    theirs = []
    strange = np.zeros(len(columns[field.names[0]]), bool)
    for name, column in zip(field.names, shares.columns, strict=True):
        own = columns[name]
        if isinstance(own, Labels) or isinstance(column, Labels):
            theirs.append(_key(own))
        else:  # numbers by their place among those of the table
            known = np.unique(column)
            theirs.append(np.clip(np.searchsorted(known, own), 0, len(known) - 1))
            strange |= known[theirs[-1]] != own
    whole = _whole(theirs, sizes)
    places = np.clip(np.searchsorted(keys, whole), 0, len(keys) - 1)
    strange |= keys[places] != whole
    if strange.any():
        row = int(np.argmax(strange))
        values = ", ".join(str(cell(columns[name], row)) for name in field.names)
        raise SpecError(
            f"{int(strange.sum()):,} people have what the file gives nobody, such as"
            f" {', '.join(field.names)} = {values} in row {row}"
        )
    found: NDArray[np.int64] = first[places]
    return found


def cell(column: Column, row: int) -> Any:
    """Return one value of a column."""
    return column.words[column.codes[row]] if isinstance(column, Labels) else column[row]


def _key(column: Column) -> NDArray[np.int64]:
    if isinstance(column, Labels):
        return column.codes.astype(np.int64)
    return np.unique(column, return_inverse=True)[1].astype(np.int64)


def _whole(parts: list[NDArray[np.int64]], sizes: list[Any]) -> NDArray[np.int64]:
    found = np.zeros(len(parts[0]), np.int64)
    for part, size in zip(parts, sizes, strict=True):
        found = found * int(size) + part
    return found


def said(field: Field, shares: Shares, row: int) -> str:
    """Return a row of a table of shares in words."""
    return ", ".join(str(cell(column, row)) for column in shares.columns)


def joint_counts(
    field: Field, shares: Shares, columns: Columns, n: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return people asked for, and those there are, by cell and row of a table of shares."""
    cells, rows = cells_of(field, columns, n), value_of(field, shares, columns)
    size = shares.weights.shape
    there = np.bincount(cells * size[1] + rows, minlength=size[0] * size[1]).reshape(size)
    weights = shares.weights / shares.weights.sum(axis=1, keepdims=True)
    tables = [_key(column) for column in shares.columns]
    # rows that are alike count as the first of them
    _, first, alike = np.unique(
        _whole(tables, [table.max() + 1 for table in tables]),
        return_index=True,
        return_inverse=True,
    )
    asked = np.zeros(size)
    np.add.at(asked.T, first[alike], (there.sum(axis=1)[:, None] * weights).T)
    return asked, there


def _share_lines(field: Field, shares: Shares, columns: Columns, n: int) -> Iterator[Line]:
    asked, there = joint_counts(field, shares, columns, n)
    name = ", ".join(field.names)
    for cell, given in enumerate(field.cells):
        for row in np.flatnonzero((asked[cell] > 0) | (there[cell] > 0)):
            value = said(field, shares, int(row))
            yield Line(name, given, value, float(asked[cell, row]), float(there[cell, row]))


def _survey_lines(field: Field, shares: Shares, columns: Columns, n: int) -> Iterator[Line]:
    """Compare each field of a survey that has few values: these are drawn, so not exact."""
    weights = n * shares.weights[0] / shares.weights[0].sum()
    for name, column in zip(field.names, shares.columns, strict=True):
        used, first = np.unique(_key(column), return_index=True)
        if len(used) > FEW:
            continue
        own = columns[name]
        if isinstance(own, Labels) or isinstance(column, Labels):
            places = _key(own)
        else:
            places = np.searchsorted(np.unique(column), own)
        asked = np.bincount(_key(column), weights)
        there = np.bincount(places, minlength=len(asked))
        for code, row in zip(used.tolist(), first.tolist(), strict=True):
            value = str(cell(column, row))
            yield Line(name, "", value, float(asked[code]), float(there[code]), exact=False)


def _marginal_lines(shares: Shares, columns: Columns, n: int) -> Iterator[Line]:
    for marginal in shares.marginals:
        assert marginal.conditions is not None
        cells = marginal.conditions.cells(columns, n)
        there = np.bincount(cells, minlength=len(marginal.labels))
        wanted = n * marginal.wanted / marginal.wanted.sum()
        for label, asked, got in zip(marginal.labels, wanted, there, strict=True):
            yield Line(marginal.name, "", label, float(asked), float(got), exact=False)


def _number_lines(field: Field, numbers: Numbers, columns: Columns, n: int) -> Iterator[Line]:
    cells, values = cells_of(field, columns, n), columns[field.names[0]]
    assert not isinstance(values, Labels)
    sizes = np.bincount(cells, minlength=len(field.cells))
    sums = np.bincount(cells, values, len(field.cells))
    squares = np.bincount(cells, np.square(values, dtype=np.float64), len(field.cells))
    for cell, given in enumerate(field.cells):
        if not sizes[cell]:
            continue
        expected = numbers.shapes[cell].expected()
        mean = sums[cell] / sizes[cell]
        sd = math.sqrt(max(0.0, squares[cell] / sizes[cell] - mean**2))
        name = field.names[0]
        yield Line(name, given, "mean", float(expected.mean()), float(mean), counted=False)
        yield Line(name, given, "sd", float(expected.std()), sd, counted=False)


def pairs(spec: Spec, columns: Columns, n: int) -> Iterator[Pair]:
    """Yield how far pairs of fields are from what was asked for.

    Fields with their conditions; and fields that have nothing to do with each other, which should
    be independent, from the product of their shares.
    """
    for field in spec.fields:
        if isinstance(field.source, Shares) and field.given is not None:
            asked, there = joint_counts(field, field.source, columns, n)
            distance = float(np.abs(asked - there).sum() / (2 * n))
            yield Pair(", ".join(field.given.names), ", ".join(field.names), "given", distance)
    few = {name: _key(columns[name]) for name in spec.names if _is_few(spec, name)}
    for one, other in combinations(few, 2):
        if spec.ancestors([one]).isdisjoint(spec.ancestors([other])):
            size = few[one].max() + 1, few[other].max() + 1
            joint = np.bincount(few[one] * size[1] + few[other], minlength=size[0] * size[1])
            table = joint.reshape(size) / n
            free = np.outer(table.sum(axis=1), table.sum(axis=0))
            yield Pair(one, other, "independent", float(np.abs(table - free).sum() / 2))


def _is_few(spec: Spec, name: str) -> bool:
    values = spec.kinds[name].values
    return values is not None and 1 < len(values) <= FEW


def entropy(counts: NDArray[Any]) -> float:
    """Return the entropy of counts, in bits.

    Examples
    --------
    >>> entropy(np.array([2, 2, 0]))
    1.0
    """
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def distinct(columns: Mapping[str, Column]) -> NDArray[np.int64]:
    """Return how many people there are of each different row.

    Examples
    --------
    >>> distinct({"a": np.array([1, 1, 2]), "b": np.array([5, 5, 5])})
    array([2, 1])
    """
    key: NDArray[np.int64] | None = None
    for column in columns.values():
        codes = (
            _key(column)
            if isinstance(column, Labels) or column.dtype.kind in "biuf"
            else _key(_labels(column))
        )
        if key is not None:
            codes = key * (int(codes.max()) + 1) + codes
        key = np.unique(codes, return_inverse=True)[1].astype(np.int64)
    return np.bincount(key) if key is not None else np.zeros(0, np.int64)
