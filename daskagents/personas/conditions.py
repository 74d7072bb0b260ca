"""Conditions: which branch of a field a person is in, by the values of earlier fields."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskagents.personas.labels import Column, Labels
from daskagents.personas.nodes import Node, Problems, hint
from daskagents.personas.values import Interval, Kind, interval

#: The key of the branch for all that have none of their own.
ELSE = "else"


@dataclass(frozen=True, eq=False)
class Level:
    """The values of one field, and to which branch of the next level each leads.

    Parameters
    ----------
    name
        The field.
    cuts
        Where its numbers are parted, ascending; None for labels and bools, which have codes.
    step
        Of shape (branches, parts of the values): the branch of the next level.
    """

    name: str
    cuts: NDArray[np.float64] | None
    step: NDArray[np.int64]

    def parts(self, column: Column) -> NDArray[Any]:
        """Return which part of the values each person is in."""
        if isinstance(column, Labels):
            return column.codes
        if self.cuts is None:
            return column.astype(np.int64)
        return np.searchsorted(self.cuts, column, side="right")


@dataclass(frozen=True, eq=False)
class Conditions:
    """The cells that conditions on some fields make.

    Parameters
    ----------
    levels
        One for each field.
    labels
        The cells in words, such as ``female, 18-29``.

    Examples
    --------
    >>> tree = Node([(Node("<18"), Node("child")), (Node("18+"), Node("adult"))], is_mapping=True)
    >>> found, leaves = read_conditions(["age"], tree, {"age": Kind("int")}, Problems())
    >>> found.labels, found.cells({"age": np.array([3, 18, 40])}, 3)
    (('<18', '18+'), array([0, 1, 1]))
    """

    levels: tuple[Level, ...]
    labels: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The fields that are looked at."""
        return tuple(level.name for level in self.levels)

    def cells(self, columns: Mapping[str, Column], n: int) -> NDArray[np.int64]:
        """Return the cell of each of `n` people."""
        found = np.zeros(n, np.int64)
        for level in self.levels:
            found = level.step[found, level.parts(columns[level.name])]
        return found


def read_conditions(
    names: Sequence[str], node: Node, kinds: Mapping[str, Kind], problems: Problems
) -> tuple[Conditions, list[Node]] | None:
    """Read branches by the values of fields, a level of mappings for each field.

    Returns
    -------
    conditions, leaves
        And what stands at each cell. None if the branches cannot be used; what is wrong is noted.
    """
    before = len(problems.found)
    nodes, labels, levels = [node], [""], []
    for name in names:
        kind = kinds[name]
        bare = [part for part in nodes if not part.is_mapping]
        for part in bare:
            problems.add(part, f"is {part.said}, not a mapping with a branch for each {name}")
        if bare or (kind.type == "text" and kind.values is None):
            if not bare:
                problems.add(node, f"{name!r} can be any text, and is no condition")
            return None
        part_of = _by_value if kind.type in ("text", "bool") else _by_number
        cuts, choices = part_of(name, nodes, kind, problems)
        step, children, said = _number(nodes, choices, labels)
        levels.append(Level(name, cuts, step))
        nodes, labels = children, said
    if len(problems.found) > before:
        return None
    return Conditions(tuple(levels), tuple(labels)), nodes


def _number(
    nodes: list[Node], choices: list[list[tuple[Any, Node] | None]], labels: list[str]
) -> tuple[NDArray[np.int64], list[Node], list[str]]:
    """Give numbers to the branches that are chosen; parts that nobody is in lead to any."""
    children: list[Node] = []
    said: list[str] = []
    step = np.zeros((len(nodes), len(choices[0])), np.int64)
    for row, chosen in enumerate(choices):
        known: dict[int, int] = {}
        for part, choice in enumerate(chosen):
            if choice is None:
                continue
            key, child = choice
            if id(child) not in known or children[known[id(child)]] is not child:
                known[id(child)] = len(children)
                children.append(child)
                said.append(f"{labels[row]}, {key}" if labels[row] else str(key))
            step[row, part] = known[id(child)]
    return step, children, said


