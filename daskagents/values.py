"""What the results say of each round besides its agents: numbers, texts and small arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from daskagents.errors import WorkflowError

#: An array, and the labels along those of its dimensions that have any.
_Placed = tuple[NDArray[Any], dict[str, list[Any]]]
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


class Values:
    """The values of all rounds by name, until they are written."""

    def __init__(self) -> None:
        self._dims: dict[str, tuple[str, ...]] = {}
        self._kinds: dict[str, str] = {}
        self._rounds: dict[str, dict[int, _Placed]] = {}
        self._sizes: dict[str, int] = {}
        self.labels: dict[str, dict[Any, int]] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._dims

    @property
    def names(self) -> list[str]:
        """The variables, in the order of their coming."""
        return list(self._dims)

    def add(self, round_: int, name: str, value: Value) -> None:
        """Keep the value that a variable has in a round; later ones must be of its kind."""
        data = np.asarray(value.data)
        kind = "text" if data.dtype.kind in "TUO" else "number"
        if data.dtype.kind not in "fiubTU" and not all(isinstance(v, str) for v in data.flat):
            raise WorkflowError(f"{name!r} is {value.data!r}; yield numbers and texts")
        known = self._dims.setdefault(name, value.dims), self._kinds.setdefault(name, kind)
        if known != (value.dims, kind):
            raise WorkflowError(
                f"{name!r} is a {kind} over {value.dims} in round {round_}, and was a {known[1]}"
                f" over {known[0]} before; choose another name"
            )
        if data.size > LARGEST:
            raise WorkflowError(
                f"{name!r} has {data.size:,} values over {value.dims} in one round; yield a"
                f" variable over the agents alone, or one with at most {LARGEST:,} values"
            )
        for dim, size in zip(value.dims, data.shape, strict=True):
            self._fit(name, dim, size, value.labels.get(dim))
        self._rounds.setdefault(name, {})[round_] = data, value.labels

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

    def write(self, group: zarr.Group, rounds: int) -> None:
        """Write all of the first `rounds` rounds; NaN or "" where a round has no value."""
        for name, by_round in self._rounds.items():
            if min(by_round) >= rounds:  # of a round that was given up
                continue
            group.create_array(
                name,
                data=self._stack(name, by_round, rounds),
                dimension_names=("round", *self._dims[name]),
                overwrite=True,
            )
        for dim, places in self.labels.items():
            labels = np.array(list(places))
            if labels.dtype.kind in "UO":
                labels = np.array(list(map(str, places)), np.dtypes.StringDType())
            group.create_array(
                dim,
                data=labels,
                dimension_names=(dim,),
                attributes={"coordinate": True},
                overwrite=True,
            )

    def _stack(self, name: str, by_round: dict[int, _Placed], rounds: int) -> NDArray[Any]:
        """Return one array over the rounds."""
        dims = self._dims[name]
        shape = [len(self.labels[d]) if d in self.labels else self._sizes[d] for d in dims]
        found = {number: value for number, value in by_round.items() if number < rounds}
        whole = len(found) == rounds and all(v.shape == tuple(shape) for v, _ in found.values())
        stacked: NDArray[Any]
        if self._kinds[name] == "text":
            stacked = np.zeros((rounds, *shape), np.dtypes.StringDType())
        elif whole:
            dtype = np.result_type(*{value.dtype for value, _ in found.values()})
            stacked = np.zeros((rounds, *shape), dtype)
        else:
            stacked = np.full((rounds, *shape), np.nan)
        if not dims and found:
            stacked[list(found)] = [value for value, _ in found.values()]
            return stacked
        for number, (value, labels) in found.items():
            places = [
                [self.labels[dim][label] for label in labels[dim]] if dim in labels else range(size)
                for dim, size in zip(dims, value.shape, strict=True)
            ]
            stacked[number][np.ix_(*places)] = value
        return stacked
