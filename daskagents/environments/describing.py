"""Environments as a run directory describes them: to be found again, and to be read without."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path as File
from typing import Any

import msgspec
import numpy as np
import xarray as xr

from daskagents.columns import Plain, from_arrays
from daskagents.environments import files
from daskagents.environments.advance import Realm
from daskagents.environments.base import Environment, Path
from daskagents.environments.files import Version
from daskagents.environments.tree import Tree, flatten, grow, tree_of
from daskagents.errors import UsageError
from daskagents.events import read_events


def describe_tree(tree: Tree, refer: Callable[[Any], dict[str, str]]) -> dict[str, Any]:
    """Return what an environment is made of, as JSON has it."""
    inner: dict[str, Any] = {}
    for name, one in tree.inner.items():
        if isinstance(one, Tree):
            inner[name] = {"one": describe_tree(one, refer)}
        else:
            inner[name] = {"many": [[key, describe_tree(t, refer)] for key, t in one.items()]}
    return {"class": refer(tree.cls), "inner": inner}


def classes_in(node: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return where the classes are found that a described environment is made of."""
    found = [node["class"]]
    for one in node["inner"].values():
        nodes = [one["one"]] if "one" in one else [inner for _, inner in one["many"]]
        found += [each for inner in nodes for each in classes_in(inner)]
    return found


def read_tree(node: Mapping[str, Any], find: Callable[[dict[str, str]], Any]) -> Tree:
    """Return what `describe_tree` described."""
    inner: dict[str, Any] = {}
    for name, one in node["inner"].items():
        if "one" in one:
            inner[name] = read_tree(one["one"], find)
        else:
            inner[name] = {key: read_tree(each, find) for key, each in one["many"]}
    return Tree(find(node["class"]), inner)


def digest(env: Environment) -> str:
    """Return a digest of the values that an environment begins with."""
    data = files.encode(tree_of(env), Version(0, -1, flatten(env)))
    return blake2b(data, digest_size=16).hexdigest()


def read_start(tree: Tree, folder: File) -> Environment:
    """Return an environment as it was at the start of a run."""
    values = dict(files.read(tree, files.path_of(folder, 0)).values)
    for file in sorted(folder.glob("array-000000-*")):
        values |= files.read(tree, file).values
    return grow(tree, values, "")


def describe_realm(realm: Realm) -> dict[str, Any]:
    """Say what an environment is, for ``run.json``."""
    cls = realm.tree.cls
    leaves = {
        json.dumps(path): "array" if declared.field is None else declared.field.label
        for path, declared in realm.tree.leaves()
    }
    return {
        "class": cls.__qualname__,
        "module": cls.__module__,
        "fields": leaves,
        "growing": [json.dumps(path) for path in realm.growing],
    }


def open_environment(folder: File, about: Mapping[str, Any], where: File) -> xr.Dataset:
    """Read all versions of an environment.

    Parameters
    ----------
    folder
        The run directory.
    about
        What ``run.json`` says of the environment.
    where
        The folder of its versions.

    Returns
    -------
    xarray.Dataset
        Over ``version``, with the round and step that each was made in; fields that grow over
        ``<field>_entry``, with the version that each entry came in.
    """
    kinds = {tuple(json.loads(path)): label for path, label in about["fields"].items()}
    growing = {tuple(json.loads(path)) for path in about["growing"]}
    found = [files.load_parts(path) for path in sorted(where.glob("[0-9]" * 6))]
    if not found:
        raise UsageError(f"{where} holds no version yet")
    rounds = {
        event["step"]: event["round"]
        for event in read_events(folder / "events.jsonl")
        if event["event"] == "step"
    }
    steps = [step for _, step, _ in found]
    coords: dict[str, Any] = {
        "version": [number for number, _, _ in found],
        "step": ("version", steps),
        "round": ("version", [rounds.get(step, -1) for step in steps]),
    }
    variables: dict[str, Any] = {}
    for path, label in kinds.items():
        name = ".".join(map(str, path))
        each = [_plain(parts[path], label) if path in parts else None for _, _, parts in found]
        if path in growing:
            dim = f"{name}_entry"
            lengths = [len(one or ()) for one in each]
            variables[name] = dim, entries(tuple(v for one in each for v in one or ()))
            coords[f"{name}_version"] = dim, np.repeat(coords["version"], lengths)
        elif any(one is None for one in each):
            last = [one for one in each if one is not None] or [_last_array(where, folder, path)]
            variables[name] = _dims(name, last[-1].ndim), last[-1]
        else:
            variables[name] = _stack(name, each)
    return xr.Dataset(variables, coords)


def _stack(name: str, each: list[Any]) -> tuple[Any, ...]:
    """Return the values of a field in all versions as a variable."""
    if isinstance(each[0], np.ndarray):
        return ("version", *_dims(name, each[0].ndim)), np.stack(each)
    lengths = {len(one) if isinstance(one, tuple) else -1 for one in each}
    numbers = all(isinstance(v, int | float) for one in each if isinstance(one, tuple) for v in one)
    if len(lengths) == 1 and min(lengths) > 0 and numbers:
        return ("version", f"{name}_bin"), np.array(each)
    return "version", entries(tuple(each))


def _dims(name: str, ndim: int) -> tuple[str, ...]:
    return tuple(f"{name}_{axis}" for axis in range(ndim))


def _last_array(where: File, folder: File, path: Path) -> Any:
    """Return a large array as it was written last: with a checkpoint, or from a workflow."""
    name = files.part_name(path)
    kept = sorted(where.glob(f"array-*-{name}"))
    kept += sorted((folder / "checkpoints").glob(f"*/{where.name}/{name}"))
    return _plain(files.load_parts(kept[-1])[2][path], "array")


def _plain(arrays: Mapping[str, Any], label: str) -> Any:
    """Return a value without its class: dataclasses as tuples, members of Enums by their names."""
    if label == "array":
        return arrays["array"]
    column = from_arrays(arrays)
    if column.mask is not None and bool(column.mask[0]):
        return None
    if isinstance(column, Plain):
        return column.values[0].item()
    (data,) = column.rows()
    if label.removesuffix(" | None") == "str":
        return data.decode()
    return _tuples(msgspec.msgpack.decode(data))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def entries(value: tuple[Any, ...]) -> Any:
    """Return a tuple as an array of one dimension: of numbers or texts where it is of these.

    Examples
    --------
    >>> entries(("a", "b"))
    array(['a', 'b'], dtype=StringDType())
    """
    types = set(map(type, value))
    if types and types <= {float, int, bool}:
        return np.array(value)
    if types <= {str}:
        return np.array(value, np.dtypes.StringDType())
    found = np.empty(len(value), object)
    found[:] = value
    return found
