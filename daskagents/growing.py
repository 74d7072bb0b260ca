"""Arrays of the results that grow with a population, and shrink where a run goes on from before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from daskagents.checked import PACKED, Checked


def create_coord(group: zarr.Group, name: str, values: NDArray[Any], dim: str, width: int) -> None:
    """Write a coordinate of agents, in place of the one of that name if there is one."""
    group.create_array(
        name,
        data=values,
        chunks=(width,),
        compressors=PACKED,
        dimension_names=(dim,),
        attributes={"coordinate": True},
        overwrite=True,
    )


def extend_coord(array: Any, values: NDArray[Any]) -> bool:
    """Append the values of new agents to a coordinate; return whether they are of its type."""
    if array.dtype != values.dtype:
        return False
    before = array.shape[0]
    array.resize((before + len(values),))
    Checked(array)[before:] = values
    return True


def forget_after(array: Any, rounds: int, n: int, window: int, width: int) -> None:
    """Blank what an array says of agents beyond the first `n`, in chunks that stay when it shrinks.

    So a run that goes on from before they entered does not find them there.
    """
    end = min(array.shape[1], -(-n // width) * width)
    blank = array.fill_value
    for first in range(0, min(rounds, array.shape[0]) if end > n else 0, window):
        last = min(first + window, array.shape[0])
        values = np.full((last - first, end - n), blank, array.dtype)
        Checked(array)[first:last, n:end] = values


def least_sizes(group: zarr.Group | Mapping[str, Any], names: Iterable[str]) -> dict[str, int]:
    """Return how long each dimension is in the array where it is shortest."""
    found: dict[str, int] = {}
    for name in names:
        array: Any = group.get(name)
        if array is None:
            continue
        for dim, size in zip(array.metadata.dimension_names, array.shape, strict=True):
            found[dim] = min(found.get(dim, size), size)
    return found
