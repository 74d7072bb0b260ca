"""Versions of environments on disk: one file each, which appears whole or not at all."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path as File
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from daskagents.columns import dump, from_arrays, load
from daskagents.environments.base import Declared, Path
from daskagents.environments.tree import Tree, Values
from daskagents.errors import FolderError


@dataclass(frozen=True)
class Version:
    """The values of one version of an environment; of fields that only grow, what is new in it.

    Parameters
    ----------
    number
        Of the version; 0 is the start.
    step
        The step that it was made after; -1 at the start.
    values
        By path, without large arrays.
    """

    number: int
    step: int
    values: Values

    @property
    def nbytes(self) -> int:
        """Bytes, roughly."""
        return 200 + sum(_size(value) for value in self.values.values())


def _size(value: Any) -> int:
    if isinstance(value, tuple):
        return 56 + sum(_size(v) for v in value[:10]) * max(1, len(value) // 10)
    return int(getattr(value, "nbytes", 0)) or (len(value) if isinstance(value, str) else 32)


def encode(tree: Tree, version: Version) -> bytes:
    """Return a version as a file has it: no pickle, with a checksum.

    Examples
    --------
    >>> import daskagents as da
    >>> from daskagents.environments.tree import flatten, tree_of
    >>> class Market(da.Environment):
    ...     price: float = 10.0
    >>> market = Market(price=12.0)
    >>> data = encode(tree_of(market), Version(3, 2, flatten(market)))
    >>> decode(tree_of(market), data)
    Version(number=3, step=2, values={('price',): 12.0})
    """
    parts = {path: _arrays(tree.leaf(path), value) for path, value in version.values.items()}
    return encode_parts(version.number, version.step, parts)


def encode_parts(number: int, step: int, parts: Mapping[Path, Mapping[str, NDArray[Any]]]) -> bytes:
    """Return a version as a file has it, from the arrays of its values by path."""
    arrays: dict[str, NDArray[Any]] = {"about": np.array([number, step])}
    for path, named in parts.items():
        said = json.dumps(path)
        arrays |= {f"{said} {part}": array for part, array in named.items()}
    arrays["crc32"] = np.array([_check(arrays)], np.uint32)
    buffer = BytesIO()
    dump(arrays, buffer)
    return buffer.getvalue()


def decode(tree: Tree, data: bytes, where: str = "a version in memory") -> Version:
    """Return the version that `encode` was given.

    Raises
    ------
    FolderError
        If it is damaged, or of another class.
    """
    number, step, parts = _parts(data, where)
    try:
        values = {path: _value(tree.leaf(path), each) for path, each in parts.items()}
    except (KeyError, AttributeError) as error:
        raise FolderError(f"{where} is of another class of environment: {error}") from error
    return Version(number, step, values)


def load_parts(path: File) -> tuple[int, int, dict[Path, dict[str, NDArray[Any]]]]:
    """Return the number and step of a version, and by path the arrays of its values."""
    return _parts(path.read_bytes(), str(path))


def _parts(data: bytes, where: str) -> tuple[int, int, dict[Path, dict[str, NDArray[Any]]]]:
    arrays = load(BytesIO(data))
    found = arrays.pop("crc32", None)
    if found is None or int(found[0]) != _check(arrays):
        raise FolderError(f"{where} is damaged; restore it from a copy")
    number, step = arrays.pop("about").tolist()
    parts: dict[Path, dict[str, NDArray[Any]]] = {}
    for key, array in arrays.items():
        said, _, part = key.rpartition(" ")
        parts.setdefault(tuple(json.loads(said)), {})[part] = array
    return number, step, parts


def _arrays(declared: Declared, value: Any) -> dict[str, NDArray[Any]]:
    if declared.field is not None:
        return dict(declared.field.column([value]).arrays())
    said = {"dims": list(map(str, value.dims)), "name": value.name}
    coords = {str(name): each for name, each in value.coords.items() if each.dtype.kind in "fiub"}
    said["coords"] = {name: list(map(str, each.dims)) for name, each in coords.items()}
    about = np.frombuffer(json.dumps(said).encode(), np.uint8)
    more = {f"coord:{name}": np.asarray(each.values) for name, each in coords.items()}
    return {"array": np.asarray(value.values), "dims": about, **more}


def _value(declared: Declared, arrays: Mapping[str, NDArray[Any]]) -> Any:
    if declared.field is not None:
        return declared.field.item(from_arrays(arrays), 0)
    import xarray as xr

    said = json.loads(arrays["dims"].tobytes())
    coords = {name: (dims, arrays[f"coord:{name}"]) for name, dims in said["coords"].items()}
    return xr.DataArray(arrays["array"], coords, said["dims"], said["name"])


def _check(arrays: Mapping[str, NDArray[Any]]) -> int:
    """Return the checksum of named arrays."""
    found = 0
    for name, array in arrays.items():
        found = crc32(np.ascontiguousarray(array).data.cast("B") if array.size else b"", found)
        found = crc32(f"{name} {array.dtype} {array.shape}".encode(), found)
    return found


def part_name(path: Path) -> str:
    """Return a path within an environment as the name of a file."""
    said = "-".join(map(str, path))
    plain = re.sub(r"[^a-zA-Z0-9_-]", "_", said)[:60]
    same = plain == said
    return plain if same else f"{plain}-{crc32(said.encode()):08x}"


def path_of(folder: str | File, number: int) -> File:
    """Return where a version is, within the folder of its environment."""
    return File(folder, f"{number:06d}")


def write(data: bytes, path: File) -> None:
    """Write what `encode` returned, all at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}")
    draft.write_bytes(data)
    draft.replace(path)


def read(tree: Tree, path: File) -> Version:
    """Read a version back."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise FolderError(f"{path} is gone; restore it from a copy") from None
    return decode(tree, data, str(path))


__all__ = [
    "Version",
    "decode",
    "encode",
    "encode_parts",
    "load_parts",
    "part_name",
    "path_of",
    "read",
    "write",
]
