"""Templates: texts with the fields of a person in braces, such as ``A {age}-year-old {job}.``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskagents.errors import SpecError
from daskagents.personas.labels import STRINGS, Column, Labels, make_labels
from daskagents.personas.values import Kind

#: Most words that numbers are taken for, to write each of them once.
_FEW = 1 << 16


@dataclass(frozen=True)
class Template:
    """A text with places for fields; see `parse_template`.

    Parameters
    ----------
    text
        As it was written.
    parts
        Pairs of a text and what follows it: the name of a field and its format, or None.
    """

    text: str
    parts: tuple[tuple[str, tuple[str, str] | None], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The fields it reads."""
        return tuple(dict.fromkeys(place[0] for _, place in self.parts if place))

    def check(self, kinds: Mapping[str, Kind]) -> None:
        """Try each format with a value of the kind of its field.

        Raises
        ------
        SpecError
            If one does not fit, such as ``{job:.2f}`` where job is a text.
        """
        for name, form in (place for _, place in self.parts if place):
            value = {"int": 1, "float": 1.5, "bool": True, "text": "x"}[kinds[name].type]
            try:
                format(value, form)
            except ValueError as error:
                said = f"{{{name}:{form}}} does not fit {kinds[name].said}"
                raise SpecError(f"{said}: {error}") from None

    def fill(self, columns: Mapping[str, Column], n: int) -> Column:
        """Return the text of every person.

        Where people share their texts, each is written once.

        Examples
        --------
        >>> people = {"age": np.array([30, 40]), "job": make_labels([0, 0], ["cook"])}
        >>> parse_template("{job}, {age:03}").fill(people, 2)
        array(['cook, 030', 'cook, 040'], dtype=StringDType())
        """
        few = {name: _codes(columns[name]) for name in self.names}
        sizes = [found[1] for found in few.values() if found]
        if len(sizes) == len(few) and np.prod([1.0, *sizes]) < 2**62:
            whole = np.zeros(n, np.int64)
            for codes, size in (found for found in few.values() if found):
                whole = whole * size + codes
            found, first, back = np.unique(whole, return_index=True, return_inverse=True)
            if 2 * len(found) <= n:
                some = {name: columns[name][first] for name in self.names}
                words = self._write(some, len(found))
                return _distinct(back, words)
        return np.array(self._write(columns, n), STRINGS)

    def _write(self, columns: Mapping[str, Column], n: int) -> list[str]:
        """Return a text for every row."""
        pattern, filled = "", []
        for text, place in self.parts:
            pattern += text.replace("%", "%%")
            if place:
                pattern += "%s"
                filled.append(_formatted(columns[place[0]], place[1]))
        if not filled:
            return [pattern % ()] * n
        return list(map(pattern.__mod__, zip(*filled, strict=True)))


def parse_template(text: str) -> Template:
    """Return a text as a template.

    Raises
    ------
    SpecError
        If its braces are broken, or hold anything but a name and a format.

    Examples
    --------
    >>> parse_template("{name} earns {income:,.0f}").names
    ('name', 'income')
    >>> parse_template("{name.__class__}")
    Traceback (most recent call last):
        ...
    daskagents.errors.SpecError: {name.__class__} is no field; write {name} or {name:,}
    """
    try:
        found = list(Formatter().parse(text))
    except ValueError as error:
        raise SpecError(f"{error}; write {{{{ for a brace that is meant") from None
    parts: list[tuple[str, tuple[str, str] | None]] = []
    for before, name, form, conversion in found:
        if name is None:
            parts.append((before, None))
            continue
        if not name.isidentifier() or conversion:
            shown = name + (f"!{conversion}" if conversion else "")
            raise SpecError(f"{{{shown}}} is no field; write {{name}} or {{name:,}}")
        if "{" in (form or "") or re.search(r"\d{4}", form or ""):
            raise SpecError(f"{{{name}:{form}}} has a format that is too much; use a plain one")
        parts.append((before, (name, form or "")))
    return Template(text, tuple(parts))


def _codes(column: Column) -> tuple[NDArray[Any], int] | None:
    """Return a column as small numbers, and how many there can be; None where that is no use."""
    if isinstance(column, Labels):
        return column.codes.astype(np.int64), max(1, len(column.words))
    if column.dtype.kind == "b":
        return column.astype(np.int64), 2
    if column.dtype.kind in "iu" and len(column):
        low, high = int(column.min()), int(column.max())
        if high - low < _FEW:
            return column.astype(np.int64) - low, high - low + 1
    return None


def _formatted(column: Column, form: str) -> list[str]:
    """Return a text for every value of a column; each word is formatted once."""
    if isinstance(column, Labels):
        words = [format(word, form) for word in column.words]
        return list(map(words.__getitem__, column.codes.tolist()))
    return [format(value, form) for value in column.tolist()]


def _distinct(codes: NDArray[np.intp], words: list[str]) -> Labels:
    """Return labels of words, some of which may be the same."""
    numbers: dict[str, int] = {}
    same = [numbers.setdefault(word, len(numbers)) for word in words]
    if len(numbers) < len(words):
        codes = np.array(same, np.intp)[codes]
    return make_labels(codes, tuple(numbers))
