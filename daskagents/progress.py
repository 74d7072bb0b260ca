"""One line that tells how a run goes."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from importlib import import_module
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
            f"round {self.rounds}" + (f"/{rounds}" if rounds and self.rounds <= rounds else ""),
            f"{self.replies:,} replies",
            f"{self.replies / max(self.seconds, 1e-9):,.0f}/s",
        ]
        if self.calls:
            parts += [f"{self.calls:,} calls", f"{self.tokens:,} tokens"]
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        return " · ".join([*parts, f"{self.seconds:.0f} s"])


class _Cell:
    """A bar and a line in the output of a notebook's cell, renewed by a thread until the end.

    rich needs ipywidgets for this, and shows nothing without them.
    """

    def __init__(self, page: Callable[[], dict[str, str]]) -> None:
        self._page = page
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="progress", daemon=True)
        self._shown: Any = None

    def start(self) -> None:
        """Show it."""
        display = import_module("IPython.display").display
        self._shown = display(self._page(), raw=True, display_id=True)
        self._thread.start()

    def stop(self) -> None:
        """Show it a last time, and leave it there."""
        self._end.set()
        self._thread.join()
        self._shown.update(self._page(), raw=True)

    def _renew(self) -> None:
        while not self._end.wait(0.5):
            self._shown.update(self._page(), raw=True)


class Progress:
    """Shows a run's progress on standard error, or in a notebook, while a with block lasts.

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
        self._shown: Live | _Cell | None = None
        console = Console(stderr=True)
        if console.is_jupyter and show is not False:
            self._shown = _Cell(self._page)
        elif show or (show is None and sys.stderr.isatty()):
            self._shown = Live(
                get_renderable=self._render,
                console=console,
                refresh_per_second=4,
                transient=show is None,
            )

    def _render(self) -> Text:
        return Text(self._snapshot().line(self._rounds))

    def _page(self) -> dict[str, str]:
        """Return what a notebook shows, as HTML and as text."""
        snapshot = self._snapshot()
        line = snapshot.line(self._rounds)
        bar = f'<progress value="{snapshot.rounds}" max="{self._rounds}"></progress> '
        return {
            "text/html": f"<div>{bar if self._rounds else ''}{escape(line)}</div>",
            "text/plain": line,
        }

    def __enter__(self) -> Self:
        if self._shown is not None:
            self._shown.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown is not None:
            self._shown.stop()
