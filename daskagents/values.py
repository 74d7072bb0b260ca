"""What the results say of each round besides its agents: numbers, texts and small arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from daskagents.checked import PACKED, Checked
from daskagents.errors import WorkflowError

#: An array, and the labels along those of its dimensions that have any.
_Placed = tuple[NDArray[Any], dict[str, list[Any]]]
#: Values in one chunk of the results, more or less.
_CHUNK = 1 << 14
#: Most values that a variable may have in one round, unless it is over agents alone.
LARGEST = 1 << 20


@dataclass(frozen=True)
class Value:
    """One value of a round, or an array of some.

    Parameters
    ----------
    dims
        The names of its dimensions.
    data
        A number, a bool, a str, or an array of them.
    labels
        The labels along its dimensions, of those that have any.

    """

    dims: tuple[str, ...]
    data: Any
    labels: dict[str, list[Any]] = field(default_factory=dict)


@dataclass
class _Variable:
    """The values of one name, round by round, and how far they are written."""

    dims: tuple[str, ...]
    text: bool
    dtype: np.dtype[Any]
    by_round: dict[int, _Placed] = field(default_factory=dict)
    array: Any = None
    written: int = 0

    def __str__(self) -> str:
        return f"a {'text' if self.text else 'number'} over {self.dims}"


class Values:
    """The values of all rounds by name, until they are written."""

    def __init__(self) -> None:
        self._known: dict[str, _Variable] = {}
        self._sizes: dict[str, int] = {}
        self.labels: dict[str, dict[Any, int]] = {}
        self._told: dict[str, int] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._known

    @property
    def names(self) -> list[str]:
        """The variables, in the order of their coming."""
        return list(self._known)

    def add(self, round_: int, name: str, value: Value) -> None:
        """Keep the value that a variable has in a round; later ones must be of its kind."""
        data = np.asarray(value.data)
        text = data.dtype.kind in "TUO"
        if data.dtype.kind not in "fiubTU" and not all(isinstance(v, str) for v in data.flat):
            raise WorkflowError(f"{name!r} is {value.data!r}; yield numbers and texts")
        if data.size > LARGEST:
            raise WorkflowError(
                f"{name!r} has {data.size:,} values over {value.dims} in one round; yield a"
                f" variable over the agents alone, or one with at most {LARGEST:,} values"
            )
        dtype: np.dtype[Any] = np.dtypes.StringDType() if text else data.dtype
        new = _Variable(value.dims, text, dtype)
        known = self._known.setdefault(name, new)
        if (known.dims, known.text) != (new.dims, new.text):
            raise WorkflowError(
                f"{name!r} is {new} in round {round_}, and was {known} before; choose another name"
            )
        for dim, size in zip(value.dims, data.shape, strict=True):
            self._fit(name, dim, size, value.labels.get(dim))
        known.dtype = dtype if text else np.result_type(known.dtype, dtype)
        known.by_round[round_] = data, value.labels

    def _fit(self, name: str, dim: str, size: int, labels: list[Any] | None) -> None:
        """Make room for an array's labels along a dimension, or check that its length fits."""
        known = len(self.labels[dim]) if dim in self.labels else self._sizes.setdefault(dim, size)
        if known != size and (labels is None or dim not in self.labels):
            raise WorkflowError(
                f"{name!r} has {size} values along {dim!r}, and {known} were yielded along it"
                " before; give the dimension labels, or another name"
            )
        if labels is not None:
            places = self.labels.setdefault(dim, {})
            for label in labels:
                places.setdefault(label, len(places))

    def grow(self, dim: str, n: int) -> None:
        """Let a dimension be longer, if there is one of this name."""
        if n <= self._sizes.get(dim, n):
            return
        self._sizes[dim] = n
        for known in self._known.values():
            if known.array is not None and dim in known.dims:
                shape = [
                    n if d == dim else size
                    for d, size in zip(known.dims, known.array.shape[1:], strict=True)
                ]
                known.array.resize((known.array.shape[0], *shape))

    def state(self) -> dict[str, Any]:
        """Return what is known besides the values themselves, as JSON has it."""
        known = {
            name: {"dims": one.dims, "dtype": "text" if one.text else str(one.dtype)}
            for name, one in self._known.items()
        }
        labels = {dim: list(places) for dim, places in self.labels.items()}
        return {"known": known, "sizes": self._sizes, "labels": labels}

    def restore(self, group: zarr.Group, state: dict[str, Any], rounds: int) -> None:
        """Go on from a state, with the values of the rounds until then."""
        self._sizes = dict(state["sizes"])
        self.labels = {
            dim: {label: at for at, label in enumerate(labels)}
            for dim, labels in state["labels"].items()
        }
        for name, one in state["known"].items():
            text = one["dtype"] == "text"
            dtype: np.dtype[Any] = np.dtypes.StringDType() if text else np.dtype(one["dtype"])
            known = self._known[name] = _Variable(tuple(one["dims"]), text, dtype)
            array: Any = group[name]
            array.resize((rounds, *array.shape[1:]))
            labels = {d: list(self.labels[d]) for d in known.dims if d in self.labels}
            # later rounds may have brought labels, and so gaps
            inside = [
                slice(len(self.labels[d]) if d in labels else self._sizes[d]) for d in known.dims
            ]
            kept = Checked(array)[:][(slice(None), *inside)]
            if kept.dtype.kind == "f" and np.isnan(kept).any():
                known.dtype = np.result_type(dtype, kept.dtype)
            kept = kept.astype(known.dtype)
            known.by_round = {at: (np.asarray(kept[at]), labels) for at in range(rounds)}
            known.array, known.written = array, rounds

    def write(self, group: zarr.Group, rounds: int) -> None:
        """Write all of the first `rounds` rounds; NaN or "" where a round has no value."""
        for name, known in self._known.items():
            found = [value for number, value in known.by_round.items() if number < rounds]
            if found:  # else it is of a round that was given up
                self._write(group, name, known, rounds, found)
        for dim, places in self.labels.items():
            if self._told.get(dim) == len(places):
                continue
            self._told[dim] = len(places)
            labels = np.array(list(places))
            if labels.dtype.kind in "UO":
                labels = np.array(list(map(str, places)), np.dtypes.StringDType())
            group.create_array(
                dim,
                data=labels,
                compressors=PACKED,
                dimension_names=(dim,),
                attributes={"coordinate": True},
                overwrite=True,
            )

    def _write(
        self, group: zarr.Group, name: str, known: _Variable, rounds: int, found: list[_Placed]
    ) -> None:
        """Write what is new of one variable; all of it if its form has changed."""
        shape = tuple(
            len(self.labels[dim]) if dim in self.labels else self._sizes[dim] for dim in known.dims
        )
        gaps = len(found) < rounds or any(value.shape != shape for value, _ in found)
        dtype = np.dtype(np.float64) if gaps and not known.text else known.dtype
        array = known.array
        if array is None or (array.dtype, array.shape[1:]) != (dtype, shape):
            known.written = 0
            known.array = array = group.create_array(
                name,
                shape=(rounds, *shape),
                dtype=dtype,
                chunks=(max(1, _CHUNK // max(1, math.prod(shape))), *(max(1, n) for n in shape)),
                compressors=PACKED,
                dimension_names=("round", *known.dims),
                fill_value="" if known.text else np.nan if dtype.kind == "f" else 0,
                overwrite=True,
            )
        if array.shape[0] != rounds:
            array.resize((rounds, *shape))
        if known.written < rounds:
            new = self._stack(known, known.written, rounds, dtype, shape)
            Checked(array)[known.written :] = new
            known.written = rounds

    def _stack(
        self, known: _Variable, start: int, stop: int, dtype: Any, shape: tuple[int, ...]
    ) -> NDArray[Any]:
        """Return the values of some rounds as one array."""
        stacked: NDArray[Any] = np.zeros((stop - start, *shape), dtype)
        if stacked.dtype.kind == "f":
            stacked[...] = np.nan
        for number in known.by_round.keys() & set(range(start, stop)):
            value, labels = known.by_round[number]
            if not shape:
                stacked[number - start] = value
                continue
            places = [
                [self.labels[dim][label] for label in labels[dim]] if dim in labels else range(size)
                for dim, size in zip(known.dims, value.shape, strict=True)
            ]
            stacked[number - start][np.ix_(*places)] = value
        return stacked
