"""Tables in files, CSV and Parquet, whose rows are joint values of fields, with weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from daskagents.errors import SpecError
from daskagents.personas.labels import Column, make_labels
from daskagents.personas.nodes import Node, Problems, hint
from daskagents.personas.values import Kind, Scalar

if TYPE_CHECKING:
    import pandas as pd

#: Most different numbers of a column that are remembered one by one.
_FEW = 1_000


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of a file, and a weight for each row."""

    columns: tuple[Column, ...]
    kinds: tuple[Kind, ...]
    weights: NDArray[np.float64]


def read_table(
    node: Node, names: Sequence[str], folder: Path | None, problems: Problems
) -> Table | None:
    """Read the fields of a table from the file that a node names; see `docs/populations.md`.

    Parameters
    ----------
    node
        A mapping with ``file``, and perhaps ``weight`` and ``columns``.
    names
        The fields that are wanted.
    folder
        What the path of the file is relative to.
    """
    file = node.get("file")
    if file is None or not isinstance(file.value, str):
        problems.add(file or node, "name a file, such as `file: people.csv`")
        return None
    before = len(problems.found)
    frame = None
    with problems.caught(file):
        frame = read_frame(Path(folder or ".") / file.value)
    if frame is None:
        return None
    columns, kinds = [], []
    for name in names:
        wanted = _column_name(node.get("columns"), name, problems)
        with problems.caught(node.get("columns") or file):
            column, kind = _column(_pick(frame, wanted, file.value), wanted)
            columns.append(column)
            kinds.append(kind)
    weights = np.ones(len(frame))
    if (weight := node.get("weight")) is not None:
        with problems.caught(weight):
            weights = _weights(_pick(frame, str(weight.value), file.value), str(weight.value))
    if len(problems.found) > before:
        return None
    return Table(tuple(columns), tuple(kinds), weights)


def read_frame(path: Path) -> pd.DataFrame:
    """Read a CSV or Parquet file.

    Raises
    ------
    SpecError
        If it cannot be read, or has no rows.
    """
    import pandas as pd

    if not path.is_file():
        raise SpecError(f"there is no file {path}")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            frame = pd.read_parquet(path)
        elif path.suffix.lower() in (".csv", ".tsv", ".txt"):
            mark = "," if path.suffix.lower() == ".csv" else "\t"
            frame = pd.read_csv(path, sep=mark, keep_default_na=False, na_values=[""])
        else:
            raise SpecError(f"{path.name} is neither .csv nor .tsv nor .parquet")
    except (OSError, ValueError, ImportError) as error:  # those of pandas and pyarrow among them
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"{path} cannot be read: {error}") from None
    if not len(frame):
        raise SpecError(f"{path} has no rows")
    return frame


def _column_name(columns: Node | None, name: str, problems: Problems) -> str:
    """Return what a field is called in the file."""
    found = None if columns is None else columns.get(name)
    if found is None:
        return name
    if not isinstance(found.value, str):
        problems.add(found, f"is {found.said}, not the name of a column")
        return name
    return found.value


def _pick(frame: pd.DataFrame, name: str, file: str) -> pd.Series[Any]:
    if name not in frame.columns:
        raise SpecError(f"{file} has no column {name!r}{hint(name, frame.columns)}")
    found: pd.Series[Any] = frame[name]
    if found.isna().any():
        row = int(np.flatnonzero(found.isna())[0])
        raise SpecError(f"column {name!r} of {file} has no value in row {row}; fill it, or drop it")
    return found


def _weights(found: pd.Series[Any], name: str) -> NDArray[np.float64]:
    if found.dtype.kind not in "iuf":
        raise SpecError(f"column {name!r} holds no numbers, and is to be the weights")
    weights = found.to_numpy(np.float64)
    if not np.isfinite(weights).all() or (weights < 0).any():
        row = int(np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))[0])
        raise SpecError(f"column {name!r} has the weight {weights[row]:g} in row {row}")
    if not weights.sum() > 0:
        raise SpecError(f"column {name!r} has no weight above 0")
    return weights


def _column(found: pd.Series[Any], name: str) -> tuple[Column, Kind]:
    """Return a column, and what it holds."""
    if isinstance(found.dtype, np.dtype) and found.dtype.kind in "biu":
        values = found.to_numpy(np.bool_ if found.dtype.kind == "b" else np.int64)
        return values, kind_of(values)
    if isinstance(found.dtype, np.dtype) and found.dtype.kind == "f":
        numbers = found.to_numpy(np.float64)
        if not np.isfinite(numbers).all():
            raise SpecError(f"column {name!r} holds numbers that are not finite")
        return numbers, kind_of(numbers)
    texts = [str(text) for text in found.to_numpy(object)]
    known: dict[str, int] = {}
    codes = [known.setdefault(text, len(known)) for text in texts]
    return make_labels(codes, tuple(known)), Kind("text", tuple(known))


def kind_of(values: NDArray[Any]) -> Kind:
    """Return the kind of an array of numbers or bools.

    Examples
    --------
    >>> kind_of(np.array([3, 1, 3])).values
    (1, 3)
    """
    if values.dtype.kind == "b":
        return Kind("bool", (False, True))
    few: tuple[Scalar, ...] | None = tuple(np.unique(values).tolist())
    if few is not None and len(few) > _FEW:
        few = None
    kind = "int" if values.dtype.kind in "iu" else "float"
    return Kind(kind, few, float(values.min()), float(values.max()))  # type: ignore[arg-type]


def rows_of(rows: Mapping[tuple[Any, ...], float]) -> tuple[list[list[Any]], list[float]]:
    """Return the columns of a joint table, and its weights.

    Examples
    --------
    >>> rows_of({("f", 1): 0.4, ("m", 2): 0.6})
    ([['f', 'm'], [1, 2]], [0.4, 0.6])
    """
    return [list(column) for column in zip(*rows, strict=True)], list(rows.values())
