"""What the server answers: a strategy and a request become a text, and how probable it was."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec

from daskagents.fake_server.chat import Chat
from daskagents.fake_server.distributions import Normal
from daskagents.fake_server.fitting import Fitting
from daskagents.fake_server.script import Choice, Echo, LevelK, Strategy

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_TOKEN = re.compile(r"\w+|\W+")


def text(strategy: str | Strategy | None, chat: Chat, draws: Iterator[float]) -> str:
    """Return the text of an answer.

    Parameters
    ----------
    strategy
        The text itself, or how it is made; None fits the schema, and is a number without one.
    chat
        The request.
    draws
        Uniform numbers in [0, 1).

    Raises
    ------
    ValueError
        If the request asks for a schema that is not known here.
    """
    if isinstance(strategy, str):
        return strategy
    if isinstance(strategy, Echo):
        return chat.messages[-1].text if chat.messages else ""
    number, choose = _number(strategy, chat, draws), None
    if isinstance(strategy, Choice):
        choose = partial(_choose, strategy, draws)
    if chat.guided_choice:
        return str(Fitting({"enum": chat.guided_choice}, draws, number, choose).fit())
    if (schema := chat.schema) is not None:
        return msgspec.json.encode(Fitting(schema, draws, number, choose).fit()).decode()
    if choose is not None:
        return choose(None)
    if number is not None:
        return f"{number():.2f}"
    return f"{100 * next(draws):.2f}"


def _number(
    strategy: Strategy | None, chat: Chat, draws: Iterator[float]
) -> Callable[[], float] | None:
    """Return what draws numbers; None where all that fit are alike."""
    if strategy is None or isinstance(strategy, Choice | Echo):
        return None
    if isinstance(strategy, LevelK):
        return partial(_guess, strategy, chat, draws)
    return partial(strategy.draw, draws)


def _guess(strategy: LevelK, chat: Chat, draws: Iterator[float]) -> float:
    """Return what a player of some level guesses."""
    told = _NUMBER.search(chat.messages[-1].text) if chat.messages else None
    anchor = float(told[0]) if told else strategy.start
    level = _pick(strategy.levels, next(draws))
    return Normal(anchor * strategy.ratio**level, strategy.sd).draw(draws)


def _choose(strategy: Choice, draws: Iterator[float], allowed: list[Any] | None) -> str:
    """Return one of the options that are allowed; of all where none is, or nothing is said."""
    shares = _shares(strategy, allowed)
    return list(shares)[_pick(tuple(shares.values()), next(draws))]


def _shares(strategy: Choice, allowed: list[Any] | None) -> dict[str, float]:
    """Return how probable each option is."""
    left = {k: v for k, v in strategy.options.items() if allowed is None or k in allowed}
    left = left or strategy.options
    whole = sum(left.values())
    return {name: share / whole for name, share in left.items()}


def _pick(shares: tuple[float, ...], draw: float) -> int:
    """Return which share of the whole a number in [0, 1) falls into."""
    left = draw * sum(shares)
    for place, share in enumerate(shares):
        left -= share
        if left < 0:
            return place
    return len(shares) - 1


def logprobs(
    strategy: str | Strategy | None, chat: Chat, said: str, draws: Iterator[float]
) -> dict[str, Any]:
    """Return the tokens of an answer, how probable each was, and what else it could have been.

    The options of a `Choice` are one token each, with their own probabilities. For other tokens
    both are made up.
    """
    options: dict[str, float] = {}
    if isinstance(strategy, Choice):
        options = _shares(strategy, chat.guided_choice)
    tokens = [said] if said in options else _TOKEN.findall(said)
    most = chat.top_logprobs or 0
    return {"content": [_token(token, options, most, next(draws)) for token in tokens]}


def _token(token: str, options: dict[str, float], most: int, draw: float) -> dict[str, Any]:
    """Return one token as the interface tells of it."""
    if token not in options:
        sure = 0.5 + draw / 2
        options = {token: sure} | {f"other{i}": (1 - sure) / 2**i for i in range(1, most)}
    likely = sorted(options.items(), key=lambda one: -one[1])[:most]
    return _said(token, options[token]) | {"top_logprobs": [_said(*one) for one in likely]}


def _said(token: str, share: float) -> dict[str, Any]:
    """Return a token with the logarithm of its probability, -9999 for none as with the vendors."""
    log = math.log(share) if share > 0 else -9999.0
    return {"token": token, "logprob": log, "bytes": list(token.encode())}