Choices = list[list["tuple[Any, Node] | None"]]


def _by_value(name: str, nodes: list[Node], kind: Kind, problems: Problems) -> tuple[None, Choices]:
    """Choose a branch for each value of texts or bools."""
    values = kind.values if kind.type == "text" and kind.values is not None else (False, True)
    found: Choices = []
    for node in nodes:
        branches: dict[Any, tuple[Any, Node]] = {}
        other: tuple[Any, Node] | None = None
        for key, child in node.value:
            value = _same_type(key.value, kind)
            if value in values:
                branches[value] = (key.value, child)
            elif value == ELSE:
                other = (ELSE, child)
            else:
                problems.add(key, f"{name} is never {key.value!r}{hint(key.value, values)}")
        missing = [value for value in values if value not in branches]
        if missing and other is None:
            said = ", ".join(repr(value) for value in missing[:5])
            problems.add(node, f"no branch for {name} {said}; add it, or one called `{ELSE}`")
        found.append([branches.get(value, other) for value in values])
    return None, found


def _same_type(key: Any, kind: Kind) -> Any:
    """Return a key as a value of the field: YAML reads 1 as a number, and texts may be "1"."""
    if kind.type == "text" and not isinstance(key, str):
        return {True: "true", False: "false", None: "null"}.get(key, str(key))
    if kind.type == "bool" and isinstance(key, str):
        return {"true": True, "false": False}.get(key.lower(), key)
    return key


def _by_number(
    name: str, nodes: list[Node], kind: Kind, problems: Problems
) -> tuple[NDArray[np.float64], Choices]:
    """Choose a branch for each range of numbers between cuts."""
    whole = kind.type == "int"
    ranges: list[list[tuple[Interval, tuple[Any, Node]]]] = []
    others: list[tuple[Any, Node] | None] = []
    for node in nodes:
        ranges.append([])
        others.append(None)
        for key, child in node.value:
            read = interval(key.value, whole)
            if read is not None:
                ranges[-1].append((read, (key.value, child)))
            elif key.value == ELSE:
                others[-1] = (ELSE, child)
            else:
                problems.add(
                    key, f"{key.value!r} is no range of {name}; write 18-29, 65+, <18, >=65 or 7"
                )
    edges = {edge for some in ranges for read, _ in some for edge in (read.low, read.high)}
    cuts = np.array(sorted(edge for edge in edges if math.isfinite(edge)), np.float64)
    parts = [Interval(*pair) for pair in pairwise([-math.inf, *cuts.tolist(), math.inf])]
    found: Choices = []
    for node, some, other in zip(nodes, ranges, others, strict=True):
        chosen: list[tuple[Any, Node] | None] = []
        gaps: list[Interval] = []
        for part in parts:
            fits = [choice for read, choice in some if part.low in read]
            if len(fits) > 1:
                keys = " and ".join(repr(key) for key, _ in fits)
                problems.add(node, f"{keys} overlap; a {name} can be in one branch only")
            chosen.append(fits[0] if fits else other)
            if chosen[-1] is None and _occurs(part, kind):
                gaps.append(part)
        if gaps:
            said = ", ".join(_say(gap, whole) for gap in gaps[:5])
            meet = "" if whole else "; these numbers are not whole, so let ranges meet (18-30, 30+)"
            problems.add(node, f"no branch for {name} {said}; add it, or one called `{ELSE}`{meet}")
        found.append(chosen)
    return cuts, found


def _occurs(part: Interval, kind: Kind) -> bool:
    """Whether a number of this kind can be in a range."""
    if kind.values is not None:
        return any(value in part for value in kind.values if not isinstance(value, str))
    return part.low <= kind.high and part.high > kind.low


def _say(part: Interval, whole: bool) -> str:
    """Say a range as one would write it."""
    if part.low == -math.inf:
        return "any" if part.high == math.inf else f"<{part.high:g}"
    if part.high == math.inf:
        return f"{part.low:g}+"
    last = part.high - 1 if whole else part.high
    return f"{part.low:g}" if last == part.low else f"{part.low:g}-{last:g}"
