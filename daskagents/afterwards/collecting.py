"""The texts that fields hold which are to be removed, so that they are found elsewhere too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zarr

from daskagents import blocks
from daskagents.afterwards.copied_journal import chats_in
from daskagents.afterwards.copied_zarr import dims_of
from daskagents.checked import Checked
from daskagents.columns import Column, Plain, from_arrays
from daskagents.environments import files
from daskagents.errors import UsageError
from daskagents.events import read_events
from daskagents.journal.entries import Entry

#: Different texts that are looked for, at most.
MOST = 1_000_000


def texts_of_fields(
    folder: Path, about: Mapping[str, Any], fields: frozenset[str], kept: Kept
) -> set[str]:
    """Return all texts that some fields hold, wherever a run directory keeps them.

    Parameters
    ----------
    folder
        The run directory.
    about
        What ``run.json`` says.
    fields
        Their names.
    kept
        Where blocks and versions are.

    Raises
    ------
    UsageError
        If there are more than a million, or there is no such field.
    """
    found: set[str] = set()
    seen: set[str] = set()
    for name, text in _all(folder, about, fields, kept):
        seen.add(name)
        if text:
            found.add(text)
        if len(found) > MOST:
            raise UsageError(
                f"the fields {', '.join(sorted(fields))} hold more than {MOST:,} different texts,"
                " too many to be looked for in what agents said and were told; remove all such"
                " texts: --texts all"
            )
    for name in sorted(fields - seen):
        raise UsageError(f"{folder} has no field, reply or parameter {name!r}")
    return found


class Kept:
    """Where a run directory keeps blocks of agents, versions of environments, and Zarr groups."""

    def __init__(self, folder: Path) -> None:
        self.blocks = [
            path
            for place in ("populations/*", "entered/*/*", "checkpoints/*/*")
            for path in sorted(folder.glob(f"{place}/*"))
            if (path / "zarr.json").exists()
        ]
        versions = [
            *sorted(folder.glob("environments/*/" + "[0-9]" * 6)),
            *sorted(folder.glob("environments/*/array-*")),
            *sorted(folder.glob("checkpoints/*/*/*")),
        ]
        self.versions = [path for path in versions if _is_version(path)]
        self.groups = [
            path.parent
            for place in ("rounds.zarr", "surveys/*.zarr", "surveys/*/*.zarr")
            for path in sorted(folder.glob(f"{place}/zarr.json"))
        ]


def _is_version(path: Path) -> bool:
    """Whether a file is of an environment, and no draft that was left behind, nor messages."""
    return path.is_file() and "." not in path.name and path.parts[-3] != "messages"


def _all(
    folder: Path, about: Mapping[str, Any], fields: frozenset[str], kept: Kept
) -> Iterator[tuple[str, str]]:
    """Yield each field with a text that it holds, or with nothing."""
    for path in kept.blocks:
        for name, column in blocks.read(path).columns.items():
            if name in fields:
                yield from ((name, text) for text in _texts(column))
    for path in kept.versions:
        for at, arrays in files.load_parts(path)[2].items():
            for name in fields & {".".join(map(str, at)), *map(str, at)}:
                yield name, ""
                if "array" not in arrays:
                    yield from ((name, text) for text in _texts(from_arrays(arrays)))
                elif arrays["array"].dtype.kind == "U":
                    yield from ((name, text) for text in np.ravel(arrays["array"]).tolist())
    for path in kept.groups:
        yield from _of_group(path, fields)
    for said in (about.get("workflow", {}), about.get("program", {}), *_lines(folder)):
        yield from _keyed(said, fields)
    if (folder / "journal").is_dir():
        for _, _, chat in chats_in(folder):
            if isinstance(chat, Entry):
                yield from _keyed(chat.value, fields)
    for one in about.get("populations", {}).values():  # all had the default, which is the class's
        yield from ((name, "") for name in fields & one.get("fields", {}).keys())


def _lines(folder: Path) -> Iterator[dict[str, Any]]:
    for name in ("events.jsonl", "interventions.jsonl"):
        if (folder / name).exists():
            yield from read_events(folder / name)


def _texts(column: Column) -> Iterator[str]:
    """Yield the texts of a column, of packed values those within."""
    yield ""
    if isinstance(column, Plain):
        return
    for data in set(column.rows()):
        try:
            text = data.decode()
        except UnicodeDecodeError:
            yield from _packed(data)
        else:
            yield text


def _packed(data: bytes) -> Iterator[str]:
    try:
        yield from _within(msgspec.msgpack.decode(data))
    except (msgspec.DecodeError, ValueError):
        return


def _within(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _within(inner)
    elif isinstance(value, dict):
        yield from _within([*value, *value.values()])


def _keyed(value: Any, fields: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Yield the texts below keys of these names."""
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _keyed(inner, fields)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key in fields:
                yield key, ""
                yield from ((key, text) for text in _within(inner))
            else:
                yield from _keyed(inner, fields)


def _of_group(path: Path, fields: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Yield the texts of the arrays of a Zarr group."""
    group = zarr.open_group(path, mode="r")
    dims = {dim for _, array in group.arrays() for dim in dims_of(array)}
    for name, array in group.arrays():
        for field in fields:
            if name not in (field, *(f"{dim}_{field}" for dim in dims)):
                continue
            yield field, ""
            if array.dtype.kind in "TU":
                for at in range(0, array.shape[0], max(1, array.chunks[0])):
                    part = Checked(array)[at : at + array.chunks[0]]
                    yield from ((field, text) for text in np.unique(np.ravel(part)).tolist())
