"""Guess 2/3 of the average: the game, for players who ask a language model and for others.

Every player reports a number from 0 to 100. The target is a share of the average of all numbers,
plus a constant, and who is closest to it wins. Then all hear the winning number and play again.

::

    daskagents run guess_average.py --agents 200 --model local
    daskagents run guess_average.py --agents 200 --model http://127.0.0.1:8000/v1 -p prompt=P3
    daskagents run guess_average.py --agents 1000000 -p players=thinkers -p levels=0.2,0.4,0.3,0.1
    daskagents run guess_average.py --agents 1000000 -p players=RandomPlayer
    daskagents run guess_average.py --agents 200 -p ratio=1/2 -p constant=5
    daskagents run guess_average.py --population education.yaml --model local -p prompt=P2

The small model of ``--model local`` shows that the system works with a real language model. What
it answers proves nothing about how people behave, nor about how larger models do.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Literal

import numpy as np
import xarray as xr
from msgspec import Meta

import daskagents as da

Number = Annotated[float, Meta(ge=0, le=100)]
Prompt = Literal["P1", "P2", "P3", "P4"]

GAME = (
    "You take part in a game with many players. In each round, every player reports a real number"
    " from 0 to 100, without knowing the numbers of the others. The target of the round is {target}"
    " of all reported numbers. The player whose number is closest to the target wins the round."
)
RATIONAL = " All players are perfectly rational."
STRATEGIC = " Every player tries to work out what the others will report."
ANSWER = " Give your number only."
THINK = " Think step by step: first write down your reasoning, then your number."

ROLE = "Play this person strictly, and report what this person would:"

PROMPTS: dict[str, str] = {
    "P1": ANSWER,
    "P2": THINK,
    "P3": RATIONAL + THINK,
    "P4": RATIONAL + STRATEGIC + THINK,
}


@dataclass(frozen=True)
class Guess:
    """What a player answers who is asked for the number only."""

    number: Number


@dataclass(frozen=True)
class ReasonedGuess:
    """What a player answers who is asked to think first."""

    reasoning: str
    number: Number


class Listener(da.Agent):
    """Knows the rules of the game. Its `reply` is up to those that follow.

    There the message is the last winning number, and None in the first round.
    """

    ratio: float = 2 / 3
    constant: float = 0.0

    def learn(self, message: da.Message) -> None:
        """Hear the rules."""
        self.ratio, self.constant, *_ = message.content


class RandomPlayer(Listener):
    """Reports any number."""

    def reply(self, message: da.Message) -> dict[str, float]:
        """Report a number."""
        return {"guess": self.rng.uniform(0, 100)}


class Thinker(Listener):
    """Reasons `level` steps ahead of where the others stood: 50, and then the last winner.

    At level 0 it reports any number around that; at level 1 what would win if all were at level
    0; at level 2 what would win if all were at level 1; and so on.
    """

    level: int = 0

    def reply(self, message: da.Message) -> dict[str, float]:
        """Report a number: somewhat off the point at which the reasoning ends."""
        start = 50.0 if message.content is None else min(100.0, max(0.0, message.content))
        if self.level == 0:
            spread = min(start, 100 - start)
            return {"guess": self.rng.uniform(start - spread, start + spread)}
        aim = start
        for _ in range(self.level):
            aim = self.ratio * aim + self.constant
        return {"guess": min(100.0, max(0.0, self.rng.gauss(aim, 0.05 * start)))}


class Player(Listener):
    """Asks the model, with one of four prompts, and remembers what it reported last.

    With a `persona`, such as the population files of ``examples/populations`` write, it plays
    this person. The columns `education` and `job` are there to compare groups by.
    """

    persona: str = ""
    education: str = ""
    job: str = ""
    prompt: str = "P1"
    temperature: float = 1.0
    last: float = 0.0

    def learn(self, message: da.Message) -> None:
        """Hear the rules, and how the question is put."""
        self.ratio, self.constant, self.prompt, self.temperature = message.content

    # An async def, so that very many players wait for their answers at the same time.
    async def reply(self, message: da.Message) -> dict[str, float]:
        """Report the number that the model answers; one outside 0 to 100 is a failure."""
        # What all players share comes first: endpoints keep it. What is one's own comes last.
        if message.content is None:
            question = "This is the first round. What number do you report?"
        else:
            question = (
                "What number do you report in the next round? The winning number of the last round"
                f" was {message.content:.2f}, and you had reported {self.last:.2f}."
            )
        answer = await self.chat(
            question,
            system=(
                rules(self.ratio, self.constant) + PROMPTS[self.prompt],
                f"{ROLE} {self.persona}" if self.persona else "",
            ),
            schema=Guess if self.prompt == "P1" else ReasonedGuess,
            temperature=self.temperature,
        )
        self.last = answer.value.number
        return {"guess": self.last}


def rules(ratio: float, constant: float) -> str:
    """Return the rules of the game in words, such as "5 plus 1/2 of the average"."""
    fraction = Fraction(ratio).limit_denominator(1000)
    share = str(fraction) if abs(fraction - ratio) < 1e-9 else f"{ratio:g}"
    target = f"{share} of the average"
    return GAME.format(target=f"{constant:g} plus {target}" if constant else target)


def thinkers(agents: int, levels: str = "0.2,0.4,0.3,0.1") -> da.Population:
    """Make a population of thinkers.

    Parameters
    ----------
    agents
        How many.
    levels
        The shares of those at level 0, 1, 2, ...; they are kept exactly, but for rounding.

    """
    shares = np.array([float(share) for share in levels.split(",")])
    if not (shares >= 0).all() or not shares.sum() > 0:
        raise ValueError(f"levels={levels}: give shares of 0 or more, such as 0.2,0.4,0.3,0.1")
    exact = agents * shares / shares.sum()
    counts = exact.astype(int)
    # Those that rounding down has left over go where it took most.
    counts[np.argsort(counts - exact, kind="stable")[: agents - counts.sum()]] += 1
    return da.Population(Thinker, {"level": np.repeat(np.arange(len(counts)), counts)})


def guess_average(
    players: Annotated[da.Population, Player],
    rounds: int = 5,
    ratio: float = 2 / 3,
    constant: float = 0.0,
    prompt: Prompt = "P1",
    temperature: float = 1.0,
) -> Iterator[xr.Dataset]:
    """Play the game.

    Parameters
    ----------
    players
        Who plays: agents with `learn` and `reply`, such as those above.
    rounds
        How many rounds.
    ratio, constant
        The target is the average times `ratio`, plus `constant`.
    prompt
        How a model is asked: P1 for the number only; P2 to think step by step; P3 told, besides,
        that all are rational; P4 told, besides, that all think about what the others do.
    temperature
        How freely a model answers.

    """
    players.do("learn", (ratio, constant, prompt, temperature))
    winner = None
    for _ in range(rounds):
        replies = players.reply(winner)  # a Dataset over "agent", still computing
        mean = replies["guess"].mean()
        winner = ratio * mean + constant  # still computing, and so is the next round
        yield replies.assign(mean=mean, winner=winner)
