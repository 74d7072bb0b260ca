"""A wrapper that tries again what may pass."""

from __future__ import annotations

import asyncio
import math
import random
import time
from dataclasses import dataclass

from daskagents.errors import ModelError, UsageError
from daskagents.models.base import Answer, Request, Wrapper
from daskagents.models.several import Several
from daskagents.usage import Usage

#: Not the agents' random numbers, nor those that a program may have seeded.
_chance = random.SystemRandom()


@dataclass(frozen=True)
class Retry(Wrapper):
    """Tries again what may pass, after a pause.

    Errors that may pass say so (`ModelError.passing`): status 408, 409, 429 or from 500 up, no
    connection, no answer in time. Nothing else is tried again.

    Parameters
    ----------
    inner
        The model that is asked.
    tries
        How often a request is sent, the first time included.
    longest
        Seconds after the first try in which others may begin. One that is under way is not cut
        off: that is for the time-outs of the model.
    pause
        Seconds that the first pause lasts at most; each further one may last twice as long. How
        long it does is left to chance, so that not all come back at once. Where the endpoint asks
        for a time (Retry-After), that comes before it.
    longest_pause
        Seconds that no pause exceeds but for a Retry-After.

    Raises
    ------
    UsageError
        If there would be no try, or a time is not above 0.

    Examples
    --------
    >>> from daskagents import Message, models
    >>> from daskagents.errors import EndpointError
    >>> tries = iter([EndpointError("busy"), EndpointError("busy"), "Good day."])
    >>> def moody(request, rng):
    ...     said = next(tries)
    ...     if isinstance(said, EndpointError):
    ...         said.passing = True
    ...         raise said
    ...     return said
    >>> model = Retry(models.Dummy(answer=moody), pause=0.01)
    >>> answer = asyncio.run(model.chat(models.Request((Message("Well?"),))))
    >>> answer.text, answer.retries
    ('Good day.', 2)
    """

    tries: int = 32
    longest: float = 600.0
    pause: float = 0.5
    longest_pause: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        times = self.longest, self.pause, self.longest_pause
        if self.tries < 1 or not all(seconds > 0 for seconds in times):
            raise UsageError(f"{self}: give at least one try, and times above 0")

    async def chat(self, request: Request) -> Answer:
        """Ask the inner model until it answers, or fails for good.

        Raises
        ------
        ModelError
            The last one, with what all tries took, if it cannot pass or was tried often enough.
        """
        begun = time.monotonic()
        try:
            return await self.inner.chat(request)
        except ModelError as error:
            several = Several(request, 1)
            problem = several.failed(error)
        (answer,) = await self._insist(several, problem, begun)
        assert isinstance(answer, Answer)
        return answer

    async def chat_many(self, request: Request, n: int) -> list[Answer | ModelError]:
        """Ask the inner model for many answers, and again for those that failed in passing."""
        begun = time.monotonic()
        several = Several(request, n)
        return await self._insist(several, await several.ask(self.inner), begun)

    async def _insist(
        self, several: Several, problem: ModelError | None, begun: float
    ) -> list[Answer | ModelError]:
        """Ask for what is missing until it is there, or is given up."""
        tries = 1
        while problem is not None:
            passed = time.monotonic() - begun
            pause = self.pause_after(tries) + problem.wait
            if tries >= self.tries or passed + pause > self.longest:
                problem.args = (f"{problem}; {_often(tries)} in {passed:.3g} s",)
                several.give_up(problem)
                break
            several.spent += Usage(retries=1, waited=pause)
            await asyncio.sleep(pause)
            tries += 1
            problem = await several.ask(self.inner)
        return several.done()

    def pause_after(self, tries: int) -> float:
        """Return the seconds to pause after so many tries, by chance up to a bound that doubles.

        Examples
        --------
        >>> from daskagents import models
        >>> 0 <= Retry(models.Dummy(), pause=0.5).pause_after(3) <= 2.0
        True
        """
        return (
            min(math.ldexp(self.pause, min(tries, 64) - 1), self.longest_pause) * _chance.random()
        )


def _often(tries: int) -> str:
    return "tried once" if tries == 1 else f"tried {tries} times"
