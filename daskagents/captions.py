"""What the variables are that every run has: their names in words, and their units."""

from __future__ import annotations

#: By name; a count has no unit.
_CAPTIONS: dict[str, dict[str, str]] = {
    "round": {"long_name": "round, counted from 0"},
    "failed": {"long_name": "whether the agent failed"},
    "n_failed": {"long_name": "failed replies"},
    "n_agents": {"long_name": "agents that are there"},
    "n_undelivered": {"long_name": "messages to agents that do not exist"},
    "calls": {"long_name": "answers of models"},
    "calls_by_model": {"long_name": "answers of each model"},
    "tokens_by_model": {"long_name": "prompts and answers of each model", "units": "tokens"},
    "prompt_tokens": {"long_name": "prompts", "units": "tokens"},
    "completion_tokens": {"long_name": "answers", "units": "tokens"},
    "cached_tokens": {"long_name": "prompts that endpoints had in their cache", "units": "tokens"},
    "retries": {"long_name": "requests that were sent again"},
    "cost": {"long_name": "cost, in the currency of the prices"},
    "cost_by_model": {"long_name": "cost of each model, in the currency of the prices"},
    "seconds": {"long_name": "time that the round took", "units": "s"},
    "seconds_waiting": {
        "long_name": "time that agents waited, all together",
        "units": "s",
    },
}
#: What every run says of each round.
OWN = frozenset(_CAPTIONS) - {"round"}


def caption_of(name: str, dims: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the attributes of a variable as xarray and its plots show them; none of a workflow's.

    Parameters
    ----------
    name
        The variable.
    dims
        Its dimensions: a population that has a name has a flag ``<name>_failed``.

    Examples
    --------
    >>> caption_of("seconds"), caption_of("guess")
    ({'long_name': 'time that the round took', 'units': 's'}, {})
    >>> caption_of("voters_failed", ("round", "voters"))
    {'long_name': 'whether the agent failed'}

    """
    if len(dims) == 2 and name == f"{dims[1]}_failed":
        name = "failed"
    return dict(_CAPTIONS.get(name, {}))
