"""A report of people: how near they come to what was asked for, and how different they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from daskagents import html
from daskagents.personas.comparing import (
    Line,
    Pair,
    columns_of,
    distinct,
    entropy,
    lines,
    pairs,
)
from daskagents.personas.labels import Labels, as_texts
from daskagents.personas.lazy import column_of, compact
from daskagents.personas.spec import Counter, Field, Shares, Spec
from daskagents.personas.templates import Template

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: Most values of a field, and pairs, that are printed; the table has all.
MOST_VALUES, MOST_PAIRS = 12, 10
_WIDTH = 100


@dataclass(frozen=True)
class Report:
    """What was asked for against what there is; see `report`.

    Parameters
    ----------
    n
        People.
    lines
        Figures, field by field and cell by cell.
    pairs
        Distances of fields that were looked at together.
    bits
        The entropy of each field of few values, and the most it could be.
    distinct, entropy
        How many people differ from each other, and the entropy of all fields together, in bits.
    notes
        What else is to be said, a line each.
    """

    n: int
    lines: tuple[Line, ...]
    pairs: tuple[Pair, ...]
    bits: dict[str, tuple[float, float]]
    distinct: int
    entropy: float
    notes: tuple[str, ...] = ()

    @property
    def worst(self) -> Line | None:
        """The count that is furthest from what was asked for."""
        counted = [line for line in self.lines if line.counted]
        return max(counted, key=lambda line: abs(line.achieved - line.asked), default=None)

    @property
    def exact(self) -> bool:
        """Whether all counts differ by less than one person from what was asked for.

        Those of surveys, which are drawn row by row, need not.
        """
        counts = [line for line in self.lines if line.counted and line.exact]
        return all(abs(line.achieved - line.asked) < 1 for line in counts)

    @property
    def table(self) -> pd.DataFrame:
        """All figures as a table."""
        import pandas as pd

        head = ["field", "given", "value", "asked", "achieved"]
        frame = pd.DataFrame(
            [[getattr(line, name) for name in head] for line in self.lines], columns=head
        )
        return frame.assign(difference=frame["achieved"] - frame["asked"])

    def plot(self, path: str | Path | None = None) -> Figure:
        """Return a picture of all fields, asked for against achieved; it is saved under `path`."""
        from daskagents.personas.picture import draw

        figure = draw(self)
        if path is not None:
            figure.savefig(path)
        return figure

    def summed(self) -> list[Line]:
        """Return the figures of fields of shares for all people, whatever their conditions."""
        found: dict[tuple[str, str], Line] = {}
        for line in self.lines:
            if not line.counted:
                continue
            old = found.get((line.field, line.value))
            asked, got = (old.asked, old.achieved) if old else (0.0, 0.0)
            found[line.field, line.value] = Line(
                line.field, "", line.value, asked + line.asked, got + line.achieved
            )
        return list(found.values())

    def _rows(self) -> list[list[str]]:
        """Return the rows that are printed: field, value, asked, achieved, difference."""
        rows = []
        shown: dict[str, int] = {}
        numbers = [line for line in self.lines if not line.counted]
        for line in [*self.summed(), *numbers]:
            shown[line.field] = shown.get(line.field, 0) + 1
            if shown[line.field] == MOST_VALUES + 1:
                rows.append([line.field, "...", "", "", ""])
            if shown[line.field] <= MOST_VALUES:
                value = f"{line.value} ({line.given})" if line.given else line.value
                rows.append([line.field, value, *_figures(line)])
        return rows

    def _said(self) -> list[str]:
        """Return what is said below the table."""
        found = []
        if self.worst is not None:
            where = f" ({self.worst.given})" if self.worst.given else ""
            off = round(abs(self.worst.achieved - self.worst.asked), 6)
            found.append(
                f"largest difference of a count within any condition: {off:.3g} people,"
                f" {self.worst.field} = {self.worst.value}{where}"
            )
        by_distance = sorted(self.pairs, key=lambda pair: -pair.distance)
        for pair in by_distance[:MOST_PAIRS]:
            word = "given" if pair.asked == "given" else "and"
            one, other = (pair.other, pair.one) if word == "given" else (pair.one, pair.other)
            asked = "" if word == "given" else " from independence"
            found.append(f"{one} {word} {other}: total variation {pair.distance:.2g}{asked}")
        for name, (bits, most) in self.bits.items():
            found.append(f"entropy of {name}: {bits:.3g} of at most {most:.3g} bits")
        share = self.distinct / self.n
        found.append(
            f"distinct people: {self.distinct:,} of {self.n:,} ({share:.1%}); entropy of all"
            f" fields {self.entropy:.3g} of at most {np.log2(self.n):.3g} bits"
        )
        return [*found, *self.notes]

    def __str__(self) -> str:
        head = ["field", "value", "asked for", "achieved", "difference"]
        rows = [head, *self._rows()]
        widths = [min(44, max(len(row[i]) for row in rows)) for i in range(5)]
        widths[0] = min(widths[0], 20)
        out = [f"{self.n:,} people"]
        for before, row in zip([head, *rows], rows, strict=False):
            name = row[0] if row[0] != before[0] or row is head else ""
            cells = [one_line(name, widths[0]).ljust(widths[0])]
            cells += [one_line(row[1], widths[1]).ljust(widths[1])]
            cells += [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
            out.append("  ".join(cells).rstrip())
        return "\n".join([*out, "", *(one_line(line, _WIDTH) for line in self._said())])

    def _repr_html_(self) -> str:
        about = {str(number): said for number, said in enumerate(self._said(), 1)}
        head = ("field", "value", "asked for", "achieved", "difference")
        return html.table(f"{self.n:,} people", about, self._rows(), head)


def one_line(text: str, width: int) -> str:
    """Return a text on one line that is no longer than a width.

    Examples
    --------
    >>> one_line("abcdef", 4)
    'abc…'
    """
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _figures(line: Line) -> list[str]:
    """Return what is asked, what there is, and the difference, as texts."""
    off = line.achieved - line.asked
    if line.counted:
        least = f"{off:+.3g}" if abs(off) > 1e-6 else "0"
        return [f"{line.asked:,.6g}", f"{line.achieved:,.0f}", least]
    large = max(abs(line.asked), abs(line.achieved)) >= 1000
    form = ",.0f" if large else ".4g"
    return [
        format(line.asked, form),
        format(line.achieved, form),
        f"{off:+,.0f}" if large else f"{off:+.3g}",
    ]


def report(spec: Spec, people: Any) -> Report:
    """Compare people with what a spec asks for.

    Parameters
    ----------
    spec
        From `load` or `parse`.
    people
        From `sample` or `read_people`, or a pandas DataFrame with the same columns. Where they have
        a column ``background``, it says how alike these are.

    Raises
    ------
    SpecError
        If a column is missing, or holds what the spec does not know.

    Examples
    --------
    >>> from daskagents.personas import parse, sample
    >>> spec = parse({"size": 4, "fields": {"job": {"proportions": {"cook": 0.75, "smith": 0.25}}}})
    >>> found = report(spec, sample(spec))
    >>> print(found)
    4 people
    field  value  asked for  achieved  difference
    job    cook           3         3           0
           smith          1         1           0
    <BLANKLINE>
    largest difference of a count within any condition: 0 people, job = cook
    entropy of job: 0.811 of at most 1 bits
    distinct people: 2 of 4 (50.0%); entropy of all fields 0.811 of at most 2 bits
    >>> found.exact
    True
    """
    columns = columns_of(spec, people)
    n = len(next(iter(columns.values())))
    told = [field for field in spec.fields if not isinstance(field.source, Template | Counter)]
    rows = distinct({name: columns[name] for field in told for name in field.names})
    bits = {}
    for field in spec.fields:
        for name, kind in zip(field.names, field.kinds, strict=True):
            if kind.values is not None and 1 < len(kind.values) <= 64:
                counts = distinct({name: columns[name]})
                bits[name] = (entropy(counts), float(np.log2(len(kind.values))))
    return Report(
        n,
        tuple(lines(spec, columns, n)),
        tuple(pairs(spec, columns, n)),
        bits,
        len(rows),
        entropy(rows),
        tuple(_notes(spec.fields, people)),
    )


def _notes(fields: tuple[Field, ...], people: Any) -> list[str]:
    """Return what is said of rakings and of backgrounds."""
    found = []
    for field in fields:
        if isinstance(field.source, Shares) and field.source.raked is not None:
            first, *_ = str(field.source.raked).splitlines()
            found.append(f"{', '.join(field.names)}: {first}")
    if "background" in people:
        from daskagents.personas.likeness import likeness

        given = people["background"]
        column = column_of(given) if isinstance(given, xr.DataArray) else compact(np.asarray(given))
        texts = as_texts(column) if isinstance(column, Labels) else column
        found.append(f"backgrounds: {likeness(texts.tolist())}")
    return found
