"""``python -m benchmarks.prefix``: what the order of a prompt is worth, with a real model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import count

from benchmarks.measure import Row, spread
from daskagents import Message, models
from daskagents.loop import close_resources
from daskagents.models.prompt import prompt

_RULES = (
    "You play a game with many others. All players report a real number from 0 to 100 at the same"
    " time. The mean of all numbers is computed, and the winner is the player whose number is"
    " closest to two thirds of that mean. A number below 0 or above 100 loses. All players know"
    " these rules, and all of them know that all know them. Nobody may speak with anybody else"
    " before the numbers are there. If several players are equally close, they share the prize."
    " The game may be played several times, and you then hear the winning number of the last time."
    " Report nothing but your number."
)
_HEARD = "The winning number of the last time was 31.42. Report your number."
_JOBS = ("nurse", "baker", "judge", "pilot", "tailor", "miner", "poet", "clerk")
_AGES = range(18, 90)
#: Tokens of an answer: few, for the prompts are what is measured.
_ANSWER = 8

#: Numbers of agents never repeat, so that no server has kept a prompt from the arm before.
_numbers = count()


def _own() -> str:
    """Return what one agent alone is told."""
    number = next(_numbers)
    age, job = _AGES[number % len(_AGES)], _JOBS[number % len(_JOBS)]
    return f"You are player {number}, {age} years old and a {job}. You think before you act."


def _shared_first() -> tuple[Message, ...]:
    return prompt([Message(_HEARD)], _RULES, _own())


def _own_after_rules() -> tuple[Message, ...]:
    return prompt([Message(_HEARD)], f"{_RULES} {_own()}")


def _own_first() -> tuple[Message, ...]:
    return prompt([Message(_HEARD)], f"{_own()} {_RULES}")


async def _rate(
    model: models.OpenAI, say: Callable[[], tuple[Message, ...]], calls: int, in_flight: int
) -> tuple[float, float]:
    """Return answers per second, and the share of the prompts that the server had kept."""
    waiting = iter(range(calls))
    answers: list[models.Answer] = []

    async def lane() -> None:
        answers.extend([await model.chat(models.Request(say())) for _ in waiting])

    start = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(in_flight)))
    seconds = time.perf_counter() - start
    prompted = sum(answer.prompt_tokens for answer in answers)
    return calls / seconds, sum(answer.cached_tokens for answer in answers) / prompted


async def _measure(
    says: Sequence[Callable[[], tuple[Message, ...]]], calls: int, in_flight: int, repeats: int
) -> list[list[tuple[float, float]]]:
    """Measure each order some times over, one after another."""
    model = models.local(temperature=1.0, max_tokens=_ANSWER)
    found: list[list[tuple[float, float]]] = [[] for _ in says]
    try:
        for _ in range(repeats):
            for rates, say in zip(found, says, strict=True):
                await _rate(model, say, in_flight, in_flight)
                rates.append(await _rate(model, say, calls, in_flight))
    finally:
        await close_resources()
    return found


def order(calls: int = 64, in_flight: int = 16, repeats: int = 3) -> list[Row]:
    """Measure answers per second of the local model by where the agent's own text stands."""
    says = _shared_first, _own_after_rules, _own_first
    shared, after, first = asyncio.run(_measure(says, calls, in_flight, repeats))
    what = f"local model, {in_flight} in flight, system=(shared, own), answers/s"
    kept = "the same, share of prompt tokens that the server had kept"
    rows = []
    for name, other in {"own after the rules": after, "own first": first}.items():
        rates = [rate for rate, _ in shared], [rate for rate, _ in other]
        shares = [part for _, part in shared], [part for _, part in other]
        rows.append(Row(what, rates[0], "1/s", name, rates[1]))
        rows.append(Row(kept, shares[0], "", name, shares[1]))
    return rows


def main() -> None:
    """Measure, and print a line for each row."""
    for row in order():
        print(f"{row.what}: {spread(row.ours)}; {row.other}: {spread(row.others)}")


if __name__ == "__main__":
    main()
