"""The program of a run, written down so that it can be found again: its files, and what they name.

Nothing is pickled. Classes and functions are written as where they are found; populations and
models as what they were made with; plain values as they are.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from hashlib import blake2b
from inspect import isfunction
from pathlib import Path
from sysconfig import get_paths
from typing import Any

from daskagents.columns import Column, Texts
from daskagents.environments.base import Environment, start_of
from daskagents.environments.describing import classes_in, describe_tree, digest
from daskagents.environments.tree import tree_of
from daskagents.errors import UsageError
from daskagents.models.base import Model
from daskagents.models.describe import is_secret, without_secrets
from daskagents.named import Named
from daskagents.population import Population
from daskagents.workflow import Workflow, function_of, is_plain, plain

#: Lines of a difference that an error shows.
_SHOWN = 40
#: Parameters of a workflow that may differ when it goes on.
_FREE = frozenset({"rounds"})


def describe_program(
    folder: Path, workflow: Workflow, arguments: Mapping[str, Any], model: Model | None = None
) -> dict[str, Any]:
    """Return what is needed to find a program again, and keep a copy of its files.

    Parameters
    ----------
    folder
        The run directory.
    workflow, arguments
        What is run.
    model
        What its agents ask.
    """
    populations: dict[str, Any] = {}
    worlds: dict[str, Any] = {}
    said = {name: _describe(value, name, populations, worlds) for name, value in arguments.items()}
    files = sorted(set(_files(workflow, populations, worlds)))
    asked = [model, *(one.pop("model_itself") for one in populations.values())]
    for one in (*populations.values(), *worlds.values()):
        del one["same"]
    return {
        "workflow": refer(function_of(workflow)),
        "arguments": said,
        "populations": populations,
        "environments": worlds,
        "files": {str(path): _keep(folder, path, asked) for path in files},
    }


def refer(thing: Any) -> dict[str, str]:
    """Return where a class or a function is found: its module and name, and its file.

    What is installed has no file here: elsewhere it may be in another place.
    """
    module = getattr(thing, "__module__", "")
    file = getattr(sys.modules.get(module), "__file__", None)
    own = file is not None and _is_own(Path(file).resolve())
    return {
        "module": module,
        "file": str(Path(file).resolve()) if file and own else "",
        "name": getattr(thing, "__qualname__", ""),
    }


def _describe(
    value: Any, place: str, populations: dict[str, Any], worlds: dict[str, Any]
) -> dict[str, Any]:
    """Return one argument as JSON has it."""
    if isinstance(value, Environment):
        return {"environment": _world(value, place, worlds)}
    if isinstance(value, Population):
        key = _population(value._whole, place, populations)
        rows = None if value._rows is None else value._rows.tolist()
        return {"population": key, "rows": rows}
    if isinstance(value, Named):
        return {"named": _population(value._population, place, populations)}
    if is_secret(place.rpartition("[")[2].strip("]'"), value):
        return {"missing": "key"}
    if is_plain(value) and not isinstance(value, list | tuple | dict):
        return {"value": plain(value)}
    if isinstance(value, list | tuple):
        inside = [_describe(v, f"{place}[{i}]", populations, worlds) for i, v in enumerate(value)]
        return {"list" if isinstance(value, list) else "tuple": inside}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        found = {k: _describe(v, f"{place}[{k!r}]", populations, worlds) for k, v in value.items()}
        return {"dict": found}
    return describe_value(value)


def _population(population: Population, place: str, populations: dict[str, Any]) -> str:
    """Describe a population, once; return its key: the place among the arguments it came first."""
    for key, known in populations.items():
        if known["same"] == id(population):
            return key
    columns = population.table.columns
    digest = blake2b(digest_size=16)
    for name, column in columns.items():
        digest.update(name.encode())
        for data in _values(column):
            digest.update(data)
    populations[place] = {
        "same": id(population),
        "model_itself": population.model,
        "class": refer(population.cls),
        "name": population.name,
        "dim": population.dim,
        "bounds": [0, int(population.bounds[1]), int(population.bounds[-1])],
        "block_size": population.block_size,
        "columns": list(columns),
        "digest": digest.hexdigest(),
        "model": None if population.model is None else describe_value(population.model),
    }
    return place


def _world(env: Environment, place: str, worlds: dict[str, Any]) -> str:
    """Describe an environment, once; return its key: the place among the arguments."""
    for key, known in worlds.items():
        if known["same"] == id(env):
            return key
    start = start_of(env)
    worlds[place] = {
        "same": id(env),
        "tree": describe_tree(tree_of(start), refer),
        "digest": digest(start),
    }
    return place


def _values(column: Column) -> Iterator[bytes]:
    """Yield what a column holds, whatever form it has: block by block it may have another."""
    if isinstance(column, Texts):
        yield column.lengths().tobytes()
        yield b"".join(column.rows())
    else:
        yield from (array.tobytes() for name, array in column.arrays().items() if name != "mask")
    if column.mask is not None and column.mask.any():
        yield column.mask.tobytes()


def describe_value(value: Any) -> dict[str, Any]:
    """Return a model, or a part of one, as what it was made with; never a key.

    Examples
    --------
    >>> from daskagents import models
    >>> describe_value(models.Dummy(0.5, "yes"))["made_with"]["answer"]
    {'value': 'yes'}
    >>> describe_value(lambda: 1)
    {'missing': 'function <lambda>'}
    """
    if is_plain(value):
        return {"value": plain(value)}
    if isinstance(value, tuple):
        return {"tuple": [describe_value(inner) for inner in value]}
    if isinstance(value, Enum):
        return {"enum": refer(type(value)), "member": value.name}
    if isfunction(value) or isinstance(value, type):
        name = value.__qualname__
        return {"missing": f"function {name}"} if "<" in name else {"found": refer(value)}
    made_with = _made_with(value)
    if made_with is None:
        return {"missing": type(value).__qualname__}
    inside = {name: describe_value(inner) for name, inner in made_with.items()}
    return {"class": refer(type(value)), "made_with": inside}


def _made_with(value: Any) -> dict[str, Any] | None:
    """Return the arguments that a model, or a part of it, is made with; None if nobody knows."""
    if not type(value).__module__.startswith("daskagents."):
        return None  # what others hold is not known, and may be a key
    if isinstance(value, Model) and hasattr(value, "made_with"):
        found: dict[str, Any] = value.made_with()
        return found
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in fields(value) if f.init and f.repr}
    return None


def _files(
    workflow: Workflow, populations: Mapping[str, Any], worlds: Mapping[str, Any]
) -> Iterator[Path]:
    """Yield the user's files: those of what is run, and others of their folders that are loaded."""
    found = [refer(function_of(workflow)), *(one["class"] for one in populations.values())]
    found += [each for one in worlds.values() for each in classes_in(one["tree"])]
    own = {Path(one["file"]) for one in found if one["file"]}
    folders = {path.parent for path in own}
    yield from own
    loaded = [getattr(module, "__file__", None) or "/" for module in list(sys.modules.values())]
    # thousands of files in few folders: a Path for each would take longer than all else here
    near = {name for name in set(map(os.path.dirname, loaded)) if Path(name) in folders}
    for file in loaded:
        if file.endswith(".py") and os.path.dirname(file) in near:  # noqa: PTH120
            yield Path(file).resolve()


