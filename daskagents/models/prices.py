"""What models cost: a table of prices, and what was taken in its currency."""

from __future__ import annotations

import ipaddress
import logging
import math
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from daskagents.errors import UsageError
from daskagents.usage import Usage

if TYPE_CHECKING:
    from daskagents.models.base import Answer

_log = logging.getLogger("daskagents")

#: What a vendor adds to a name to mean one version of the model.
_DATED = re.compile(r"[-@](\d{4}-\d{2}-\d{2}|\d{8}|latest)$")


@dataclass(frozen=True, kw_only=True)
class Price:
    """What a model costs, in US dollars (or any other currency) per million tokens.

    Parameters
    ----------
    prompt, completion
        Of a million tokens of each.
    cached
        Of a million tokens of the prompt that the endpoint had in its cache; by default as much as
        others.
    source, date
        Where and when the price was read.

    Raises
    ------
    UsageError
        If a price is no number from 0 up.

    Examples
    --------
    >>> Price(prompt=2.5, cached=1.25, completion=10).of(Usage(1, 1000, 200, cached_tokens=400))
    0.004
    """

    prompt: float
    completion: float
    cached: float | None = None
    source: str = ""
    date: str = ""

    def __post_init__(self) -> None:
        for number in (self.prompt, self.completion, self.cached or 0.0):
            if not isinstance(number, int | float) or not 0 <= number < math.inf:
                raise UsageError(f"{self}: a price is a number from 0 up, per million tokens")

    def of(self, usage: Usage | Answer) -> float:
        """Return what was taken at this price; NaN if the endpoint did not count its tokens."""
        if usage.calls and not usage.prompt_tokens:
            return 0.0 if self.prompt == self.completion == 0 else math.nan
        cached = self.prompt if self.cached is None else self.cached
        fresh = usage.prompt_tokens - usage.cached_tokens
        parts = fresh * self.prompt, usage.cached_tokens * cached
        return (math.fsum(parts) + usage.completion_tokens * self.completion) / 1e6


def cost_of(model: str, usage: Usage | Answer, price: Price | None = None) -> float:
    """Return what was taken from a model, in the currency of the prices.

    Parameters
    ----------
    model
        Its name, as asked for or as the endpoint calls it.
    usage
        What was taken.
    price
        Its price; by default that of the table in the package.

    Returns
    -------
    float
        NaN where the price is not known, which is logged once for each model.

    Examples
    --------
    >>> cost_of("gpt-4o", Usage(1, 1_000_000, 0))
    2.5
    """
    if not usage.calls and not usage.tokens:
        return 0.0
    price = price or price_of(model)
    if price is None:
        _say_unknown(model)
        return math.nan
    return price.of(usage)


@lru_cache(4096)
def price_of(model: str) -> Price | None:
    """Return the price of a model from the table in the package; None if it is not there.

    It is found by its name, without a provider's before it and without a date behind it. No other
    likeness counts: a wrong price is worse than none.

    Examples
    --------
    >>> price_of("openai/gpt-4o-2024-08-06") == price_of("gpt-4o")
    True
    >>> price_of("gpt-4o-audio-preview") is None
    True
    """
    table, providers = _table()
    name = model.strip().lower()
    while True:
        for known in (name, _DATED.sub("", name)):
            if known in table:
                return table[known]
        provider, slash, rest = name.partition("/")
        if not slash or provider not in providers:
            return None
        name = rest


@lru_cache(1024)
def is_free(endpoint: str) -> bool:
    """Return whether asking an endpoint costs nothing: it is on this machine, or there is none.

    Parameters
    ----------
    endpoint
        Its base URL; empty where nobody is asked, as by a `Dummy`.

    Examples
    --------
    >>> is_free("http://127.0.0.1:8000/v1"), is_free("https://api.openai.com/v1"), is_free("")
    (True, False, True)
    """
    if not endpoint:
        return True
    host = urlsplit(endpoint).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


@lru_cache(1)
def _table() -> tuple[dict[str, Price], frozenset[str]]:
    """Return the table in the package, and the names of providers; read when first asked for."""
    import yaml

    file = resources.files("daskagents.models") / "prices.yaml"
    read: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    prices = {
        str(name).lower(): Price(**{**entry, "date": str(entry["date"])})
        for name, entry in read["models"].items()
    }
    return prices, frozenset(read["providers"])


@lru_cache(4096)
def _say_unknown(model: str) -> None:
    _log.warning(
        "the price of %r is not known, so that costs are NaN; give price=Price(prompt=...,"
        " completion=...), per million tokens",
        model,
    )
