"""Flat arrays as a Zarr group: each one chunk, written and read without Zarr's own machinery.

Zarr takes milliseconds for an array of whatever size, and a small block of agents has a dozen. What
it would write of arrays of one dimension and one chunk follows from their dtypes and lengths.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from daskagents.errors import FolderError


def write_flat(
    folder: Path, arrays: Mapping[str, tuple[str, NDArray[Any]]], about: Mapping[str, Any]
) -> None:
    """Write arrays of numbers or bools as one Zarr group; the folder must not exist.

    Parameters
    ----------
    folder
        Where it is made.
    arrays
        The dimension and the values of each, by name.
    about
        The attributes of the group; a checksum of each array is added to them.
    """
    flat = {key: _flat(array) for key, (_, array) in arrays.items()}
    checks = {key: crc32(array.data) for key, array in flat.items()}
    group = {"attributes": {**about, "crc32": checks}, "zarr_format": 3, "node_type": "group"}
    folder.mkdir()
    _write(f"{folder}/zarr.json", json.dumps(group).encode())
    for key, (dimension, array) in arrays.items():
        os.mkdir(f"{folder}/{key}")  # noqa: PTH102 - a Path for each would take longer than this
        text = json.dumps(_metadata(array.dtype, len(array), dimension))
        _write(f"{folder}/{key}/zarr.json", text.encode())
        if flat[key].any():  # a chunk that is not there is of zeros
            _write(f"{folder}/{key}/0", flat[key].data)


def read_flat(folder: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read what `write_flat` wrote: the attributes, and the arrays by name.

    Raises
    ------
    FileNotFoundError
        If there is no group.
    FolderError
        If an array is not as it was written, or is gone.
    """
    about: dict[str, Any] = json.loads(_read(f"{folder}/zarr.json"))["attributes"]
    return about, {key: _array(folder, key, check) for key, check in about["crc32"].items()}


def _array(folder: Path, key: str, check: int) -> NDArray[Any]:
    """Read one array, with the checksum that it had."""
    try:
        said = json.loads(_read(f"{folder}/{key}/zarr.json"))
        values = np.zeros(said["shape"], np.dtype(said["data_type"]).newbyteorder("<"))
        # runs of before have a chunk where Zarr puts it by default: in a folder of its own
        chunk = "0" if said["chunk_key_encoding"]["name"] == "v2" else "c/0"
    except (FileNotFoundError, ValueError, TypeError, KeyError, MemoryError) as error:
        why = f"{type(error).__name__}: {error}"
        raise FolderError(f"{folder / key} is damaged; restore it from a copy ({why})") from error
    data = _flat(values)
    try:
        with open(f"{folder}/{key}/{chunk}", "rb") as file:  # noqa: PTH123
            whole = file.readinto(data.data) == len(data) and not file.read(1)
    except FileNotFoundError:
        whole = True
    if not whole or crc32(data.data) != check:
        raise FolderError(f"{folder / key} is damaged; restore it from a copy")
    return values


def _flat(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the bytes of an array as they are on disk."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).view(np.uint8)


def _metadata(dtype: np.dtype[Any], n: int, dimension: str) -> dict[str, Any]:
    """Return what Zarr says of an array with one chunk, which is as long as the array."""
    order = {"configuration": {"endian": "little"}} if dtype.itemsize > 1 else {}
    return {
        "shape": [n],
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [max(1, n)]}},
        "chunk_key_encoding": {"name": "v2", "configuration": {"separator": "."}},
        "fill_value": {"b": False, "f": 0.0}.get(dtype.kind, 0),
        "codecs": [{"name": "bytes"} | order],
        "attributes": {},
        "dimension_names": [dimension],
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }


def _write(path: str, data: Any) -> None:
    with open(path, "xb", 0) as file:  # noqa: PTH123
        left = memoryview(data)
        while left:  # the system may take a part of it
            left = left[file.write(left) :]


def _read(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123
        return file.read()
