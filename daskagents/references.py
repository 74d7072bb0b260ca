"""Classes and functions of the user's program, found again by where they were."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from daskagents.errors import UsageError
from daskagents.loading import import_file


def find(said: dict[str, str], what: str, cure: str, *, typed_in: bool = False) -> Any:
    """Find a class or a function by its module or its file, as `program.refer` names them.

    Parameters
    ----------
    said
        Its module, file and name.
    what, cure
        What an error calls it, and says to do.
    typed_in
        Whether what was typed into this program will do, as in a notebook.

    Raises
    ------
    UsageError
        If it is not there.
    """
    module, file, name = said["module"], said["file"], said["name"]
    try:
        main = typed_in and module == "__main__" and not file
        found: Any = sys.modules["__main__"] if main else _module(module, file)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        where = file or f"the module {module!r}"
        raise UsageError(f"{what}, {name}, cannot be found in {where} ({error}); {cure}") from None
    return found


def _module(name: str, file: str) -> Any:
    """Return a module: the running program where it is that, else by import or by its file."""
    main = sys.modules.get("__main__")
    if file and _is(main, file):
        return main
    for known in list(sys.modules.values()):
        if file and known.__name__ != "__main__" and _is(known, file):
            return known
    if name != "__main__":
        try:
            found = importlib.import_module(name)
        except ImportError:
            found = None
        if found is not None and (not file or _is(found, file)):
            return found
    if not file:
        raise ImportError("it was typed in, as in a notebook")
    if not Path(file).is_file():
        raise ImportError("there is no such file")
    return import_file(Path(file))


def _is(module: Any, file: str) -> bool:
    """Whether a module is of a file."""
    own = getattr(module, "__file__", None)
    return own is not None and str(Path(own).resolve()) == file
