"""One line that tells how a run goes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How far a run is: rounds closed, replies so far, what models were asked, failures."""

    rounds: int
    replies: int
    calls: int
    tokens: int
    failed: int
    seconds: float

    def line(self, rounds: int | None = None) -> str:
        """Return it as a line of text.

        Examples
        --------
        >>> Snapshot(2, 3000, 3000, 90_000, 1, 60.0).line(5)
        'round 2/5 · 3,000 replies · 50/s · 3,000 calls · 90,000 tokens · 1 failed · 60 s'

        """
        parts = [
            f"round {self.rounds}" + (f"/{rounds}" if rounds else ""),
            f"{self.replies:,} replies",
            f"{self.replies / max(self.seconds, 1e-9):,.0f}/s",
        ]
        if self.calls:
            parts += [f"{self.calls:,} calls", f"{self.tokens:,} tokens"]
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        return " · ".join([*parts, f"{self.seconds:.0f} s"])


class Progress:
    """Shows a run's progress on standard error while a with block lasts.

    Parameters
    ----------
    snapshot
        Says how far the run is.
    show
        Whether to; None for where standard error is a terminal or a notebook.
    rounds
        How many there will be, where known.

    """

    def __init__(
        self, snapshot: Callable[[], Snapshot], show: bool | None, rounds: Any = None
    ) -> None:
        self._snapshot = snapshot
        self._rounds = rounds if type(rounds) is int else None
        self._live: Live | None = None
        console = Console(stderr=True)
        if show or (show is None and (sys.stderr.isatty() or console.is_jupyter)):
            self._live = Live(
                get_renderable=self._render,
                console=console,
                refresh_per_second=4,
                transient=show is None,
            )

    def _render(self) -> Text:
        return Text(self._snapshot().line(self._rounds))

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
