"""How the server is to behave: what crosses from the test to the server's process."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from daskagents.fake_server.distributions import Distribution

Share: TypeAlias = Annotated[float, Meta(ge=0)]
Count: TypeAlias = Annotated[int, Meta(ge=1)]
Speed: TypeAlias = Annotated[float, Meta(gt=0)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0)]

#: Faults besides an HTTP status, and what each is.
FAULTS = {
    "malformed": "a body that is no JSON",
    "nonsense": "a text that fits no schema",
    "misfit": "a JSON object that fits no schema",
    "empty": "no choices",
    "refusal": "a refusal, and no content",
    "length": "a text cut in half, as when the tokens ran out",
    "hang": "no answer, ever",
    "slow": "an answer that comes `seconds` later",
    "drip": "an answer that comes in small pieces, over `seconds`",
    "stall": "half of an answer, and then nothing",
    "truncated": "half of an answer, and the end of the connection",
    "torn": "half of an answer, and a reset of the connection",
    "reset": "a reset of the connection instead of an answer",
}


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A fault, and which chats have it: those that fit all that is given.

    Parameters
    ----------
    what
        An HTTP status, or the name of a fault, as for `daskagents.testing.model_server`.
    rate
        The probability of it. The draw depends on the seed, on the body of the request, and on
        how often this body came before: not on the order in which requests arrive.
    every
        Every how many-th of the chats that fit otherwise; 1: all.
    first
        Only so many of the chats that fit otherwise, the first; None: no end.
    tries
        Only the first so many times that the same body comes: ``tries=1`` fails each request
        once. None: always.
    between
        Only from so many seconds to so many seconds after the server began, or after its faults
        were changed.
    text
        Only requests with this text in the body or the headers.
    seconds
        How long ``"slow"`` and ``"drip"`` take.
    retry_after
        Seconds that an answer of this status asks to wait; None: as the server's other ones.
    as_date
        Whether it says so by a date, which has no fractions of a second.

    Examples
    --------
    >>> Fault(what=503, between=(2, 5)).what
    503
    """

    what: int | str
    rate: Annotated[float, Meta(ge=0, le=1)] = 1.0
    every: Count = 1
    first: Count | None = None
    tries: Count | None = None
    between: tuple[Seconds, Seconds] | None = None
    text: str = ""
    seconds: Seconds = 30.0
    retry_after: Seconds | None = None
    as_date: bool = False


class Echo(msgspec.Struct, frozen=True, tag=True):
    """Answer what was said last, as it was said, whatever schema is asked for."""


class Choice(msgspec.Struct, frozen=True, tag=True):
    """Answer one of a few texts; the request's logprobs tell how probable each is.

    Parameters
    ----------
    options
        The texts and how probable they are, in any unit. A request that allows only some texts
        (an enum in its schema) gets one of these.
    """

    options: Annotated[dict[str, Share], Meta(min_length=1)]


class LevelK(msgspec.Struct, frozen=True, tag=True):
    """Guess as people do in a beauty contest: a few steps ahead of what was told.

    A player of level k answers ``anchor * ratio ** k``, with normal noise. The anchor is the first
    number of the last message, and `start` where it has none.

    Parameters
    ----------
    levels
        The shares of players at level 0, 1, 2, ..., in any unit.
    ratio
        What the game multiplies the average with.
    start
        The anchor before anything is known.
    sd
        The standard deviation of the noise.
    """

    levels: Annotated[tuple[Share, ...], Meta(min_length=1)] = (0.2, 0.4, 0.3, 0.1)
    ratio: float = 2 / 3
    start: float = 50.0
    sd: Share = 3.0


Strategy: TypeAlias = Distribution | Echo | Choice | LevelK


class Limits(msgspec.Struct, frozen=True):
    """How much the server lets through; what is over it gets status 429, and when to come again.

    Allowances refill all the time, as with the vendors. At most `window` seconds' worth is saved
    up. What got another answer than a completion is not counted.

    Parameters
    ----------
    requests, tokens
        Per minute; tokens of prompts and completions together. None: no limit.
    window
        Seconds.
    """

    requests: Speed | None = None
    tokens: Speed | None = None
    window: Speed = 60.0


class Batching(msgspec.Struct, frozen=True):
    """How many answers are written at a time, and how fast: continuous batching, as vLLM has it.

    A request waits for a slot, first come, first served; one for n choices takes n. Prompts are
    read one after another, but for what the prefix cache has. Then each slot writes at the same
    speed, however many there are. So throughput grows with the requests in flight until all slots
    are taken; from then on latency grows.

    Parameters
    ----------
    slots
        Answers at a time.
    prompt_speed
        Tokens of prompts that are read per second, in all.
    answer_speed
        Tokens that are written per second, in each slot.
    queue
        Requests that may wait; what comes then gets status 503. None: no end.
    """

    slots: Count = 16
    prompt_speed: Speed = 10_000.0
    answer_speed: Speed = 50.0
    queue: Annotated[int, Meta(ge=0)] | None = None


class PrefixCache(msgspec.Struct, frozen=True):
    """What the server keeps of prompts: the beginning of one that was seen costs no time.

    Parameters
    ----------
    tokens
        Tokens that are kept; then the longest unused go.
    block
        Tokens that are kept as one; only whole blocks are found again. 1 finds each token.
    """

    tokens: Count = 1_000_000
    block: Count = 16


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """How the server is to behave; its parts are those of `daskagents.testing.model_server`."""

    latency: Seconds | Distribution = 0.0
    answer: str | Strategy | None = None
    faults: tuple[Fault, ...] = ()
    retry_after: Seconds | None = None
    api_key: str | None = None
    models: tuple[str, ...] | None = ("test",)
    seed: int = 0
    vary: bool = False
    limits: Limits | None = None
    batching: Batching | None = None
    cache: PrefixCache | None = None
    reasoning: Annotated[int, Meta(ge=0)] = 0
    most_choices: Count = 128
    refuse: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    paused: bool = False
