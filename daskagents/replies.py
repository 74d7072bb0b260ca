"""Replies as xarray: one value per agent, a chunk per block, still computing."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask import is_dask_collection
from dask.array.core import Array
from numpy.typing import NDArray

from daskagents.agent import Agent, unknown_field
from daskagents.columns import Texts
from daskagents.environments.base import Branch, Environment
from daskagents.errors import ReplyError, UsageError
from daskagents.fields import Field
from daskagents.members import Members, Step
from daskagents.message import Message
from daskagents.sealing import seal
from daskagents.session import Session
from daskagents.stored import lost_array, stored_array
from daskagents.table import Table
from daskagents.tasks import Sealed, pick_reply, pick_state

#: What differs in the names of layers from one life of a run to the next.
_TOKEN = re.compile(
    r"-[0-9a-f]{10}(-.*)?$|-[0-9a-f]{32}$|^(stored|(lost-)?(step|state))-|^lost-(?=version)"
)
#: Texts longer than this on average are kept in chunks where they are a coordinate.
_LONG = 64
#: Contents that travel as they are.
_PLAIN = (str, bytes, float, int, bool, type(None))


def make_frame(
    table: Table, fields: dict[str, Field], dim: str, bounds: NDArray[np.int64]
) -> xr.Dataset:
    """Return the coordinates of a population: ids, and the columns that were given."""
    coords: dict[str, Any] = {dim: np.arange(table.n)}
    for name, column in table.columns.items():
        values = fields[name].numpy(column)
        if values.dtype == object or name == dim:
            continue
        if isinstance(column, Texts) and column.lengths().sum() > _LONG * table.n:
            parts = (bounds, *column.arrays().values())
            token = _hash(b"".join(part.tobytes() for part in parts))
            chunks = (tuple(np.diff(bounds).tolist()),)
            values = da.from_array(values, chunks, name=f"given-{name}-{token}")
        coords[name] = (dim, values)
    return xr.Dataset(coords=coords)


def replies_of(session: Session, step: Step) -> xr.Dataset | xr.DataArray:
    """Return the replies of a step: a DataArray of single values, else a Dataset by name."""
    assert step.form is not None
    members = step.members
    limit = session.max_failed if session.store is None else None
    bundles = _bundles(session, session.name_of(step), step.bundles, step.counts)
    nobody = not step.indexes
    arrays = {}
    for name, kind in step.form.kinds:
        dtype = np.dtype(np.float64) if kind == "number" else np.dtypes.StringDType()
        if session.retracing and not nobody:
            arrays[name] = stored_array(session, step, name, dtype)
            continue
        arrays[name] = bundles.map_blocks(
            pick_reply, name, kind, limit, dtype=dtype, meta=np.empty(0, dtype)
        )
        session.remember(arrays[name], step, name)
    frame = members.frame_of(step.rows)
    if step.form.single:
        return xr.DataArray(arrays[""], frame.coords, [members.dim], name=step.name)
    frame = _without(members, frame, arrays.keys() & set(frame.coords))
    return xr.Dataset({name: (members.dim, array) for name, array in arrays.items()}, frame.coords)


def _without(members: Members, frame: xr.Dataset, taken: set[str]) -> xr.Dataset:
    """Leave out given columns that are replied too; say so, the first time."""
    if not taken:
        return frame
    if members.dim in taken:
        raise ReplyError(
            f"{members.cls.__name__} replies {members.dim!r}, which is the dimension of population"
            f" {members.name!r}; choose another name for one of them"
        )
    names = ", ".join(sorted(taken))
    warnings.warn(
        f"{members.cls.__name__} replies {names}, and a column of that name was given; the replies"
        f" take its place, and it is no coordinate of {members.name!r} any more",
        stacklevel=5,
    )
    members.replied |= taken
    members.frame = members.frame.drop_vars(taken)
    return frame.drop_vars(taken)


def states_of(session: Session, members: Members, rows: NDArray[np.int64] | None) -> xr.Dataset:
    """Return the current state of a population: a variable per field."""
    blocks = members.newest(session)
    indexes = [index for index, held in enumerate(blocks) if held is not None]
    counts = np.diff(members.bounds)[indexes].tolist()
    handles = [blocks[index] for index in indexes]
    name = f"state-{members.name}-{session.count}-{session.token}"
    if members.lives.version:  # which blocks there are differs from time to time
        name += f"-{members.lives.version}"
    named = _bundles(session, name, handles, counts)
    found: dict[str, Any] = {}
    fields = members.cls.__fields__
    for field_name, field in sorted(fields.items(), key=lambda item: item[0] == "_turns"):
        meta = field.numpy(field.full(1) if not field.required else field.column([]))[:0]
        array = named.map_blocks(pick_state, members.blob, field_name, dtype=meta.dtype, meta=meta)
        found["memory" if field_name == "_turns" else field_name] = (members.dim, array)
    # without the given columns, which were the start
    if sum(counts) == members.n:
        ids, places = members.frame.variables[members.dim], rows
    else:
        spans = [np.arange(*members.bounds[index : index + 2]) for index in indexes]
        values = np.concatenate([np.empty(0, np.int64), *spans])
        ids = xr.Variable(members.dim, values)
        places = None if rows is None else np.searchsorted(values, rows)
    whole = xr.Dataset(found, {members.dim: ids})
    return whole if rows is None else whole.isel({members.dim: places})


def _bundles(session: Session, name: str, handles: Sequence[Any], counts: Sequence[int]) -> Array:
    """Return results as the chunks of an array, to be mapped over."""
    if not counts:
        return Array({(name, 0): np.empty(0)}, name, ((0,),), meta=np.empty(0))
    if session.retracing:
        return lost_array(name, counts)
    graph = session.executor.chunks([(name, at) for at in range(len(handles))], handles)
    return Array(graph, name, (tuple(counts),), meta=np.empty(0))


def as_branch(env: Any, cls: type[Agent]) -> Branch | None:
    """Return an environment as a step is given it, or raise a `UsageError`."""
    branch = Branch(env, (), "") if isinstance(env, Environment) else env
    if branch is not None and not isinstance(branch, Branch):
        raise UsageError(f"env is {env!r}; give an Environment, or a branch of one")
    if branch is not None and branch.by and branch.by not in cls.__fields__:
        raise UsageError(f"agents find their own by {branch.by!r}: {unknown_field(cls, branch.by)}")
    return branch


def hear(
    session: Session, members: Members, rows: NDArray[np.int64] | None, content: Any
) -> tuple[list[Any], str]:
    """Return what each addressed block hears, as a value or a handle, and a digest of it all."""
    indexes, counts, _ = members.address(rows)
    if isinstance(content, xr.Dataset):
        raise UsageError(
            f"the message is a Dataset with {', '.join(map(str, content.data_vars))}; send one"
            " variable of it, or one message after another"
        )
    if not indexes:
        return [], "to nobody"
    if isinstance(content, Array | np.ndarray):
        content = xr.DataArray(content, dims=[members.dim] if content.ndim == 1 else None)
    if isinstance(content, xr.DataArray):
        return _hear_array(session, members, rows, content, indexes, counts)
    if hasattr(content, "_said"):  # what a named agent will have said
        return [content._enter(session)] * len(indexes), f"message of {content.name}"
    message = said(content)
    sent = message if isinstance(message.content, _PLAIN) else Sealed(seal(message))
    return [sent] * len(indexes), digest_of(message)


def _hear_array(
    session: Session,
    members: Members,
    rows: NDArray[np.int64] | None,
    content: xr.DataArray,
    indexes: list[int],
    counts: list[int],
) -> tuple[list[Any], str]:
    lazy = isinstance(content.data, Array)
    if content.dims == ():
        if not lazy:
            message = said(content.item())
            return [message] * len(indexes), digest_of(message)
        (handle,) = session.lazies.carry(content.data)
        return [handle] * len(indexes), _lazy_digest(content.data)
    if content.dims != (members.dim,):
        if members.dim in content.dims:
            raise UsageError(
                f"a message per agent is an array over {members.dim!r} alone, not over"
                f" {content.dims}"
            )
        message = said(content.values)
        return [message] * len(indexes), digest_of(message)
    content = _aligned(content, members, rows)
    chunks = (tuple(counts),)
    if not lazy:
        values = content.values
        parts = [values[start:end] for start, end in pairwise(np.cumsum([0, *counts]))]
        return session.lazies.send(parts), digest_of(values)
    array = content.data
    if array.chunks != chunks:
        array = array.rechunk(chunks)
    return session.lazies.carry(array), _lazy_digest(array)


def _aligned(
    content: xr.DataArray, members: Members, rows: NDArray[np.int64] | None
) -> xr.DataArray:
    """Return one message per addressed agent, matched by id where the array has ids."""
    dim = members.dim
    ids = members.labels(rows)
    if dim not in content.indexes:
        if content.sizes[dim] != len(ids):
            raise UsageError(f"{content.sizes[dim]} messages were given for {len(ids)} agents")
        return content
    given = content.indexes[dim]
    if len(given) == len(ids) and (given == ids).all():
        return content
    if not given.is_unique:
        agent = given[given.duplicated()][0]
        raise UsageError(f"there are several messages for agent {agent}")
    missing = np.setdiff1d(ids, given)
    if len(missing):
        raise UsageError(
            f"there is no message for {len(missing)} of the {len(ids)} agents that are asked"
            f" (the first is agent {missing[0]})"
        )
    return content.sel({dim: ids})


def said(content: Any) -> Message:
    """Return what is said to all as a message; refuse what one agent could change for the others.

    NumPy's values become Python's, and lists tuples.
    """
    message = content if isinstance(content, Message) else Message(_plain(content))
    try:
        hash(message)
    except TypeError as error:
        raise UsageError(
            "a message is an immutable value (a number, bool, str, bytes, None, tuple or frozen"
            f" dataclass), and this {type(content).__name__} is or holds a mutable one ({error});"
            " send a tuple or a frozen dataclass"
        ) from None
    return message


def _plain(content: Any) -> Any:
    if type(content) in (list, tuple):
        return tuple(map(_plain, content))
    if hasattr(content, "_said") or is_dask_collection(content):
        raise UsageError(
            f"a {type(content).__name__} that is still computing cannot be a part of a message;"
            " send it alone, or read it first"
        )
    if isinstance(content, np.ndarray | np.generic | xr.DataArray):
        values = np.asarray(content).tolist()
        return _plain(values) if isinstance(values, list) else values
    return content


def _lazy_digest(array: Array) -> str:
    """Return a digest of how a lazy array is made, the same in each life of a run."""
    made = {_TOKEN.sub("", layer) for layer in array.dask.layers}
    made -= {"pick_reply", "pick_state"}
    return _hash(f"{sorted(made)} {array.dtype} {array.chunks}".encode())


def digest_of(value: Any) -> str:
    """Return a digest of what is said, the same in each life of a run."""
    if not isinstance(value, np.ndarray):
        return _hash(repr(value).encode())
    numbers = value.dtype.kind in "fiub"
    return _hash(value.tobytes() if numbers else repr(value.tolist()).encode())


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
