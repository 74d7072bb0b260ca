"""Measuring: repeats, spread, memory of all processes of a program."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Row:
    """One line of the table: a figure, what it is measured against, and what is asked of it."""

    what: str
    ours: list[float]
    unit: str
    other: str = ""
    others: list[float] = field(default_factory=list)
    asked: str = ""

    @property
    def ratio(self) -> float | None:
        """Median of ours over the median of the other, both of this run."""
        if not self.others:
            return None
        return statistics.median(self.ours) / statistics.median(self.others)


def spread(values: list[float]) -> str:
    """Return the median, with the smallest and largest where there are several."""
    text = f"{statistics.median(values):,.3g}"
    if len(values) > 1:
        text += f" ({min(values):,.3g} to {max(values):,.3g})"
    return text


def seconds(function: Callable[[], object]) -> float:
    """Return how long a call takes, in seconds."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def pss(pid: int) -> int:
    """Return the proportional set size of a process, in bytes; 0 if it is gone."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, ProcessLookupError):
        pass
    return 0


def _family(root: int) -> set[int]:
    """Return a process and all that come from it."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found = {root}
    while True:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        if not more:
            return found
        found |= more


@contextmanager
def peak_memory() -> Iterator[Callable[[], float]]:
    """Measure the peak memory of this program and its processes, in GiB (PSS, twice a second)."""
    peak, stop = [0], threading.Event()

    def look() -> None:
        while not stop.wait(0.5):
            peak[0] = max(peak[0], sum(map(pss, _family(os.getpid()))))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield lambda: peak[0] / 2**30
    finally:
        stop.set()
        thread.join()
