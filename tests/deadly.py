"""Agents that kill the process they run in. Children import it: it takes little to be imported."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import numpy as np

import daskagents as da


class Touchy(da.Agent):
    """Some end their process, where it is not the one that the message names; there they raise."""

    last: float = 0.0
    word: str = "none"

    def reply(self, message: da.Message) -> Any:
        self._end(message)
        self.last += self.rng.random()
        self.word = f"{self.id}: {self.last:.3f}"
        return {"x": self.last, "word": self.word}

    async def ask(self, message: da.Message) -> Any:
        before = self.rng.random()
        answer = await self.chat(f"I am {self.id}.", schema=float)
        self._end(message)
        more = await self.chat(f"I am {self.id} and heard {answer.text}.")
        self.last += before + answer.value + self.rng.random()
        return {"x": self.last, "word": more.text}

    def _end(self, message: da.Message) -> None:
        home, ends = message.content
        how = ends.get(self.id)
        if how is not None:
            self.fail(os.getpid() == home, "stays alive")
            _end(how)


class Touchies(Touchy):
    def reply_block(self, message: da.Message) -> Any:
        home, ends = message.content
        struck = np.isin(self.id, list(ends))
        if struck.any() and os.getpid() != home:
            _end(next(iter(ends.values())))
        self.fail(struck, "stays alive")
        self.last = self.last + self.rng.random()
        return {"x": self.last, "word": self.id.astype(str)}


def _end(how: str) -> None:
    """End this process."""
    if how == "memory":
        kept = bytearray(1 << 30)
        while kept:  # until somebody notices
            time.sleep(1)
    if how == "exit":
        os._exit(3)
    signal.raise_signal(getattr(signal, how))  # in this thread, and so at once


class Deadly(da.Agent):
    """One of them takes its process along in some rounds; where that may not be, it raises."""

    last: float = 0.0

    def reply(self, message: da.Message) -> Any:
        number, home, heard = message.content
        if self.id == 17 and number % 3 == 2:
            self.fail(home == os.getpid(), "is at home")
            os.kill(os.getpid(), signal.SIGKILL)
        self.last += self.rng.random() + heard
        return {"x": self.last}

    async def ask(self, message: da.Message) -> Any:
        answer = await self.chat(f"{self.id} at {message.content[0]}")
        return {"x": self.reply(message)["x"] + float(answer.text)}


class Deadlier(Deadly):
    def reply_block(self, message: da.Message) -> Any:
        number, home, heard = message.content
        struck = (self.id == 17) & (number % 3 == 2)
        if struck.any() and home != os.getpid():
            os._exit(1)
        self.fail(struck, "is at home")
        self.last = self.last + self.rng.random() + heard
        return {"x": self.last}
