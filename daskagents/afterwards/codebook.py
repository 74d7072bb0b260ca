"""The codebook of exported tables: what each variable is, as a table and as a page."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from daskagents.afterwards.frames import Frame, flag_of
from daskagents.afterwards.meanings import Meanings
from daskagents.afterwards.writing import MOST_VALUES, Seen
from daskagents.captions import OWN, caption_of
from daskagents.tasks import writing

#: Types as people write them, as pandas and as R do.
_TYPES = {
    "int64": ("whole number", "Int64", "numeric"),
    "double": ("number", "float64", "numeric"),
    "bool": ("true or false", "bool", "logical"),
    "string": ("text", "str", "character"),
}


@dataclass(frozen=True)
class Variable:
    """One column of one file."""

    file: str
    variable: str
    type: str
    kind: str
    label: str
    unit: str
    source: str
    rows: int
    missing: int
    low: str
    high: str
    values: str


@dataclass(frozen=True)
class Written:
    """A file, the table in it, and what was seen in its columns."""

    path: Path
    frame: Frame
    seen: Mapping[str, Seen]


def variables_of(written: list[Written], meanings: Meanings) -> list[Variable]:
    """Return all columns of some files."""
    return [_variable(one, name, meanings) for one in written for name in one.frame.schema().names]


def _variable(one: Written, name: str, meanings: Meanings) -> Variable:
    frame, seen = one.frame, one.seen[name]
    dim = frame.dims[0] if frame.dims else ""
    kind, label, unit, source = _known(frame, name)
    said = meanings.of(name, dim)
    values = list(said.values) if kind in ("given", "reply") else []
    if not values and seen.values is not None:
        values = sorted(seen.values)
    elif not values and seen.values is None:
        values = [f"(more than {MOST_VALUES} different texts)"]
    if kind in ("given", "reply", "yielded"):
        label, source = said.label or label, said.source or source
    return Variable(
        one.path.name,
        name,
        _TYPES[str(frame.schema().field(name).type)][0]
        if str(frame.schema().field(name).type) in _TYPES
        else str(frame.schema().field(name).type),
        kind,
        label,
        unit,
        source,
        seen.rows,
        seen.missing,
        _shown(seen.low),
        _shown(seen.high),
        "; ".join(value if len(value) <= 60 else f"{value[:59]}…" for value in values),
    )


def _known(frame: Frame, name: str) -> tuple[str, str, str, str]:
    """Return the kind of a column, and what is known of it without the program."""
    said = caption_of(name)
    label, unit = said.get("long_name", ""), said.get("units", "")
    if name in frame.dims:
        return "key", label or f"which {name} the row is about", unit, ""
    if frame.dims and name == flag_of(frame.dims[0]):
        return "failed", "whether the agent failed; then its replies are missing", "", ""
    if name == "round" or name in OWN:
        return "key" if name == "round" else "run", label, unit, ""
    if name in frame.given:
        return "given", "", "", "given at the start"
    return ("reply" if frame.dims else "yielded"), "", "", "yielded by the workflow"


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def write_codebook(
    written: list[Written], meanings: Meanings, folder: Path, stem: str
) -> list[Path]:
    """Write what the columns of some files are: as ``..._codebook.csv`` and as a page."""
    variables = variables_of(written, meanings)
    table, page = (folder / f"{stem}codebook{end}" for end in (".csv", ".md"))
    with writing(table):
        with table.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([each.name for each in fields(Variable)])
            writer.writerows(asdict(one).values() for one in variables)
        page.write_text("\n".join(_page(written, variables)), encoding="utf-8")
    return [table, page]


def _page(written: list[Written], variables: list[Variable]) -> Iterator[str]:
    yield "# Codebook\n"
    yield (
        "One row for each round and agent. Numbers and texts are missing where an agent failed, was"
        " not asked, or had not entered yet; an empty text counts as missing.\n"
    )
    for one in written:
        rows = next(iter(one.seen.values())).rows
        yield f"## {one.path.name}\n"
        yield f"{rows:,} rows, {len(one.seen)} columns. To read it:\n"
        yield from _commands(one)
        yield "| variable | type | what it is | unit | range or values | missing |"
        yield "|---|---|---|---|---|---|"
        for each in variables:
            if each.file == one.path.name:
                yield _row(each)
        yield ""


def _row(each: Variable) -> str:
    what = f"{each.label} ({each.source})" if each.label and each.source else each.label
    what = what or each.source
    span = each.values or (f"{each.low} to {each.high}" if each.low else "")
    cells = (f"`{each.variable}`", each.type, what, each.unit, span, f"{each.missing:,}")
    return "| " + " | ".join(" ".join(c.replace("|", "\\|").split()) for c in cells) + " |"


def _commands(one: Written) -> Iterator[str]:
    """Yield how a file is read by pandas and by R."""
    name = one.path.name
    if one.path.suffix == ".parquet":
        yield f"```python\npd.read_parquet({name!r})\n```\n"
        yield f"```r\narrow::read_parquet({_quoted(name)})\n```\n"
        return
    yield f"```python\n{pandas_command(one.path, one.frame.schema())}\n```\n"
    kinds = ", ".join(
        f"{_quoted(field.name)} = {_quoted(_TYPES[str(field.type)][2])}"
        for field in one.frame.schema()
        if str(field.type) in _TYPES
    )
    yield (
        f'```r\nread.csv({_quoted(name)}, na.strings = "", check.names = FALSE,\n'
        f'  fileEncoding = "UTF-8", colClasses = c({kinds}))\n```\n'
    )


def pandas_command(path: Path, schema: Any) -> str:
    """Return how pandas reads a CSV file with the very types and values that were written."""
    kinds = {f.name: _TYPES[str(f.type)][1] for f in schema if str(f.type) in _TYPES}
    return (
        f"pd.read_csv({path.name!r}, keep_default_na=False, na_values=[''],\n    dtype={kinds!r})"
    )


def _quoted(text: str) -> str:
    said = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{said}"'


__all__ = ["Variable", "Written", "pandas_command", "variables_of", "write_codebook"]
