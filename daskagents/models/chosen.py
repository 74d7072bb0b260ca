"""Different models in one population: which one an agent asks follows from the agent."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Any

from daskagents.errors import UsageError
from daskagents.models.base import Answer, Model, Request, check_model


@dataclass(frozen=True)
class Chosen(Model):
    """Several models, of which each agent asks one: by a field of its own, or by a function of it.

    Parameters
    ----------
    by
        The name of a field, or a function of the agent.
    models
        The model for each value of the field, or for each value that the function returns; an Enum
        by its member or its name. None: the function returns the model itself.
    otherwise
        The model for all other values.

    Raises
    ------
    UsageError
        If there is no model to choose.

    Examples
    --------
    >>> import daskagents as da
    >>> from daskagents import models
    >>> class Voter(da.Agent):
    ...     education: str = ""
    ...
    ...     async def reply(self, message) -> str:
    ...         return (await self.chat("Well?")).text
    >>> careful, quick = models.Dummy(answer="Hm."), models.Dummy(answer="Yes!")
    >>> model = Chosen("education", {"phd": careful}, otherwise=quick)
    >>> voters = da.Population(Voter, {"education": ["phd", "school"]}, model=model)
    >>> voters.reply().values.tolist()
    ['Hm.', 'Yes!']
    """

    by: str | Callable[[Any], Any]
    models: Mapping[Any, Model] | tuple[tuple[Any, Model], ...] | None = None
    otherwise: Model | None = None
    _by_value: dict[Hashable, Model] = field(init=False, repr=False, compare=False)
    #: What is made of the models that a function returns.
    _changes: tuple[Callable[[Model], Model], ...] = field(init=False, repr=False, default=())

    def __post_init__(self) -> None:
        given = self.models.items() if isinstance(self.models, Mapping) else self.models or ()
        for _, model in given:
            check_model(model, "Chosen")
        if self.otherwise is not None:
            check_model(self.otherwise, "Chosen")
        if not given and (isinstance(self.by, str) or self.models is not None):
            raise UsageError(f"Chosen(by={self.by!r}) needs a model for each value, as a dict")
        if self.models is not None:
            object.__setattr__(self, "models", tuple(given))
        object.__setattr__(self, "_by_value", dict(given))

    def of(self, agent: Any) -> Model:
        """Return the model that an agent asks, as it is now.

        Raises
        ------
        UsageError
            If there is none for it.
        """
        value = getattr(agent, self.by) if isinstance(self.by, str) else self.by(agent)
        found = value if self.models is None else self._look_up(value)
        if isinstance(found, Model):
            for change in self._changes:
                check_model(found, "what a run does for its models")
                found = _changed(change, found)
            return found.of(agent)
        if self.models is None:
            raise UsageError(
                f"the function that chooses a model returned {type(found).__name__} {found!r:.80},"
                " not a model"
            )
        raise UsageError(self.lack(value))

    def _look_up(self, value: Any) -> Model | None:
        found = self._by_value.get(value)
        if found is None and isinstance(value, Enum):
            found = self._by_value.get(value.name)
        return found or self.otherwise

    def inside(self, change: Callable[[Model], Model]) -> Model:
        """Return the same choice among models that are changed, those of a function when asked."""
        other = copy.copy(self)
        given, otherwise = self.models, self.otherwise
        if given is None:
            object.__setattr__(other, "_changes", (*self._changes, change))
        else:
            pairs = given.items() if isinstance(given, Mapping) else given
            changed = {value: change(model) for value, model in pairs}
            object.__setattr__(other, "models", tuple(changed.items()))
            object.__setattr__(other, "_by_value", changed)
        if otherwise is not None:
            object.__setattr__(other, "otherwise", change(otherwise))
        return other

    def lack(self, value: Any) -> str:
        """Say that there is no model for a value."""
        what = self.by if isinstance(self.by, str) else "the function"
        known = ", ".join(map(repr, self._by_value))
        return (
            f"no model is given for {what} = {value!r}, only for {known}; add one, or otherwise=:"
            f" models.Chosen({self.by!r}, {{...}}, otherwise=model)"
        )

    def has(self, value: Any) -> bool:
        """Return whether there is a model for a value."""
        return self._look_up(value) is not None

    async def check(self) -> None:
        """Raise an `EndpointError` if one of the models that are known cannot answer at all."""
        for model in dict.fromkeys([*self._by_value.values(), self.otherwise]):
            if model is not None:
                await model.check()

    async def chat(self, request: Request) -> Answer:
        """Raise a `UsageError`: without an agent there is nothing to choose by."""
        raise UsageError(
            "which model is asked follows from the agent: give a Chosen model to a population,"
            " alone or within a wrapper"
        )


@lru_cache(1024)
def _changed(change: Callable[[Model], Model], model: Model) -> Model:
    """Return what a model is changed to; kept, for it is asked at each chat."""
    return change(model)


def as_model(given: Any) -> Model | None:
    """Return what a population was given as its model: a model, a dict or a function of the agent.

    Raises
    ------
    UsageError
        If it is none of these.

    Examples
    --------
    >>> from daskagents import models
    >>> as_model({"education": {"phd": models.Dummy()}}).by
    'education'
    """
    if given is None or isinstance(given, Model):
        return given
    if callable(given) and not isinstance(given, type):
        return Chosen(given)
    if isinstance(given, Mapping) and len(given) == 1:
        ((name, models),) = given.items()
        if isinstance(name, str) and isinstance(models, Mapping):
            return Chosen(name, models)
    shown = repr(given) if isinstance(given, str | int | float) else f"a {type(given).__name__}"
    raise UsageError(
        f"model is {shown}; give one of daskagents.models, a dict"
        " {'field': {value: model, ...}}, or a function of the agent that returns a model"
    )
