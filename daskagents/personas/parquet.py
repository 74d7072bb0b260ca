"""People in Parquet files: written block by block, and read again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xarray as xr

from daskagents.errors import SpecError
from daskagents.personas.labels import Column, Labels, join, make_labels
from daskagents.personas.lazy import column_of, variable
from daskagents.personas.spec import Spec
from daskagents.personas.values import Kind

_TYPES = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
#: The key of what a file says of itself.
_ABOUT = b"daskagents"


def write(
    spec: Spec, blocks: Iterable[Mapping[str, Column]], path: Path, about: Mapping[str, Any]
) -> None:
    """Write blocks of people to one file, a row group for each; a file that fails is not left."""
    schema = pa.schema([(name, _type(kind)) for name, kind in spec.kinds.items()])
    schema = schema.with_metadata({_ABOUT: json.dumps(dict(about)).encode()})
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(part, schema, compression="zstd") as writer:
            for block in blocks:
                arrays = [_arrow(block[field.name], field.type) for field in schema]
                writer.write_batch(pa.record_batch(arrays, schema=schema))
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def write_people(people: xr.Dataset, path: Path) -> None:
    """Write people who are in memory to a Parquet file."""
    columns = {str(name): column_of(people[name]) for name in people.data_vars}
    arrays = {
        name: _arrow(column, pa.string()) if _is_text(column) else pa.array(column)
        for name, column in columns.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(arrays), path, compression="zstd")


def read_people(path: str | Path) -> xr.Dataset:
    """Read people from a Parquet file as a Dataset over ``agent``.

    Raises
    ------
    SpecError
        If it cannot be read.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise SpecError(f"{path} cannot be read: {error}") from None
    columns = {name: variable(_column(table[name])) for name in table.column_names}
    about = json.loads((table.schema.metadata or {}).get(_ABOUT, b"{}"))
    return xr.Dataset(columns, coords={"agent": np.arange(table.num_rows)}, attrs=about)


def _is_text(column: Column) -> bool:
    return isinstance(column, Labels) or column.dtype.kind not in "biuf"


def _type(kind: Kind) -> Any:
    """Return the type of a column on disk: texts that are known are a dictionary."""
    if kind.type != "text":
        return _TYPES[kind.type]
    return pa.string() if kind.values is None else pa.dictionary(pa.int32(), pa.string())


def _arrow(column: Column, kind: Any) -> Any:
    """Return a column as one of Arrow."""
    if isinstance(column, Labels):
        words, codes = pa.array(column.words, pa.string()), pa.array(column.codes.astype(np.int32))
        if pa.types.is_dictionary(kind):
            return pa.DictionaryArray.from_arrays(codes, words)
        return words.take(codes)
    if column.dtype.kind in "biuf":
        return pa.array(column, kind)
    return pa.array(column.astype(object), pa.string())


def _column(chunks: Any) -> Column:
    """Return a column of Arrow as ours."""
    if pa.types.is_dictionary(chunks.type):
        parts = [make_labels(c.indices.to_numpy(), c.dictionary.to_pylist()) for c in chunks.chunks]
        return join(parts)
    if pa.types.is_string(chunks.type) or pa.types.is_large_string(chunks.type):
        coded = chunks.combine_chunks().dictionary_encode()
        coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
        words = coded.dictionary.to_pylist()
        return make_labels(coded.indices.to_numpy(), words)
    found: Column = chunks.to_numpy()
    return found
