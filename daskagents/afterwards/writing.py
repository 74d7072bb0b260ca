"""Tables in files, Parquet or CSV, written some rows at a time; and what was seen in them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from daskagents.errors import RunError

#: Rows of a group of a Parquet file.
_GROUP = 1 << 16
#: Different texts that are noted of a column; of more it is said that there are.
MOST_VALUES = 50


@dataclass
class Seen:
    """What was seen in a column while it was written."""

    rows: int = 0
    missing: int = 0
    low: Any = None
    high: Any = None
    values: set[str] | None = field(default_factory=set)

    def take(self, column: Any) -> None:
        """Look at some more rows."""
        self.rows += len(column)
        self.missing += column.null_count
        if column.null_count == len(column):
            return
        if pa.types.is_string(column.type):
            if self.values is not None:
                self.values |= set(pc.unique(column.drop_null()).to_pylist())
                if len(self.values) > MOST_VALUES:
                    self.values = None
            return
        if pa.types.is_boolean(column.type):
            return
        found = pc.min_max(column).as_py()
        self.low = found["min"] if self.low is None else min(self.low, found["min"])
        self.high = found["max"] if self.high is None else max(self.high, found["max"])


def write_tables(tables: Iterable[Any], schema: Any, path: Path) -> dict[str, Seen]:
    """Write tables one after another into one file, which appears whole or not at all.

    Parameters
    ----------
    tables
        Tables of Arrow with the same columns.
    schema
        These columns.
    path
        A file whose name ends with .parquet or .csv.

    Returns
    -------
    dict
        What was seen in each column.

    Raises
    ------
    RunError
        If the disk fails, with the path.
    """
    seen = {name: Seen() for name in schema.names}
    draft = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _writer(draft, schema, path.suffix) as writer:
            for table in tables:
                for name in schema.names:
                    seen[name].take(table[name])
                if path.suffix == ".csv":
                    writer.write_table(_sayable(table))
                else:
                    writer.write_table(table, row_group_size=_GROUP)
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise RunError(f"{path} cannot be written: {error.strerror or error}") from error
    return seen


def _writer(path: Path, schema: Any, suffix: str) -> Any:
    if suffix == ".csv":
        return csv.CSVWriter(path, schema, write_options=csv.WriteOptions(quoting_style="needed"))
    return parquet.ParquetWriter(path, schema, compression="zstd")


def _sayable(table: Any) -> Any:
    """Return a table with what CSV cannot say said otherwise: a NUL is no text to most readers."""
    for at, name in enumerate(table.schema.names):
        if pa.types.is_string(table.schema.field(name).type):
            table = table.set_column(
                at, table.schema.field(name), pc.replace_substring(table[name], "\0", "\ufffd")
            )
    return table
