"""Whether agents of a class may change a field: read from the code of its methods."""

from __future__ import annotations

import dis
import inspect
from itertools import pairwise
from types import CodeType

from daskagents.agent import Agent


def assigns(cls: type[Agent], name: str) -> bool:
    """Whether any method of a class may change a field."""
    functions = [f for base in cls.__mro__ if base is not Agent for f in vars(base).values()]
    codes = [f.__code__ for f in functions if inspect.isfunction(f) and f.__code__.co_varnames]
    return any(_may_store(code, code.co_varnames[0], name) for code in codes)


def _may_store(code: CodeType, agent: str, name: str) -> bool:
    """Whether code assigns an attribute, or hands the agent itself to where that is not seen."""
    steps = [i for i in dis.get_instructions(code) if i.opname not in ("COPY", "CACHE")]
    for this, following in pairwise(steps):
        if this.opname == "STORE_ATTR" and this.argval == name:
            return True
        if this.opname.endswith("_ATTR") and this.argval in ("__dict__", "__setattr__"):
            return True
        if _loads(code, this, agent) and not following.opname.endswith(("_ATTR", "_METHOD")):
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
