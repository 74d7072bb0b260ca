"""Results and surveys on disk, without what is removed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from daskagents.afterwards.removal import Removal, unlike
from daskagents.checked import Checked

#: What the attributes of results say that is no text of anybody.
_KEPT = frozenset("order rounds coordinate name population schema made".split())


def copy_zarr(source: Path, target: Path, removal: Removal, place: str) -> None:
    """Copy a Zarr group: arrays of numbers byte by byte, those of texts value by value.

    Parameters
    ----------
    source, target
        The group, and where its copy is made.
    removal
        What is removed.
    place
        What it is, for the counts.
    """
    target.mkdir(parents=True)
    _copy_metadata(source, target, removal, place)
    group = zarr.open_group(source, mode="r")
    dims = {name for _, array in group.arrays() for name in dims_of(array)}
    for name, array in group.arrays():
        gone = any(name in (field, *(f"{dim}_{field}" for dim in dims)) for field in removal.fields)
        if array.dtype.kind not in "TUSO" and not gone:
            shutil.copytree(source / name, target / name)
            continue
        (target / name).mkdir()
        _copy_metadata(source / name, target / name, removal, place)
        copy: Any = zarr.open_array(target / name, mode="r+")
        for region in _regions(array):
            values = Checked(array)[region]
            if gone:
                values = _gone(values, removal, f"{place} {name}")
            else:
                values = _texts(values, removal, f"{place} {name}")
            if name in dims_of(array):  # two labels are never the same
                values = _labels(values)
            copy[region] = values


def dims_of(array: Any) -> tuple[str, ...]:
    """Return the dimensions of an array."""
    return tuple(map(str, array.metadata.dimension_names or ()))


def _copy_metadata(source: Path, target: Path, removal: Removal, place: str) -> None:
    """Copy what Zarr says of a group or an array; its attributes may be texts."""
    said = json.loads((source / "zarr.json").read_text(encoding="utf-8"))
    _change_attributes(said, removal, place)
    (target / "zarr.json").write_text(json.dumps(said), encoding="utf-8")


def _change_attributes(said: dict[str, Any], removal: Removal, place: str) -> None:
    attributes = said.get("attributes", {})
    if "population" in attributes:
        attributes = said["attributes"] = removal.renamed(attributes)
    if isinstance(attributes.get("where"), str):  # of a survey: who was asked, by fields
        asked = removal.walk(place, json.loads(attributes["where"]))
        said["attributes"] = attributes | {"where": json.dumps(asked)}
    if "attributes" in said:
        said["attributes"] = removal.walk(f"{place} (attributes)", said["attributes"], keep=_KEPT)
    inside = said.get("consolidated_metadata") or {}
    for each in inside.get("metadata", {}).values():
        _change_attributes(each, removal, place)


def _regions(array: Any) -> Iterator[tuple[slice, ...]]:
    """Yield where the chunks of an array are."""
    steps = [range(0, size, chunk) for size, chunk in zip(array.shape, array.chunks, strict=True)]
    for starts in product(*steps):
        ends = [min(at + c, n) for at, c, n in zip(starts, array.chunks, array.shape, strict=True)]
        yield tuple(map(slice, starts, ends))


def _texts(values: NDArray[Any], removal: Removal, place: str) -> NDArray[Any]:
    """Return texts changed; those that are the same are changed once."""
    known: dict[str, str] = {}
    changed = []
    for value in np.ravel(values).tolist():
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        if text not in known:
            known[text] = removal.free(place, text)
        changed.append(known[text])
    return np.array(changed, values.dtype).reshape(values.shape)


def _gone(values: NDArray[Any], removal: Removal, place: str) -> NDArray[Any]:
    """Return what stands for values that go whole: marks, NaN, or zeros."""
    if values.dtype.kind in "TUSO":
        marked = [removal.gone(place, str(value)) for value in np.ravel(values).tolist()]
        return np.array(marked, values.dtype).reshape(values.shape)
    removal.counts[place] += values.size
    return np.full(values.shape, np.nan if values.dtype.kind == "f" else 0, values.dtype)


def _labels(values: NDArray[Any]) -> NDArray[Any]:
    """Return labels of a dimension, each another one."""
    if values.dtype.kind not in "TUSO":
        return values
    found: dict[str, None] = {}
    for value in values.tolist():
        found[unlike(value, found)] = None
    return np.array(list(found), values.dtype)
