"""Workflows: generator functions, what they take, and where they stand."""

from __future__ import annotations

import difflib
import functools
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from daskagents.agent import Agent
from daskagents.errors import WorkflowError
from daskagents.models.describe import is_secret
from daskagents.named import Named
from daskagents.options import hints_of
from daskagents.population import Population

#: A generator function: each yield ends a round.
Workflow = Callable[..., Iterator[Any]]

_PLAIN = (bool, int, float, str)
_SEVERAL = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


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
            f"give the function itself: da.run({name}, ...), and not {name}(...)"
            if inspect.isgenerator(workflow)
            else "write `yield` where a round ends: yield players.reply(...)"
        )
        raise WorkflowError(f"{name} is no generator function, and so no workflow; {hint}")
    own = function_of(workflow)
    signature = inspect.signature(workflow)
    for option in options:
        if option not in signature.parameters and not _takes_any(signature):
            raise WorkflowError(_no_parameter(own, option, list(signature.parameters)))
    try:
        bound = signature.bind(*args, **options)
    except TypeError as error:
        raise WorkflowError(f"{own.__name__}{signature}: {error}") from None
    bound.apply_defaults()
    for name, annotation in hints_of(own).items():
        parameter = signature.parameters.get(name)
        if parameter is not None and parameter.kind not in _SEVERAL:
            bound.arguments[name] = _fit(own, name, annotation, bound.arguments[name])
    return bound


def function_of(workflow: Workflow) -> Any:
    """Return the function that a workflow is, without what has been filled in already."""
    while isinstance(workflow, functools.partial):
        workflow = workflow.func
    return workflow


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
    if annotation not in _PLAIN:
        return value
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, annotation) and (annotation is bool or not isinstance(value, bool)):
        return value
    if annotation is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    raise WorkflowError(
        f"{workflow.__name__}: {name} is {annotation.__name__}, and {value!r} is"
        f" {type(value).__name__}"
    )


def describe_workflow(workflow: Workflow, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return what is needed to find a workflow again, and what it is called with."""
    function = function_of(workflow)
    source = inspect.getsourcefile(function)
    try:
        digest = hashlib.blake2b(inspect.getsource(function).encode(), digest_size=16).hexdigest()
    except OSError:
        digest = ""
    return {
        "name": function.__qualname__,
        "module": function.__module__,
        "file": str(Path(source).absolute()) if source else "",
        "digest": digest,
        "parameters": {
            name: "***" if is_secret(name, value) else plain(value)
            for name, value in arguments.items()
            if is_plain(value)
        },
        "program": sys.argv[0] if sys.argv else "",
    }


def is_plain(value: Any) -> bool:
    """Whether a value can be written down as it is."""
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(k, str) and is_plain(v) for k, v in value.items())
    return value is None or isinstance(value, (*_PLAIN, np.bool_, np.number))


def plain(value: Any) -> Any:
    """Return a value of numbers and texts as JSON has it."""
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value.item() if isinstance(value, np.generic) else value
