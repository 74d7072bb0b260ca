"""What notebooks show of a population: its fields, how given values are distributed, some rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from daskagents import html
from daskagents.models.describe import describe_model
from daskagents.spark import bars_of, picked

if TYPE_CHECKING:
    from daskagents.fields import Field
    from daskagents.population import Population

#: Agents that are shown as rows; and columns of them, at most.
_ROWS, _COLUMNS = 3, 12


def portrait(population: Population) -> str:
    """Return a population as HTML, from what it was given alone: nothing is computed for it.

    Parameters
    ----------
    population
        All of it, or a part.

    """
    table, fields = population.table, population.cls.__fields__
    whole = population._whole
    part = "" if population._rows is None else f" of {len(whole):,}"
    about = {
        "agents": f"{len(population):,}{part}",
        "blocks": f"{len(population.bounds) - 1:,} of up to"
        f" {int(np.diff(population.bounds).max()):,}",
        "state": html.size(population.nbytes),
        "model": describe_model(population.model),
    }
    rows = np.arange(table.n) if population._rows is None else population._rows
    rows = rows[rows < table.n]  # agents that entered a run are in no column that was given
    lines = [
        (name, field.label, *_start(population, field, rows))
        for name, field in fields.items()
        if not name.startswith("_")
    ]
    given = [name for name in fields if name in table.columns and not name.startswith("_")]
    cells = [
        [str(row), *(html.short(fields[n].item(table.columns[n], row)) for n in given[:_COLUMNS])]
        for row in rows[:_ROWS].tolist()
    ]
    more = [f"and {len(given) - _COLUMNS} more"] if len(given) > _COLUMNS else []
    below = html.rows(cells, ("agent", *given[:_COLUMNS], *more)) if given else html.Html("")
    head = ("field", "type", "at the start", "")
    return html.table(f"Population of {population.cls.__name__}", about, lines, head, below=below)


def _start(population: Population, field: Field, rows: NDArray[np.int64]) -> tuple[str, str]:
    """Return how agents begin with a field: in words, and as a picture."""
    column = population.table.columns.get(field.name)
    if column is None:
        return html.short(field.default), ""
    shown = rows[picked(len(rows))]
    bars = bars_of(field.numpy(column.take(shown)))
    if bars is None:
        return "given", ""
    some = "" if len(shown) == len(rows) else ", of some"
    return f"given: {bars.said}{some}", bars.svg()
