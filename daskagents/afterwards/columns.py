"""Blocks of agents and versions of environments, without what is removed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from daskagents import blocks
from daskagents.afterwards.removal import MARK, Removal
from daskagents.coded import Coded
from daskagents.columns import Column, Plain, Texts, from_arrays, ragged_bytes
from daskagents.environments import files
from daskagents.mail import Mail

#: The field that holds what agents remember, as (content, role, name).
_MEMORY = "_turns"
_text = Callable[[str, str], str]


def copy_block(path: Path, target: Path, labels: Mapping[str, str], removal: Removal) -> None:
    """Copy a block of agents, whose fields are of these types."""
    block = blocks.read(path)
    columns = {
        name: without(column, name, labels.get(name, ""), removal)
        for name, column in block.columns.items()
    }
    mail = None if block.mail is None else _without_mail(block.mail, removal)
    blocks.write(replace(block, columns=columns, mail=mail), target)


def _without_mail(mail: Mail, removal: Removal) -> Mail:
    """Return the messages of inboxes."""
    if isinstance(mail.content, Plain):
        return mail
    read = _texts if mail.kind == "str" else _packed
    content = _each(mail.content, lambda data: read("inboxes", data, removal, removal.said))
    return replace(mail, content=content)


def without(column: Column, name: str, label: str, removal: Removal) -> Column:
    """Return the values of a field: removed, or with their texts changed.

    Parameters
    ----------
    column
        Its values.
    name, label
        The field, and its type in words; empty where that is not known.
    removal
        What is removed.
    """
    label = label.removesuffix(" | None")
    place = "memories" if name == _MEMORY else f"field {name}"
    if name in removal.fields:
        return _removed(column, place, label, removal)
    if isinstance(column, Plain):
        return column
    if name == _MEMORY:
        return _each(column, lambda data: _memory(data, removal))
    read = _texts if label in ("str", "bytes") or (not label and _are_texts(column)) else _packed
    return _each(column, lambda data: read(place, data, removal, removal.free))


def _removed(column: Column, place: str, label: str, removal: Removal) -> Column:
    """Return a column of nothing: marks for texts, else None for everyone, or NaN for floats."""
    n = len(column)
    removal.counts[place] += n
    if isinstance(column, Plain):
        if column.values.dtype.kind == "f":
            return Plain(np.full(n, np.nan), column.mask)
        return Plain(np.zeros(n, column.values.dtype), np.ones(n, bool))
    if label == "str" or (not label and _are_texts(column)):
        said = (column.lengths() > 0).astype(np.uint8)  # who has the same is not to be seen
        return Coded(said, ragged_bytes([b"", MARK.encode()]), column.mask)
    return ragged_bytes([b""] * n, np.ones(n, bool))


def _each(column: Texts, change: Callable[[bytes], bytes]) -> Texts:
    """Return a column with each of its values changed; one that repeats is changed once."""
    if isinstance(column, Coded):
        words = [change(data) for data in column.words.rows()]
        places = {word: at for at, word in enumerate(dict.fromkeys(words))}
        codes = np.array([places[word] for word in words], column.codes.dtype)[column.codes]
        return Coded(codes, ragged_bytes(list(places)), column.mask)
    return ragged_bytes([change(data) for data in column.rows()], column.mask)


def _texts(place: str, data: bytes, removal: Removal, change: _text) -> bytes:
    return removal.bytes(place, data, change)


def _packed(place: str, data: bytes, removal: Removal, change: _text) -> bytes:
    if not data:
        return data
    return msgspec.msgpack.encode(removal.walk(place, msgspec.msgpack.decode(data), change))


def _memory(data: bytes, removal: Removal) -> bytes:
    """Return what one agent remembers: who said it is kept, as a role."""
    turns = []
    for content, role, name in msgspec.msgpack.decode(data) if data else ():
        said = removal.walk("memories", content, removal.said)
        turns.append((said, role, removal.speaker("memories", name)))
    return msgspec.msgpack.encode(turns) if data else data


def _are_texts(column: Texts) -> bool:
    """Whether all values are texts, and none is packed: what is packed begins with no character."""
    try:
        column.texts()
    except UnicodeDecodeError:
        return False
    return True


def copy_version(path: Path, target: Path, labels: Mapping[Any, str], removal: Removal) -> None:
    """Copy a version of an environment, or a large array of one."""
    number, step, parts = files.load_parts(path)
    for at, arrays in parts.items():
        name = ".".join(map(str, at))
        gone = name in removal.fields or bool(removal.fields & set(map(str, at)))
        if "array" in arrays:
            parts[at] = _array(arrays, f"environment {name}", gone, removal)
            continue
        column = from_arrays(arrays)
        if gone:
            label = labels.get(at, "").removesuffix(" | None")
            parts[at] = dict(_removed(column, f"field {name}", label, removal).arrays())
        else:
            parts[at] = dict(without(column, name, labels.get(at, ""), removal).arrays())
    files.write(files.encode_parts(number, step, parts), target)


def _array(
    arrays: Mapping[str, NDArray[Any]], place: str, gone: bool, removal: Removal
) -> dict[str, NDArray[Any]]:
    """Return an array of an environment: numbers stay, unless it is removed."""
    found = dict(arrays)
    values = arrays["array"]
    if values.dtype.kind in "US":
        change = removal.gone if gone else removal.free
        texts = [change(place, str(text)) for text in np.ravel(values).tolist()]
        found["array"] = np.array(texts, np.str_).reshape(values.shape)
    elif gone:
        removal.counts[place] += values.size
        blank = np.nan if values.dtype.kind == "f" else 0
        found["array"] = np.full(values.shape, blank, values.dtype)
    said = removal.walk(place, json.loads(arrays["dims"].tobytes()), removal.text)
    found["dims"] = np.frombuffer(json.dumps(said).encode(), np.uint8)
    return found


__all__ = ["copy_block", "copy_version", "without"]
