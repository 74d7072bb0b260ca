"""How probable each of some options was, by what an endpoint tells of the tokens of its answer."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from itertools import chain

import msgspec

from daskagents.models.kinds import FIELD

#: How much of the probability may be unclear.
_UNCLEAR = 0.01
_END = re.compile(rb"[\s,}]")
_BEFORE = re.compile(rf'"{FIELD}"\s*:\s*'.encode())


class Likely(msgspec.Struct):
    """A token that could have stood in a place, and how probable it was."""

    token: str
    logprob: float
    octets: list[int] | None = msgspec.field(default=None, name="bytes")

    @property
    def raw(self) -> bytes:
        """The token as it is: one that is a part of a character has no text."""
        return self.token.encode() if self.octets is None else bytes(self.octets)


class Token(Likely):
    """A token of an answer, with those that could have stood in its place."""

    top_logprobs: list[Likely] | None = None


def odds(options: Sequence[str | int], tokens: Sequence[Token]) -> dict[str | int, float] | None:
    """Return how probable each option was, made to add up to 1.

    It is the chance of each option where nothing but the options may be said. They may be several
    tokens long: the tokens are followed for as long as some options begin alike. What is known of
    each place is what could have followed the tokens before it, so options must differ where they
    leave the answer's way: where two of them begin with the same token, and the answer was a third,
    nobody has said which of the two was meant. Nor is an option known that is not among the tokens
    told of its place, but that it was less probable than these.

    Parameters
    ----------
    options
        Texts or whole numbers.
    tokens
        All tokens of the answer, which is an option in its object or alone.

    Returns
    -------
    dict or None
        The probability of each option; None where more than a hundredth of it cannot be told.

    Examples
    --------
    >>> could = [Likely("yes", math.log(0.6)), Likely("no", math.log(0.2))]
    >>> found = odds(["yes", "no"], [Token("yes", -0.5, None, could)])
    >>> {option: round(p, 2) for option, p in found.items()}
    {'yes': 0.75, 'no': 0.25}
    """
    whole = b"".join(token.raw for token in tokens)
    found = _BEFORE.search(whole)
    start = found.end() if found else len(whole) - len(whole.lstrip())
    quoted = found is not None or whole[start : start + 1] == b'"'
    texts = {
        option: msgspec.json.encode(option) if quoted else str(option).encode()
        for option in options
    }
    if found is None and _is_open(texts.values()):
        return None
    shares, unclear = _follow(texts, tokens, start)
    total = sum(shares.values())
    if not total or unclear > _UNCLEAR * (total + unclear):
        return None
    return {option: shares[option] / total for option in options}


def _is_open(texts: Collection[bytes]) -> bool:
    """Tell whether one text begins another, so that only what follows could tell them apart."""
    return any(one != other and other.startswith(one) for one in texts for other in texts)


def _follow(
    texts: dict[str | int, bytes], tokens: Sequence[Token], start: int
) -> tuple[dict[str | int, float], float]:
    """Return the probability of each option, and how much could not be told apart."""
    shares = dict.fromkeys(texts, 0.0)
    unclear, left, place = 0.0, 1.0, 0
    for token in tokens:
        before, done = max(start - place, 0), max(place - start, 0)
        place += len(token.raw)
        if place <= start:
            continue
        lead = token.raw[:before]
        rests = {option: text[done:] for option, text in texts.items()}
        said = _meant(token.raw[before:], rests)
        weights, least = _weights(token, lead, rests)
        scale = left / (sum(weights.values()) or 1.0)
        for meant, weight in weights.items():
            if len(meant) == 1:
                shares[meant[0]] += scale * weight
            elif meant != said:
                unclear += scale * weight
        unclear += scale * least * len(texts.keys() - chain.from_iterable(weights))
        if len(said) < 2:
            return shares, unclear
        left, texts = scale * weights.get(said, 0.0), {option: texts[option] for option in said}
    return shares, unclear + left


def _weights(
    token: Token, lead: bytes, rests: dict[str | int, bytes]
) -> tuple[dict[tuple[str | int, ...], float], float]:
    """Return the probability of each set of options that a token in this place may mean.

    And that which no token has that is not told of.
    """
    likely = {token.raw: token.logprob}
    likely |= {other.raw: other.logprob for other in token.top_logprobs or ()}
    weights: dict[tuple[str | int, ...], float] = {}
    for text, logprob in likely.items():
        meant = _meant(text[len(lead) :], rests) if text.startswith(lead) else ()
        if meant:
            weights[meant] = weights.get(meant, 0.0) + _p(logprob)
    rest = 1.0 - sum(map(_p, likely.values()))
    return weights, min(_p(min(likely.values())), max(rest, 0.0))


def _p(logprob: float) -> float:
    """Return a probability; endpoints round."""
    return math.exp(min(logprob, 0.0))


def _meant(text: bytes, rests: dict[str | int, bytes]) -> tuple[str | int, ...]:
    """Return the options that a token may begin, or end."""
    if not text:
        return ()
    return tuple(option for option, rest in rests.items() if _fits(text, rest))


def _fits(text: bytes, rest: bytes) -> bool:
    """Tell whether a token is the beginning of the rest of an option, or that and no more word."""
    if len(text) <= len(rest):
        return rest.startswith(text)
    return text.startswith(rest) and _END.match(text, len(rest)) is not None
