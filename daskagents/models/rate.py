"""A model that is asked so often a minute, whatever the number of workers."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Any

from daskagents.errors import UsageError
from daskagents.models.base import Answer, Keeper, Request
from daskagents.models.gate import Gate, Gated, account_name
from daskagents.usage import Usage

#: Characters of a token, about; tokens of an answer, before the first came.
_PER_TOKEN, _ANSWER = 4, 64
#: By how much an answer changes what is thought of the next, at least.
_NEWS = 0.05
#: Words to the keeper for which a gate has leave in store.
_AHEAD = 2.0

#: Requests, and tokens.
Amounts = tuple[float, float]
#: Tokens of a prompt, and answers to it.
Need = tuple[float, int]


@dataclass(frozen=True)
class RateLimit(Gated):
    """Asks another model at most so often a minute, and for so many tokens: all workers together.

    In no minute are there more requests than that; they flow evenly, with at most a second's worth
    of them at once. What a call will take in tokens is guessed from its text and from the answers
    so far, and corrected when its answer is there.

    Parameters
    ----------
    inner
        The model that is asked.
    requests_per_minute, tokens_per_minute
        What the endpoint allows; None is without limit. Tokens are those of prompts and answers.
    name
        Wrappers of the same name and limits share these; by default, those of equal models do.

    Raises
    ------
    UsageError
        If no limit is given, or one that is below 1.

    Examples
    --------
    >>> import asyncio
    >>> from daskagents import Message, models
    >>> model = RateLimit(models.Dummy(answer="Hi."), requests_per_minute=600)
    >>> asyncio.run(model.chat(Request((Message("Hello"),)))).text
    'Hi.'
    """

    requests_per_minute: float | None = field(default=None, kw_only=True)
    tokens_per_minute: float | None = field(default=None, kw_only=True)
    name: str = field(default="", kw_only=True)
    account: str = field(init=False, repr=False, compare=False, default="")

    def __post_init__(self) -> None:
        limits = (self.requests_per_minute, self.tokens_per_minute)
        if limits == (None, None) or not all(limit is None or limit >= 1 for limit in limits):
            raise UsageError(
                f"requests_per_minute={limits[0]}, tokens_per_minute={limits[1]}: give one of"
                " them, or both, as numbers of at least 1"
            )
        object.__setattr__(self, "account", account_name("rate", self.name, self.inner, *limits))

    def _open(self, keeper: Keeper) -> Gate:
        limits = [self.requests_per_minute, self.tokens_per_minute]
        return RateGate("rate", limits, self.account, keeper)


class RateGate(Gate):
    """Lets calls through as long as there are requests and tokens left."""

    def __init__(self, *about: Any) -> None:
        super().__init__(*about)
        terms: list[float | None] = about[1]
        self._none = [0.0 if most is not None else inf for most in terms]
        self._most = inf if terms[1] is None else terms[1]
        self._have, self._used = list(self._none), [0.0, 0.0]
        self._told, self._low = [0.0, 0.0], 0.0
        self._answer, self._heard = float(_ANSWER), 0

    def need(self, request: Request, n: int) -> Need:
        """Return about how many tokens the prompt has, and how many answers there will be."""
        return sum(len(turn.text) for turn in request.messages) / _PER_TOKEN, n

    def _amounts(self, need: Need) -> Amounts:
        """Return one request, and the tokens that it will take, going by the answers so far."""
        return 1.0, need[0] + need[1] * self._answer

    def _admit(self, need: Need) -> Amounts | None:
        requests, tokens = self._have
        amounts = self._amounts(need)
        if requests < 1 or tokens < min(amounts[1], self._most):
            return None
        self._take(amounts, 1)
        if requests <= self._low:
            self._soon.set()
        return amounts

    def _take(self, amounts: Amounts, sign: int) -> None:
        self._use(sign * amounts[0], sign * amounts[1])
        self.flying += sign

    def _use(self, requests: float, tokens: float) -> None:
        have, used = self._have, self._used
        have[0] -= requests
        have[1] -= tokens
        used[0] += requests
        used[1] += tokens

    def _undo(self, taken: Amounts) -> None:
        self._take(taken, -1)

    def leave(
        self, taken: Amounts, usage: Usage | Answer | None, error: BaseException | None
    ) -> None:
        """Correct what was guessed of a call; where nobody knows better, it stands."""
        self.flying -= 1
        if usage is None:
            return
        more = usage.tokens - taken[1] if usage.tokens else 0.0
        self._use(max(0, usage.calls + usage.retries - 1), more)
        if usage.completion_tokens:
            self._heard += 1
            news = max(_NEWS, 1 / self._heard)
            self._answer += news * (usage.completion_tokens - self._answer)
        self.let_in()

    def _report(self, *, bye: bool) -> dict[str, Any]:
        head = self.head()
        if bye or head is not None:  # what is too little here may be enough for another
            self._have = list(self._none)
        need = [0.0, 0.0] if head is None else list(self._amounts(head))
        want = [0.0, 0.0]
        for i, amount in enumerate(need):
            expected = 0.0 if bye else _AHEAD * max(0.0, self._used[i] - self._told[i])
            if self._have[i] == inf:
                need[i] = 0.0
                continue
            wanted, have = amount * len(self._line) + expected, max(0.0, self._have[i])
            want[i], self._have[i] = max(0.0, wanted - have), min(have, wanted)
        self._low = max(0.0, self._used[0] - self._told[0]) / 2
        self._told = list(self._used)
        left = [0.0 if amount == inf else amount for amount in self._have]
        return {"have": left, "used": self._told, "need": need, "want": want}

    def _receive(self, told: dict[str, Any]) -> None:
        granted = told["granted"]
        self._have = [have + more for have, more in zip(self._have, granted, strict=True)]
