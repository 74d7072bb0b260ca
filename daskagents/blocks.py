"""Blocks of agents on disk: Zarr groups that `xr.open_zarr` opens, and nothing else."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from daskagents.block import Block
from daskagents.columns import Column, Plain, Texts, compact_strings, from_arrays
from daskagents.errors import FolderError
from daskagents.flat import read_flat, write_flat
from daskagents.mail import Mail

_DIMS = {"values": "agent", "codes": "agent", "mask": "agent", "offsets": "offset", "data": "byte"}
#: How the names of arrays begin that are of messages, and of no field.
_MAIL = "-inbox-"


def write(block: Block, path: Path) -> None:
    """Write a block as one Zarr group, which appears whole or not at all.

    A column is one array along ``agent``, or, for text, the ``offsets`` of the agents' values in
    the bytes ``data``; or, where values repeat, the ``codes`` of the agents' values among those
    that ``offsets`` and ``data`` hold. None is marked in a ``mask``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}")
    arrays = {
        name if part == "values" else f"{name}.{part}": (_dimension(name, part), array)
        for name, column in block.columns.items()
        for part, array in column.arrays().items()
    }
    about: dict[str, Any] = {"first": block.first, "agents": block.n}
    if block.mail is not None:
        arrays |= _mail_arrays(block.mail)
        about["messages"] = block.mail.kind
    write_flat(draft, arrays, about)
    try:
        draft.rename(path)
    except OSError:  # another attempt was first; it wrote the same
        shutil.rmtree(draft)
        if not path.exists():
            raise


def _mail_arrays(mail: Mail) -> dict[str, tuple[str, NDArray[Any]]]:
    """Return what waits in inboxes as arrays: the name on disk, the dimension and the values."""
    columns = {"to": Plain(mail.to), "sender": Plain(mail.sender), "content": mail.content}
    return {
        f"{_MAIL}{name}.{part}": (_dimension(f"{_MAIL}{name}", part), array)
        for name, column in columns.items()
        for part, array in column.arrays().items()
    }


def _dimension(name: str, part: str) -> str:
    """Return what an array is along; every text has a length of its own, so a dimension too."""
    if _DIMS[part] != "agent":
        return f"{name}.{part}"
    return "message" if name.startswith(_MAIL) else "agent"


def read(path: Path) -> Block:
    """Read a block back.

    Raises
    ------
    FolderError
        If there is none, or it is damaged.
    """
    with readable(path):
        return _read(path)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Say of a Zarr group that it is damaged, whatever Zarr raises then."""
    try:
        yield
    except (FolderError, PermissionError):
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise FolderError(f"{path} is damaged; restore it from a copy ({why})") from error


def _read(path: Path) -> Block:
    try:
        found, arrays = read_flat(path)
    except FileNotFoundError:
        raise FolderError(f"{path} holds no block of agents") from None
    parts: dict[str, dict[str, NDArray[Any]]] = {}
    for key, array in arrays.items():
        name, _, part = key.partition(".")
        parts.setdefault(name, {})[part or "values"] = array
    columns = {name: from_arrays(arrays) for name, arrays in parts.items()}
    mail = None
    if "messages" in found:
        to, sender, content = (
            columns.pop(f"{_MAIL}{part}") for part in ("to", "sender", "content")
        )
        mail = Mail(to.arrays()["values"], sender.arrays()["values"], found["messages"], content)
    return Block(int(found["first"]), int(found["agents"]), columns, mail=mail)


def text_column(values: NDArray[Any]) -> Texts:
    """Return texts as a column."""
    return compact_strings(["" if v is None else str(v) for v in values.tolist()])


__all__ = ["Column", "read", "readable", "text_column", "write"]
