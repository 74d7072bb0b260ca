"""What code may do with an agent or an environment, as far as can be seen without running it."""

from __future__ import annotations

import dis
import inspect
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from types import CodeType
from typing import Any

from daskagents.agent import Agent
from daskagents.environments.base import Environment


def assigns(cls: type[Any], name: str) -> bool:
    """Whether any method of a class may change a field."""
    return any(_may_store(code, code.co_varnames[0], name) for code in _methods(cls))


def names_used(cls: type[Any], through: str = "") -> frozenset[str] | None:
    """Return the names of all attributes that methods of a class mention; None if nobody knows.

    Parameters
    ----------
    cls
        The class.
    through
        An attribute of ``self`` that is looked at, as ``"env"``; empty for ``self`` itself.

    Examples
    --------
    >>> class Trader(Agent):
    ...     def reply(self, message):
    ...         return self.env.price
    >>> sorted(names_used(Trader, "env"))
    ['env', 'price']
    """
    known: Any = cls  # a class has a hash, whatever mypy makes of its type
    return _names_used(known, through)


@lru_cache(128)
def _names_used(cls: Any, through: str) -> frozenset[str] | None:
    found: set[str] = set()
    for code in _methods(cls):
        steps = list(_instructions(code))
        if _escapes(code, steps, code.co_varnames[0], through):
            return None
        found |= _attributes(code)
    return frozenset(found)


def mentions(cls: type[Any], name: str) -> bool:
    """Whether the code of a class, or of functions that it calls by name, mentions an attribute.

    Examples
    --------
    >>> class Quiet(Agent):
    ...     def reply(self, message):
    ...         return print(self)
    >>> mentions(Quiet, "send")
    False
    """
    known: Any = cls  # a class has a hash, whatever mypy makes of its type
    return _mentions(known, name)


@lru_cache(128)
def _mentions(cls: Any, name: str) -> bool:
    waiting: list[Any] = [
        function
        for base in cls.__mro__
        if base not in (Agent, Environment, object)
        for function in vars(base).values()
    ]
    seen: set[int] = set()
    while waiting:
        function = waiting.pop()
        if isinstance(function, type) and not function.__module__.startswith("daskagents."):
            waiting += vars(function).values()
        function = getattr(function, "__func__", getattr(function, "fget", function))
        if not inspect.isfunction(function) or id(function) in seen:
            continue
        seen.add(id(function))
        code, scope = function.__code__, function.__globals__
        if name in _attributes(code) or name in code.co_consts:
            return True
        for used in _names(code):
            value = scope.get(used)
            waiting += vars(value).values() if _is_own_module(value) else [value]
        waiting += [cell.cell_contents for cell in function.__closure__ or () if _is_full(cell)]
    return False


def _names(code: CodeType) -> set[str]:
    """Return the global names that code uses, of functions within too."""
    found = set(code.co_names)
    return found.union(*(_names(c) for c in code.co_consts if isinstance(c, CodeType)))


def _is_own_module(value: Any) -> bool:
    """Whether a value is a module that is not installed: the user's own."""
    file = getattr(value, "__file__", None) if inspect.ismodule(value) else None
    return bool(file) and "site-packages" not in str(file) and "/lib/python" not in str(file)


def _is_full(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # a name that has no value yet
        return False


def _methods(cls: type[Any]) -> Iterator[CodeType]:
    """Yield the code of the methods of a class that take an instance."""
    for base in cls.__mro__:
        if base in (Agent, Environment, object):
            continue
        for function in vars(base).values():
            if inspect.isfunction(function) and function.__code__.co_varnames:
                yield function.__code__


def _instructions(code: CodeType) -> Iterator[dis.Instruction]:
    return (i for i in dis.get_instructions(code) if i.opname not in ("COPY", "CACHE"))


def _attributes(code: CodeType) -> set[str]:
    """Return the names of all attributes that code mentions, those of functions within too."""
    names = {i.argval for i in _instructions(code) if i.opname.endswith(("_ATTR", "_METHOD"))}
    return names.union(*(_attributes(c) for c in code.co_consts if isinstance(c, CodeType)))


def _escapes(code: CodeType, steps: list[dis.Instruction], variable: str, through: str) -> bool:
    """Whether an object, or what is seen through it, is handed to where that is not seen."""
    for this, following in pairwise(steps):
        seen = this.opname.startswith("LOAD") and this.argval == through
        if not _reads(following) and (_loads(code, this, variable) or (through and seen)):
            return True
    inner = [c for c in code.co_consts if isinstance(c, CodeType)]
    return any(_escapes(c, list(_instructions(c)), variable, through) for c in inner)


def _reads(step: dis.Instruction) -> bool:
    return step.opname.endswith(("_ATTR", "_METHOD"))


def _may_store(code: CodeType, agent: str, name: str) -> bool:
    """Whether code assigns an attribute, or hands the agent itself to where that is not seen."""
    for this, following in pairwise(_instructions(code)):
        if this.opname == "STORE_ATTR" and this.argval == name:
            return True
        if this.opname.endswith("_ATTR") and this.argval in ("__dict__", "__setattr__"):
            return True
        if _loads(code, this, agent) and not _reads(following):
            return True
    return any(_may_store(c, agent, name) for c in code.co_consts if isinstance(c, CodeType))


def _loads(code: CodeType, this: dis.Instruction, variable: str) -> bool:
    """Whether an instruction loads the value of a variable."""
    if variable in (*code.co_cellvars, *code.co_freevars):  # else it is loaded for a closure
        return "DEREF" in this.opname and "LOAD" in this.opname and this.argval == variable
    loaded = this.argval if isinstance(this.argval, tuple) else (this.argval,)
    if this.opname.startswith("STORE_FAST_LOAD"):
        loaded = loaded[1:]
    return this.opname.startswith(("LOAD_FAST", "STORE_FAST_LOAD")) and variable in loaded
