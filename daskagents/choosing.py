"""Whether agents can choose their model by what they have: found out before anything starts."""

from __future__ import annotations

from daskagents.agent import Agent, unknown_field
from daskagents.errors import TableError, UsageError
from daskagents.models.base import Model, Wrapper
from daskagents.models.chosen import Chosen
from daskagents.scan import assigns
from daskagents.table import Table


def check_choice(cls: type[Agent], table: Table, model: Model) -> None:
    """Raise a `UsageError` if agents are to choose their model by what they do not have."""
    if isinstance(model, Wrapper):
        return check_choice(cls, table, model.inner)
    if not isinstance(model, Chosen) or not isinstance(model.by, str):
        return None
    name = model.by
    if name not in cls.__fields__ or name.startswith("_"):
        raise UsageError(f"a model cannot be chosen by {name!r}: {unknown_field(cls, name)}")
    declared = cls.__fields__[name]
    for value, _ in model.models or ():
        try:
            declared.from_array([value])
        except TableError:
            said = f"{cls.__name__}.{name} is never {value!r}: it is {declared.label}"
            raise UsageError(f"no agent chooses a model by this: {said}") from None
    if not assigns(cls, name):  # else an agent may have another value when it asks
        given = table.columns.get(name)
        for value in [declared.default] if given is None else set(declared.tolist(given)):
            if not model.has(value):
                raise UsageError(model.lack(value))
    return None
