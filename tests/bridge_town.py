"""People who are asked what they think, as long as they are looked at."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import daskagents as da
from daskagents import models

SCRIPT = "<script>alert('no')</script>"
SIZE = 120
CITIES = ("Oslo", "Rome", "Lima")


class Citizen(da.Agent):
    """Has an opinion, and tells neighbours of it."""

    city: str = ""
    keen: bool = False
    opinion: float = 0.5

    async def reply(self, message: da.Message) -> Any:
        if self.id % 40 == 7:
            raise ValueError(f"agent {self.id} has had enough {SCRIPT}")
        self.remember(f"What about the bridge in {self.city}? {SCRIPT}")
        answer = await self.chat(messages=self.memory)
        self.remember(answer)
        self.opinion = self.rng.random()
        if self.id % 20 == 0:
            self.send(self.id + 1, f"hear, hear {SCRIPT}")
        return {"opinion": self.opinion, "said": answer.text}


def answer(request: Any, rng: Any) -> str:
    """Answer at random, and try to run a script."""
    return f"{('yes', 'no')[int(rng.random() * 2)]} {SCRIPT}"


def citizens() -> da.Population:
    """Return those who are asked."""
    return da.Population(Citizen, {"city": [CITIES[at % 3] for at in range(SIZE)]}, block_size=30)


def model() -> models.Dummy:
    """Return what they ask."""
    return models.Dummy(answer=answer)


def town(citizens: Any, enough: str = "", rounds: int = 1_000, pause: float = 0.1) -> Any:
    """Ask them until a file is there."""
    for number in range(rounds):
        replies = citizens.reply(number)
        yield replies.assign(mean=float(replies["opinion"].mean()))
        if enough and Path(enough).exists():
            return
        time.sleep(pause)
