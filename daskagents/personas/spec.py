"""What a file says of a population: its fields, in order, and how each is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from daskagents.errors import SpecError
from daskagents.personas.conditions import Conditions
from daskagents.personas.expressions import Expression
from daskagents.personas.fitting import Raked
from daskagents.personas.labels import Column
from daskagents.personas.marginals import Marginal
from daskagents.personas.names import Names
from daskagents.personas.numbers import Numbers
from daskagents.personas.templates import Template
from daskagents.personas.values import Kind


@dataclass(frozen=True, eq=False)
class Shares:
    """Values in exact shares: of one field, or of several together.

    Parameters
    ----------
    columns
        For each field its value in each row of a table.
    weights
        The share of each row in each cell of the conditions, of shape (cells, rows).
    drawn
        Whether rows are drawn by their weights, as those of a survey, and not by largest remainder.
    raked
        How the weights came about, where they were made to fit marginals.
    """

    columns: tuple[Column, ...]
    weights: NDArray[np.float64]
    drawn: bool = False
    raked: Raked | None = None

    @property
    def marginals(self) -> tuple[Marginal, ...]:
        """What the weights were made to fit."""
        return () if self.raked is None else self.raked.marginals


@dataclass(frozen=True, eq=False)
class Constant:
    """One value for all people of a cell: a column with a row for each cell."""

    values: Column


@dataclass(frozen=True)
class Counter:
    """Numbers one after another, by the order of the people."""

    start: int = 0
    step: int = 1


@dataclass(frozen=True)
class Computed:
    """What an expression makes of earlier fields, rounded and kept within bounds.

    Parameters
    ----------
    expression
        What is computed.
    unit
        What values are rounded to; 0 for no rounding.
    low, high
        Where they are kept.
    """

    expression: Expression
    unit: float = 0.0
    low: float = -np.inf
    high: float = np.inf


Source: TypeAlias = Shares | Numbers | Constant | Counter | Computed | Template | Names


@dataclass(frozen=True, eq=False)
class Field:
    """One field of a population, or several that are made together.

    Parameters
    ----------
    names
        One, or those of a joint table.
    source
        How it is made.
    kinds
        What the column of each name is.
    given
        The conditions whose cells have shares, distributions or values of their own.
    """

    names: tuple[str, ...]
    source: Source
    kinds: tuple[Kind, ...]
    given: Conditions | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """The fields it is made from."""
        found = () if self.given is None else self.given.names
        match self.source:
            case Computed(expression=expression):
                found += expression.names
            case Template() as template:
                found += template.names
            case Names(sex=str() as sex):
                found += (sex,)
        return tuple(dict.fromkeys(found))

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells of its conditions in words; one without a name where there are none."""
        return ("",) if self.given is None else self.given.labels


@dataclass(frozen=True, eq=False)
class Spec:
    """A population as a file describes it. Made by `load` or `parse`, which check it.

    Parameters
    ----------
    size
        How many people, unless `sample` is told otherwise.
    seed
        What everything random follows from.
    fields
        In the order in which they are made.
    source
        The file, for messages.

    Raises
    ------
    SpecError
        If there is nobody, a field is there twice, or one needs a later one.
    """

    size: int
    seed: int
    fields: tuple[Field, ...]
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.size < 1:
            raise SpecError(f"size is {self.size}; a population needs at least one person")
        known: set[str] = set()
        for made in self.fields:
            for name in made.needs:
                if name not in known:
                    raise SpecError(f"{made.names[0]} needs {name}, which is no earlier field")
            if known & {*made.names} or len({*made.names}) < len(made.names):
                raise SpecError(f"the field {', '.join(made.names)} is there twice")
            known |= {*made.names}

    def __repr__(self) -> str:
        return f"<Spec of {self.size:,} people; fields: {', '.join(self.names)}>"

    @property
    def names(self) -> tuple[str, ...]:
        """All fields, in order."""
        return tuple(name for made in self.fields for name in made.names)

    @property
    def kinds(self) -> dict[str, Kind]:
        """What the column of each field is."""
        return {n: k for made in self.fields for n, k in zip(made.names, made.kinds, strict=True)}

    def field_of(self, name: str) -> Field:
        """Return the field that has a name."""
        return next(made for made in self.fields if name in made.names)

    def ancestors(self, names: Sequence[str]) -> set[str]:
        """Return fields and all that they are made from, by way of others too."""
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found:
                made = self.field_of(name)
                found |= {*made.names}
                waiting.extend(made.needs)
        return found
