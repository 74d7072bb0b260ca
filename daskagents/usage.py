"""What models were asked, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass, fields


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
        return Usage(*(getattr(self, name) + getattr(other, name) for name in NAMES))


#: The names of the parts.
NAMES = tuple(field.name for field in fields(Usage))
