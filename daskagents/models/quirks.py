"""What an endpoint was found not to take for one model, so that it is not sent again."""

from __future__ import annotations

import logging
import re
from typing import Any

from daskagents.errors import ModelError

_log = logging.getLogger("daskagents.models")

_LOGPROBS = ("logprobs", "top_logprobs")
#: Sampling that may be left out; what is sent in its place, if anything.
_SPARED: dict[str, str | None] = {
    "max_tokens": "max_completion_tokens",
    **dict.fromkeys(
        "temperature top_p top_k min_p presence_penalty frequency_penalty repetition_penalty"
        " logit_bias seed stop max_completion_tokens".split(),
        None,
    ),
    **dict.fromkeys(_LOGPROBS),
}
#: Statuses by which a request is refused for what it holds.
REFUSALS = frozenset({400, 422, 500, 501})
#: How endpoints say that they do not know a parameter, as against a value that is out of bounds.
_UNKNOWN = re.compile(
    r"unsupported|n[o']t support|only the default|unrecogni[sz]ed|unknown|unexpected"
    r"|not permitted|not allowed|not available|deprecated",
    re.IGNORECASE,
)
#: How chat templates say that they do not take the turns as they are.
_TURNS = re.compile(
    r"roles must alternate|system (message|role|prompt)s? (must|should|is|are|not|can)"
    r"|only user(,| and) assistant",
    re.IGNORECASE,
)


class Quirks:
    """What an endpoint was found not to take for one model.

    Parameters
    ----------
    where
        The endpoint and the model, as shown in the log.

    Examples
    --------
    >>> quirks, body = Quirks("o1 at http://it/v1"), {"messages": [], "temperature": 0.5}
    >>> error = ModelError("Unsupported value: 'temperature' does not support 0.5")
    >>> error.status = 400
    >>> quirks.learn(error, body), quirks.adapt(body)
    (True, {'messages': []})
    """

    def __init__(self, where: str) -> None:
        #: Whether several answers to one request are refused.
        self.alone = False
        #: How often in a row several were asked for and there was an error that may pass.
        self.strikes = 0
        self._where = where
        self._spared: dict[str, str | None] = {}
        self._fold = 0
        self._said: set[str] = set()

    def say(self, what: str) -> None:
        """Log something about this endpoint and model, once."""
        if what not in self._said:
            self._said.add(what)
            _log.warning("%s %s", self._where, what)

    def adapt(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the body of a request without what is known to be refused."""
        for name, other in self._spared.items():
            if name in body:
                value = body.pop(name)
                if other is not None and self._spared.get(other, other) is not None:
                    body.setdefault(other, value)
        if self._fold:
            body["messages"] = _folded(body["messages"], self._fold)
        return body

    def learn(self, error: ModelError, body: dict[str, Any]) -> bool:
        """Return whether a request that was refused is worth sending again, adapted anew."""
        if getattr(error, "status", 0) not in REFUSALS:
            return False
        told = str(error)
        if _TURNS.search(told):
            return self._learn_to_fold(body["messages"])
        unknown = _UNKNOWN.search(told) is not None
        for name in _SPARED:
            # Of logprobs, endpoints take fewer than asked for, or none: both mean to do without.
            worth = unknown or name in _LOGPROBS
            if worth and name in body and re.search(rf"\b{name}\b", told):
                for spared in _LOGPROBS if name in _LOGPROBS else (name,):
                    self._spare(spared)
                return True
        return False

    def _spare(self, name: str) -> None:
        other = _SPARED[name]
        self._spared[name] = other
        instead = f"{other} is sent in its place" if other else "it is left out from now on"
        self.say(f"does not take {name}: {instead}")

    def _learn_to_fold(self, said: list[dict[str, str]]) -> bool:
        for fold in (1, 2):
            if _folded(said, fold) != said:
                self._fold = max(self._fold, fold)
                first = " and at the beginning" if self._fold == 2 else ""
                self.say(
                    f"takes turns in its own order only: system messages after others{first}"
                    " become the user's, and turns of one speaker become one"
                )
                return True
        return False


def _folded(said: list[dict[str, str]], fold: int) -> list[dict[str, str]]:
    """Return turns in which speakers alternate, and none but the first is the system's.

    With `fold` 2 that is the user's as well.
    """
    turns: list[dict[str, str]] = []
    for turn in said:
        role = "user" if turn["role"] == "system" and (turns or fold == 2) else turn["role"]
        if turns and turns[-1]["role"] == role:
            turns[-1] = {"role": role, "content": f"{turns[-1]['content']}\n\n{turn['content']}"}
        else:
            turns.append({"role": role, "content": turn["content"]})
    return turns
