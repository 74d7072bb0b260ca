"""The default stack: what is put around models that are given bare."""

from __future__ import annotations

from functools import partial

from daskagents.models.adaptive import Adaptive
from daskagents.models.base import Model, Wrapper
from daskagents.models.budget import Budget, Budgeted
from daskagents.models.chosen import Chosen
from daskagents.models.coalesce import Coalesce
from daskagents.models.pool import Pool
from daskagents.models.retry import Retry
from daskagents.usage import Usage

#: The name under which all models of a run share its budget.
_RUN = "run"
#: How often a model of somebody else's that asks over a network is asked again.
_RETRIES = 31


def stack(model: Model, budget: Budget | None = None, spent: Usage | None = None) -> Model:
    """Return a model with what the default stack puts around it, where that is missing.

    From the outside to the inside: `Coalesce`, where a model asks for it
    (``OpenAI(coalesce=True)``); `Retry`; and around each model that asks over a network `Adaptive`,
    named for its endpoint, and `Budgeted`, where there is a budget. What a model has around it
    already is left as it is, so that your own choice counts. `run` does this with each model that
    it is given; a model that asks nobody is left alone, but for a budget.

    Parameters
    ----------
    model
        Any model.
    budget
        What all models of a run may spend together; None is without limit.
    spent
        What was spent of it before.

    Returns
    -------
    Model

    Examples
    --------
    >>> from daskagents import models
    >>> vendor = models.OpenAI("m", base_url="http://127.0.0.1:8000/v1")
    >>> made = stack(vendor)
    >>> type(made).__name__, type(made.inner).__name__, made.inner.inner == vendor
    ('Retry', 'Adaptive', True)
    >>> stack(models.Dummy()) == models.Dummy()
    True
    """
    if isinstance(model, Chosen):
        return model.inside(partial(stack, budget=budget, spent=spent))
    limited = _limited(model, budget, spent, adapts=False)
    return _coalesced(_retried(limited))


def _limited(model: Model, budget: Budget | None, spent: Usage | None, *, adapts: bool) -> Model:
    """Put limits around the models that are put around nothing themselves."""
    adapts = adapts or isinstance(model, Adaptive)
    if isinstance(model, Chosen | Pool | Wrapper):
        return model.inside(partial(_limited, budget=budget, spent=spent, adapts=adapts))
    name = " ".join(str(getattr(model, part, "")) for part in ("base_url", "model")).strip()
    limited = model
    if budget is not None:
        limited = Budgeted(model, budget, spent=spent or Usage(), name=_RUN)
    return Adaptive(limited, name=name) if model.remote and not adapts else limited


def _retried(model: Model) -> Model:
    """Have tried again what may pass, unless it is already."""
    if isinstance(model, Coalesce):
        return model.inside(_retried)
    tries = [getattr(end, "retries", _RETRIES) + 1 for end in _ends(model) if end.remote]
    if max(tries, default=1) == 1 or any(isinstance(one, Retry) for one in _all(model)):
        return model
    return Retry(model, tries=max(tries))


def _coalesced(model: Model) -> Model:
    """Make one request of many that are the same where a model asks for it."""
    wanted = any(getattr(end, "coalesce", False) for end in _ends(model))
    done = any(isinstance(one, Coalesce) for one in _all(model))
    return Coalesce(model) if wanted and not done else model


def _all(model: Model) -> list[Model]:
    """Return a model and all that it is put around, as far as that is known."""
    found = [model]

    def note(one: Model) -> Model:
        found.extend(_all(one))
        return one

    model.inside(note)
    return found


def _ends(model: Model) -> list[Model]:
    """Return the models that are put around nothing."""
    return [one for one in _all(model) if not isinstance(one, Chosen | Pool | Wrapper)]
