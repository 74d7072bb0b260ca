"""What a shell may complete: the parameters of a workflow, read without running its file."""

from __future__ import annotations

import ast
from pathlib import Path

from daskagents.loading import split_target


def option_names(target: str) -> list[str]:
    """Return the parameters that ``-p`` sets: those of a workflow, and of what makes populations.

    Parameters
    ----------
    target
        ``"path/to/game.py"`` or ``"path/to/game.py:name"``.

    Returns
    -------
    list of str
        In order; none if the file cannot be read, or it is not clear which workflow is meant.

    Examples
    --------
    >>> option_names("no_such_file.py")
    []

    """
    path, name = split_target(target)
    file = Path(path).expanduser()
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return []
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    public = [node for own, node in functions.items() if not own.startswith("_")]
    workflows = {node.name: node for node in public if _yields(node)}
    only = next(iter(workflows.values())) if len(workflows) == 1 else None
    chosen = functions.get(name) if name else only or workflows.get(file.stem)
    if chosen is None:
        return []
    found = dict.fromkeys(_parameters(chosen))
    for maker in public:
        if not _yields(maker) and _makes_population(maker):
            found |= dict.fromkeys(name for name in _parameters(maker) if name != "agents")
    return list(found)


def _parameters(function: ast.FunctionDef) -> list[str]:
    taken = function.args
    return [arg.arg for arg in (*taken.posonlyargs, *taken.args, *taken.kwonlyargs)]


def _yields(function: ast.FunctionDef) -> bool:
    return any(isinstance(node, ast.Yield | ast.YieldFrom) for node in ast.walk(function))


def _makes_population(function: ast.FunctionDef) -> bool:
    said = "" if function.returns is None else ast.unparse(function.returns)
    return said.strip("'\"").rpartition(".")[2] == "Population"
