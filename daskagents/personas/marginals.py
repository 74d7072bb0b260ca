"""Marginals: what is published of one field, or of several together; how they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from daskagents.personas.conditions import Conditions, read_conditions
from daskagents.personas.labels import Column
from daskagents.personas.nodes import Node, Problems, hint
from daskagents.personas.values import Kind, share

Weights: TypeAlias = NDArray[np.float64]

#: Totals and shares of two marginals that differ by more than this contradict each other.
APART = 1e-6


@dataclass(frozen=True, eq=False)
class Marginal:
    """What is published of one field, or of several together.

    Parameters
    ----------
    name
        Such as ``"sex"`` or ``"sex, age"``.
    cells
        The cell of each row, of shape (rows,).
    labels
        The cells in words.
    wanted
        People asked for in each cell, or their shares.
    conditions
        What puts people into the cells.
    """

    name: str
    cells: NDArray[np.int64]
    labels: tuple[str, ...]
    wanted: Weights
    conditions: Conditions | None = None


def sums(cells: NDArray[np.int64], weights: Weights, size: int) -> Weights:
    """Return the sum of the weights in each of some cells."""
    return np.bincount(cells, weights, size).astype(np.float64, copy=False)


@dataclass(frozen=True, eq=False)
class Groups:
    """Rows that are in the same cells of all marginals.

    Parameters
    ----------
    of_row
        The group of each row.
    cells
        For each marginal the cell of each group.
    """

    of_row: NDArray[np.int64]
    cells: list[NDArray[np.int64]]


def group_rows(marginals: Sequence[Marginal]) -> Groups:
    """Return which rows are in the same cells of all marginals."""
    key = np.zeros(len(marginals[0].cells), np.int64)
    for marginal in marginals:
        _, key = np.unique(key * len(marginal.wanted) + marginal.cells, return_inverse=True)
    _, first = np.unique(key, return_index=True)
    return Groups(key, [marginal.cells[first] for marginal in marginals])


def read_marginals(
    node: Node,
    columns: Mapping[str, Column],
    kinds: Mapping[str, Kind],
    n: int,
    problems: Problems,
) -> list[Marginal]:
    """Read marginals: by the names of fields, people or shares by their values.

    Parameters
    ----------
    node
        A mapping such as ``{sex: {female: 0.5, male: 0.5}, "sex, age": {...}}``.
    columns, kinds
        The fields of the rows that are to be weighted.
    n
        How many rows there are.
    problems
        Where what is wrong is noted.
    """
    if not node.is_mapping or not node.value:
        problems.add(node, f"is {node.said}, not a mapping with a table for each field")
        return []
    found = []
    for key, table in node.value:
        names = [name.strip() for name in str(key.value).split(",")]
        unknown = [name for name in names if name not in kinds]
        for name in unknown:
            problems.add(key, f"there is no field {name!r}{hint(name, kinds)}")
        if unknown:
            continue
        read = read_conditions(names, table, kinds, problems)
        if read is None:
            continue
        conditions, leaves = read
        wanted = [share(leaf, problems) for leaf in leaves]
        if any(number is None for number in wanted):
            continue
        asked = np.array(wanted, np.float64)
        if not asked.sum() > 0:
            problems.add(table, "adds up to 0; ask for somebody")
            continue
        cells = conditions.cells(columns, n)
        found.append(Marginal(", ".join(names), cells, conditions.labels, asked, conditions))
    return found


def contradictions(marginals: Sequence[Marginal], weights: Weights) -> list[str]:
    """Return what cannot be had together, in words.

    Cells in which there is nobody, totals that differ, and shares of the same cells that differ.
    """
    said: list[str] = []
    for one in marginals:
        there = np.bincount(one.cells, weights, len(one.wanted))
        said += [
            f"{one.name} asks for {one.wanted[cell]:g} of {one.labels[cell]}, and no row is so"
            for cell in np.flatnonzero((one.wanted > 0) & ~(there > 0))
        ]
    for one, other in combinations(marginals, 2):
        totals = float(one.wanted.sum()), float(other.wanted.sum())
        if abs(totals[0] - totals[1]) > APART * max(totals):
            said.append(f"{one.name} adds up to {totals[0]:g}, and {other.name} to {totals[1]:g}")
        said += _shared(one, other)
    return said


def _shared(one: Marginal, other: Marginal) -> list[str]:
    """Compare two marginals where sets of their cells hold the same rows.

    Cells of both that have rows in common are linked; what is linked must have one sum.
    """
    pairs = np.divmod(np.unique(one.cells * len(other.wanted) + other.cells), len(other.wanted))
    group = np.arange(len(one.wanted))
    changed = True
    while changed:  # the cells of `one` that a chain of common rows connects
        low = np.full(len(other.wanted), len(group))
        np.minimum.at(low, pairs[1], group[pairs[0]])
        new = group.copy()
        np.minimum.at(new, pairs[0], low[pairs[1]])
        changed = bool((new != group).any())
        group = new
    groups = np.unique(group[pairs[0]])
    if len(groups) < 2:
        return []
    far = np.full(len(other.wanted), -1)
    far[pairs[1]] = group[pairs[0]]
    said = []
    for number in groups:
        mine = one.wanted[group == number].sum() / one.wanted.sum()
        theirs = other.wanted[far == number].sum() / other.wanted.sum()
        if abs(mine - theirs) > APART:
            label = ", ".join(one.labels[cell] for cell in np.flatnonzero(group == number)[:3])
            said.append(
                f"{one.name} has a share of {mine:.6g} for {label}, and {other.name} {theirs:.6g}"
            )
    return said
