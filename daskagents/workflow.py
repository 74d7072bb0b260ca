"""Workflows: generator functions, what they take, and where they stand."""

from __future__ import annotations

import difflib
import hashlib
import inspect
import sys
import typing
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from daskagents.agent import Agent
from daskagents.errors import WorkflowError
from daskagents.named import Named
from daskagents.population import Population

#: A generator function: each yield ends a round.
Workflow = Callable[..., Generator[Any, Any, Any]]

_PLAIN = (bool, int, float, str)


def bind(workflow: Workflow, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Fit arguments to a workflow's parameters.

    Raises
    ------
    WorkflowError
        If the workflow is no generator function, a parameter does not exist, is missing, or is
        annotated with another type; with the parameters there are.

    """
    if not inspect.isgeneratorfunction(workflow):
        name = getattr(workflow, "__name__", repr(workflow))
        hint = (
            "call it without parentheses"
            if inspect.isgenerator(workflow)
            else ("write `yield` where a round ends: yield players.reply(...)")
        )
        raise WorkflowError(f"{name} is no generator function, and so no workflow; {hint}")
    signature = inspect.signature(workflow)
    for option in options:
        if option not in signature.parameters and not _takes_any(signature):
            raise WorkflowError(_no_parameter(workflow, option, list(signature.parameters)))
    try:
        bound = signature.bind(*args, **options)
    except TypeError as error:
        raise WorkflowError(f"{workflow.__name__}{signature}: {error}") from None
    bound.apply_defaults()
    for name, annotation in hints(workflow).items():
        if name in bound.arguments:
            bound.arguments[name] = _fit(workflow, name, annotation, bound.arguments[name])
    return bound


def hints(workflow: Workflow) -> dict[str, Any]:
    """Return the annotations of a workflow's parameters, as far as they can be read."""
    try:
        found = typing.get_type_hints(workflow)
    except NameError:
        return {}
    return {name: hint for name, hint in found.items() if name != "return"}


def _takes_any(signature: inspect.Signature) -> bool:
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values())


def _no_parameter(workflow: Workflow, option: str, known: list[str]) -> str:
    close = difflib.get_close_matches(option, known, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{workflow.__name__} has no parameter {option!r} (it has {', '.join(known)}){hint}"


def _fit(workflow: Workflow, name: str, annotation: Any, value: Any) -> Any:
    """Check a value against a plain annotation; an int serves where a float is asked for."""
    if isinstance(annotation, type) and issubclass(annotation, Agent):
        if not isinstance(value, Population | Named):
            raise WorkflowError(
                f"{workflow.__name__}: {name} is a population of {annotation.__name__}, not"
                f" {value!r}; give da.Population({annotation.__name__}, ...)"
            )
        return value
    if annotation not in _PLAIN or type(value) is annotation:
        return value
    if annotation is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    raise WorkflowError(
        f"{workflow.__name__}: {name} is {annotation.__name__}, and {value!r} is"
        f" {type(value).__name__}"
    )


def describe_workflow(workflow: Workflow, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return what is needed to find a workflow again, and what it is called with."""
    source = inspect.getsourcefile(workflow)
    try:
        digest = hashlib.blake2b(inspect.getsource(workflow).encode(), digest_size=16).hexdigest()
    except OSError:
        digest = ""
    plain = {n: v for n, v in arguments.items() if v is None or isinstance(v, _PLAIN)}
    return {
        "name": workflow.__qualname__,
        "module": workflow.__module__,
        "file": str(Path(source).absolute()) if source else "",
        "digest": digest,
        "parameters": plain,
        "program": sys.argv[0] if sys.argv else "",
    }
