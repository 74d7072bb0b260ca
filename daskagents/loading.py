"""Workflow files: found by path, and loaded."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
import types
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle

from daskagents.errors import UsageError, WorkflowError
from daskagents.options import did_you_mean

if TYPE_CHECKING:
    from daskagents.workflow import Workflow


@dataclass(frozen=True)
class Program:
    """A workflow, and the file that it was found in."""

    file: Path
    module: types.ModuleType
    workflow: Workflow

    def line_of(self, error: BaseException) -> str:
        """Return the place in the file where an error came up: ``"game.py:7: "``, or nothing."""
        return _line_of(error, self.file)


def load(target: str) -> Program:
    """Load a workflow from its file.

    The file's folder becomes part of the path that modules are looked for in. What the file, and
    others of its folder that it imports, define goes to the workers with each use, so that it
    need not be installed there.

    Parameters
    ----------
    target
        ``"path/to/game.py"``, or ``"path/to/game.py:name"`` where the file has several
        workflows; without a name, the one that is called like the file, or the only one.

    Raises
    ------
    UsageError
        If there is no such file, it cannot be imported, or it has no such workflow; with the
        file and the line.

    Examples
    --------
    >>> load("no_such_file.py")
    Traceback (most recent call last):
    daskagents.errors.UsageError: no_such_file.py: there is no such file

    """
    path, name = split_target(target)
    file = Path(path).expanduser()
    if not file.is_file():
        what = "is a folder; give the .py file in it" if file.is_dir() else "there is no such file"
        near = did_you_mean(file.name, (p.name for p in file.parent.glob("*.py")))
        raise UsageError(f"{path}: {what}{near}")
    file = file.resolve()
    module = import_file(file)
    return Program(file, module, _pick(module, file, name))


def split_target(target: str) -> tuple[str, str]:
    """Split ``path.py:name``; the name may be missing.

    Examples
    --------
    >>> split_target("game.py:play"), split_target("game.py")
    (('game.py', 'play'), ('game.py', ''))

    """
    path, colon, name = target.rpartition(":")
    return (path, name) if colon and name.isidentifier() else (target, "")


def import_file(file: Path) -> types.ModuleType:
    """Import a file as a module called like it."""
    name, folder = file.stem, str(file.parent)
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) != str(file):
        raise UsageError(f"{file}: there is a module {name!r} already; rename the file")
    spec = importlib.util.spec_from_file_location(name, file)
    if file.suffix != ".py" or spec is None or spec.loader is None:
        raise UsageError(f"{file} is no Python file; a workflow stands in a .py file")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise UsageError(_why(error, file)) from error
    for found in list(sys.modules.values()):
        if Path(getattr(found, "__file__", None) or "/").parent == file.parent:
            cloudpickle.register_pickle_by_value(found)
            _resolve(found)
    return module


def _resolve(module: types.ModuleType) -> None:
    """Turn annotations of dataclasses that are texts into types.

    A class that arrives on a worker by value has no module there to look names up in.
    """
    for cls in vars(module).values():
        if isinstance(cls, type) and is_dataclass(cls) and cls.__module__ == module.__name__:
            try:
                cls.__annotations__ = inspect.get_annotations(cls, eval_str=True)
            except NameError:  # a name that only a type checker knows: no schema can use it
                continue


def _why(error: BaseException, file: Path) -> str:
    """Say why a file could not be imported, and where."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}: {type(error).__name__}: {error.msg}"
    if isinstance(error, SystemExit):
        problem = 'ends the program; put what it does under `if __name__ == "__main__":`'
    else:
        problem = f"{type(error).__name__}: {error}"
    return f"{_line_of(error, file) or f'{file}: '}{problem}"


def _line_of(error: BaseException, file: Path) -> str:
    """Return the last line of a file that an error passed, as ``"file:line: "``."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(file)]
    return f"{file}:{lines[-1]}: " if lines else ""


def _pick(module: types.ModuleType, file: Path, name: str) -> Workflow:
    """Return the workflow of a name, the one that is called like the file, or the only one."""
    functions = own(module, inspect.isfunction)
    found = {n: f for n, f in functions.items() if inspect.isgeneratorfunction(f)}
    if name:
        if name not in functions:
            there = ", ".join(found) or "none at all"
            near = did_you_mean(name, found)
            raise UsageError(f"{file}: there is no workflow {name!r}; there is {there}{near}")
        return functions[name]  # type: ignore[no-any-return]
    if len(found) == 1:
        return next(iter(found.values()))  # type: ignore[no-any-return]
    if file.stem in (found or functions):  # what is no generator is refused later, with the reason
        return functions[file.stem]  # type: ignore[no-any-return]
    if found:
        raise UsageError(f"{file} has several workflows: {', '.join(found)}; add :NAME to the path")
    raise WorkflowError(
        f"{file} has no workflow; write a generator function, with a `yield` where a round ends:"
        " def game(players): yield players.reply()"
    )


def own(module: types.ModuleType, test: Callable[[Any], bool]) -> dict[str, Any]:
    """Return what a module itself defines and does not hide, by name and in order."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and test(value)
        and getattr(value, "__module__", None) == module.__name__
    }
