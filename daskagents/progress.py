"""A bar and a line that tell how a run goes: in a terminal, in a notebook, in a log."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from html import escape
from importlib import import_module
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from daskagents.outlook import Outlook
from daskagents.snapshot import Snapshot

#: Characters of the bar, and those of a terminal that has room for one.
_BAR, _ROOM = 20, 60
#: Seconds between two lines of a log.
_LOG_EVERY = 30.0
#: How much longer than a look the time to the next one is, at least.
_SPARING = 50.0


class _Renewed:
    """What a thread shows again and again until the end, and then a last time."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Show it a last time, and leave it there."""
        self._end.set()
        self._thread.join()
        self.renew()

    def renew(self) -> None:
        """Show how it is now."""
        raise NotImplementedError

    def _run(self) -> None:
        while not self._end.wait(self._every):
            self.renew()


class _Cell(_Renewed):
    """A bar and a line in the output of a notebook's cell.

    rich needs ipywidgets for this, and shows nothing without them.
    """

    def __init__(self, page: Callable[[], dict[str, str]]) -> None:
        super().__init__(0.5)
        self._page = page
        self._shown: Any = None

    def start(self) -> None:
        """Show it."""
        display = import_module("IPython.display").display
        self._shown = display(self._page(), raw=True, display_id=True)
        super().start()

    def renew(self) -> None:
        """Show how it is now, in place of what was there."""
        self._shown.update(self._page(), raw=True)


class _Log(_Renewed):
    """A line now and then, where nothing can be written over."""

    def __init__(self, line: Callable[[], str], console: Console) -> None:
        super().__init__(_LOG_EVERY)
        self._line, self._console = line, console

    def renew(self) -> None:
        """Write a line."""
        self._console.print(Text(self._line()), soft_wrap=True)


class Progress:
    """Shows a run's progress on standard error, or in a notebook, while a with block lasts.

    A terminal has a bar where it is known how many rounds there will be, and a notebook too. In a
    file or a pipe there is a line every 30 seconds, and one at the end, if it is asked for.

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
        self._rounds = rounds if type(rounds) is int and rounds > 0 else None
        self._outlook = Outlook(self._rounds)
        self._spinner = Spinner("dots")
        self._seen: Snapshot | None = None
        self._again = 0.0
        self._shown: Live | _Cell | _Log | None = None
        self._console = console = Console(stderr=True)
        if console.is_jupyter and show is not False:
            self._shown = _Cell(self._page)
        elif show or (show is None and sys.stderr.isatty()):
            self._shown = _Log(self._line, console)
            if console.is_terminal and not console.is_dumb_terminal:
                self._shown = Live(
                    get_renderable=self._render,
                    console=console,
                    refresh_per_second=4,
                    transient=show is None,
                )

    def _look(self) -> Snapshot:
        """See how far the run is; less often where looking takes long."""
        began = time.perf_counter()
        if self._seen is None or began >= self._again:
            self._seen = self._snapshot()
            self._outlook.see(self._seen)
            now = time.perf_counter()
            self._again = now + _SPARING * (now - began)
        return self._seen

    def _line(self) -> str:
        snapshot = self._look()
        return snapshot.line(self._rounds, self._outlook.rate, self._outlook.left)

    def _render(self) -> RenderableType:
        """Return what a terminal shows."""
        snapshot = self._look()
        line = Text(snapshot.head(self._rounds), style="yellow" if snapshot.state else "bold")
        for said in snapshot.facts(self._outlook.rate):
            line.append(f" · {said}", style="not bold red" if "failed" in said else "not bold")
        for said in snapshot.times(self._outlook.left):
            line.append(f" · {said}", style="not bold cyan")
        if self._console.width < _ROOM:
            return line
        grid = Table.grid(padding=(0, 1))
        done = self._done(snapshot)
        bar = self._spinner if done is None else ProgressBar(1.0, done, width=_BAR)
        grid.add_row(bar, line)
        return grid

    def _done(self, snapshot: Snapshot) -> float | None:
        """Return how much of the run is done; None where that is not known."""
        if self._rounds is None or snapshot.rounds > self._rounds:
            return None
        at = snapshot.rounds if snapshot.at is None else snapshot.at
        return min(1.0, at / self._rounds)

    def _page(self) -> dict[str, str]:
        """Return what a notebook shows, as HTML and as text."""
        snapshot = self._look()
        rate, left = self._outlook.rate, self._outlook.left
        done, bar = self._done(snapshot), ""
        if done is not None:
            at = done * (self._rounds or 0)
            bar = (
                f'<progress value="{at:g}" max="{self._rounds}"></progress>'
                f" <b>{100 * done:.0f} %</b> "
            )
        head = escape(" · ".join([snapshot.head(self._rounds), *snapshot.times(left)]))
        facts = escape(" · ".join(snapshot.facts(rate)))
        return {
            "text/html": f'<div>{bar}{head}</div><div style="opacity:0.7">{facts}</div>',
            "text/plain": snapshot.line(self._rounds, rate, left),
        }

    def __enter__(self) -> Self:
        if self._shown is not None:
            self._shown.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._again = 0.0
        if self._shown is not None:
            self._shown.stop()


__all__ = ["Progress", "Snapshot"]
