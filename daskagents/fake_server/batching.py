"""Continuous batching: slots that write at the same speed, and a queue before them."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

from daskagents.fake_server.script import Batching


class Timer(Protocol):
    """What is to happen at some time."""

    def cancel(self) -> None:
        """Let it not happen."""


class Clock(Protocol):
    """Tells the time, and calls back."""

    def time(self) -> float:
        """Return the time in seconds."""

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any) -> Timer:
        """Call something at a time."""


class Job:
    """One request on its way through the slots.

    Parameters
    ----------
    slots
        What it waits for.
    prompt, answer
        Tokens to read, and tokens to write for each choice.
    choices
        How many choices are written at a time.
    done
        What to do at its end.
    """

    def __init__(
        self, slots: Slots, prompt: int, answer: int, choices: int, done: Callable[[], None]
    ) -> None:
        self.prompt = prompt
        self.answer = answer
        self.choices = choices
        self.done = done
        self.timer: Timer | None = None
        self._slots = slots

    def cancel(self) -> None:
        """Let it go: nobody waits for it any more."""
        self._slots.drop(self)


class Slots:
    """The answers that are being written, and what waits.

    Parameters
    ----------
    settings
        How many, and how fast.
    clock
        Tells the time and calls back: an event loop.
    """

    def __init__(self, settings: Batching, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._free = settings.slots
        self._waiting: OrderedDict[Job, None] = OrderedDict()
        #: When the prompts that were taken so far have been read.
        self._read = 0.0

    @property
    def full(self) -> bool:
        """Whether nothing more may wait."""
        most = self._settings.queue
        return most is not None and not self._free and len(self._waiting) >= most

    def enter(self, prompt: int, answer: int, choices: int, done: Callable[[], None]) -> Job:
        """Take a request; at its end `done` is called, unless it is cancelled before."""
        job = Job(self, prompt, answer, choices, done)
        self._waiting[job] = None
        self._start()
        return job

    def drop(self, job: Job) -> None:
        """Forget a request."""
        if job.timer is not None:
            job.timer.cancel()
            self._leave(job)
        elif job in self._waiting:
            del self._waiting[job]
            self._start()

    def _width(self, job: Job) -> int:
        """Return how many slots a request takes."""
        return min(job.choices, self._settings.slots)

    def _start(self) -> None:
        """Begin whatever there are slots for, in turn."""
        clock, settings = self._clock, self._settings
        while self._waiting:
            job = next(iter(self._waiting))
            if self._width(job) > self._free:
                break
            del self._waiting[job]
            self._free -= self._width(job)
            self._read = max(self._read, clock.time()) + job.prompt / settings.prompt_speed
            turns = math.ceil(job.choices / settings.slots)
            end = self._read + turns * job.answer / settings.answer_speed
            job.timer = clock.call_at(end, self._end, job)

    def _end(self, job: Job) -> None:
        """Finish a request and begin others."""
        self._leave(job)
        job.done()

    def _leave(self, job: Job) -> None:
        """Give back the slots of a request."""
        job.timer = None
        self._free += self._width(job)
        self._start()
