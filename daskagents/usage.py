"""What models were asked, and what it cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Usage:
    """What models were asked, and what it cost.

    Parameters
    ----------
    calls
        Requests that a model answered.
    prompt_tokens, completion_tokens
        As the endpoints counted them.
    cached_tokens
        Of the prompt tokens, those that an endpoint had in its cache.
    retries
        Requests that failed and were sent again.
    cost
        In the currency of the prices; NaN where a price is not known.
    waited
        Seconds that agents waited before they were let through, or tried again.

    Examples
    --------
    >>> (Usage(1, 20, 5, cost=0.25) + Usage(1, 30, 5, cost=0.5)).cost
    0.75
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    retries: int = 0
    cost: float = 0.0
    waited: float = 0.0

    @property
    def tokens(self) -> int:
        """Tokens of the prompts and the completions together."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
            self.retries + other.retries,
            self.cost + other.cost,
            self.waited + other.waited,
        )


#: The names of the parts.
NAMES = tuple(field.name for field in fields(Usage))


class Tally:
    """Adds up usage by model and endpoint.

    Examples
    --------
    >>> tally = Tally()
    >>> tally.add("small", "http://127.0.0.1/v1", Usage(1, 20, 5))
    >>> tally.add("small", "http://127.0.0.1/v1", Usage(1, 30, 5))
    >>> tally.total.prompt_tokens, list(tally)[0][:2]
    (50, ('small', 'http://127.0.0.1/v1'))
    """

    def __init__(self, parts: Iterable[tuple[str, str, Usage]] = ()) -> None:
        self._sums: dict[tuple[str, str], list[Any]] = {}
        for model, endpoint, usage in parts:
            self.add(model, endpoint, usage)

    def add(self, model: str, endpoint: str, asked: Any) -> None:
        """Add a `Usage`, or an answer, which has its parts; names in full, for it is called often.

        Parameters
        ----------
        model, endpoint
            Who answered; empty where nobody says.
        asked
            What has the attributes of a `Usage`.
        """
        sums = self._sums.get((model, endpoint))
        if sums is None:
            sums = self._sums[model, endpoint] = [0, 0, 0, 0, 0, 0.0, 0.0]
        sums[0] += asked.calls
        sums[1] += asked.prompt_tokens
        sums[2] += asked.completion_tokens
        sums[3] += asked.cached_tokens
        sums[4] += asked.retries
        sums[5] += asked.cost
        sums[6] += asked.waited

    def __iter__(self) -> Iterator[tuple[str, str, Usage]]:
        """Yield model, endpoint and what they took."""
        for (model, endpoint), sums in self._sums.items():
            yield model, endpoint, Usage(*sums)

    @property
    def total(self) -> Usage:
        """What all took together."""
        return sum((usage for _, _, usage in self), Usage())

    def plain(self) -> list[list[Any]]:
        """Return it as msgpack and JSON know it; `read_tally` reads it."""
        return [[model, endpoint, *astuple(usage)] for model, endpoint, usage in self]


def read_tally(plain: Iterable[Iterable[Any]]) -> Tally:
    """Return the tally that `Tally.plain` was taken from."""
    return Tally((model, endpoint, Usage(*numbers)) for model, endpoint, *numbers in plain)