def _is_own(path: Path) -> bool:
    """Whether a file is the user's own, and not of an installed package."""
    installed = [Path(get_paths()[name]) for name in ("stdlib", "purelib", "platlib")]
    return not any(folder in path.parents for folder in [*installed, Path(__file__).parent])


def _keep(folder: Path, path: Path, models: Any) -> dict[str, str]:
    """Keep a copy of a file; return its digest and where the copy is."""
    data = path.read_bytes()
    digest = blake2b(data, digest_size=8).hexdigest()
    copy = folder / "program" / f"{path.stem}-{digest}.py"
    if not copy.exists():
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(without_secrets(data, models))
    return {"digest": digest, "copy": copy.name}


def check_program(
    about: Mapping[str, Any], folder: Path, now: Mapping[str, Any], seed: int, accept: bool
) -> None:
    """Raise a `UsageError` if a run is to go on with another program than it had.

    Parameters
    ----------
    about
        What ``run.json`` says.
    folder
        The run directory.
    now
        What `describe_program` says of the program that is to go on.
    seed
        Its seed.
    accept
        Whether to go on all the same, as far as that makes sense: with other agents it does not.
    """
    before = about["program"]
    wrong: list[str] = []
    for key, old in before["populations"].items():
        new = now["populations"].get(key)
        for part in ("digest", "bounds") if new else ():
            if old[part] != new[part]:
                what = {"digest": "the columns", "bounds": "the number or blocks"}[part]
                wrong.append(f"{what} of the population {key!r} differ")
    for key, old in before.get("environments", {}).items():
        if old["digest"] != now["environments"].get(key, old)["digest"]:
            wrong.append(f"the values of the environment {key!r} differ")
    if wrong:
        raise UsageError(
            f"{folder} was run with other agents: {'; '.join(wrong)}; give the same, or start anew"
            " in another folder"
        )
    if accept:
        return
    if about.get("seed") != seed:
        wrong.append(f"the seed was {about.get('seed')} and is {seed}")
    for part in ("module", "name"):
        old, new = before["workflow"][part], now["workflow"][part]
        if old != new and "__main__" not in (old, new):
            wrong.append(f"the workflow's {part} was {old!r} and is {new!r}")
    for name in sorted({*before["arguments"], *now["arguments"]} - _FREE):
        old, new = before["arguments"].get(name), now["arguments"].get(name)
        if old != new and not (old and "missing" in old):
            wrong.append(f"the argument {name!r} was {_short(old)} and is {_short(new)}")
    diffs = [_difference(folder, path, kept, now) for path, kept in before["files"].items()]
    wrong += [f"a file has changed:\n{diff}" for diff in diffs if diff]
    if wrong:
        raise UsageError(
            f"{folder} was run with something else: {'; '.join(wrong)}\nGo on all the same with"
            " accept_changes=True (--accept-changes), or start anew in another folder"
        )


def _difference(folder: Path, path: str, kept: Mapping[str, str], now: Mapping[str, Any]) -> str:
    """Return how a file differs from what it was; nothing if it does not."""
    new = now["files"].get(path)
    if new is None or new["digest"] == kept["digest"]:
        return ""
    old, changed = (
        (folder / "program" / one["copy"]).read_text(encoding="utf-8").splitlines()
        for one in (kept, new)
    )
    lines = list(difflib.unified_diff(old, changed, f"{path} (then)", f"{path} (now)", lineterm=""))
    more = [f"... {len(lines) - _SHOWN} more lines"] if len(lines) > _SHOWN else []
    return "\n".join([*lines[:_SHOWN], *more])


def _short(node: Any) -> str:
    if isinstance(node, dict) and "value" in node:
        return repr(node["value"])
    return "missing" if node is None else str(node)
