"""The view of a run: how far it is, how fast, what it costs."""

from __future__ import annotations

from time import time

from bokeh.layouts import column, row
from bokeh.models import ColumnDataSource, Title
from bokeh.plotting import figure

from daskagents.monitor import look
from daskagents.monitor.heard import RunSeen
from daskagents.monitor.page import Choice, fill, html, show
from daskagents.monitor.plugin import MonitorPlugin

#: What a line is made of before there is one: without any point, it would have no scale.
_NOTHING = {"t": [0.0], "agents": [0.0], "tokens": [0.0]}


class View:
    """How far a run is, how fast, and what it costs."""

    name = "Run"

    def __init__(self, plugin: MonitorPlugin, choice: Choice) -> None:
        self.plugin, self.choice = plugin, choice
        self._bar = html(height=52)
        self._tiles = html()
        self._about = html()
        self._line = ColumnDataSource(_NOTHING)
        self.root = column(
            self._bar,
            self._tiles,
            row(
                self._rate("agents", "replies a second", look.RUNNING),
                self._rate("tokens", "tokens a second", look.SLOW),
                sizing_mode="stretch_width",
            ),
            self._about,
            sizing_mode="stretch_width",
        )

    def _rate(self, name: str, title: str, colour: str) -> figure:
        made = frame(title, height=210)
        made.varea("t", 0, name, source=self._line, fill_color=colour, fill_alpha=0.18)
        made.line("t", name, source=self._line, line_color=colour, line_width=2)
        made.xaxis.axis_label = "seconds since the start"
        made.y_range.start = 0
        made.yaxis.formatter.use_scientific = False
        return made

    def update(self) -> None:
        """Show how far the chosen run is."""
        run = self.choice.run
        if run is None:
            show(self._bar, "")
            show(self._tiles, look.note("Start one with da.run(...), or: daskagents run."))
            show(self._about, "")
            fill(self._line, _NOTHING)
            return
        show(self._bar, _bar(run))
        show(self._tiles, look.tiles(figures(run)))
        show(self._about, _values(run))
        points = [(t, replies, tokens) for t, replies, _, tokens in run.history()]
        columns = zip(*points, strict=True) if points else _NOTHING.values()
        fill(self._line, dict(zip(_NOTHING, map(list, columns), strict=True)))


def frame(title: str, height: int, **about: object) -> figure:
    """Return a quiet figure."""
    made = figure(
        title=Title(text=title),
        height=height,
        sizing_mode="stretch_width",
        toolbar_location=None,
        tools="",
        **about,
    )
    made.title.text_font_size, made.title.text_color = "12px", look.FAINT
    made.title.text_font_style = "normal"
    made.grid.grid_line_color = look.LINE
    made.outline_line_color = None
    for axis in made.axis:
        axis.axis_line_color = axis.major_tick_line_color = look.LINE
        axis.minor_tick_line_color = None
        axis.major_label_text_color = axis.axis_label_text_color = look.FAINT
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = axis.major_label_text_font_size = "11px"
    return made


def _bar(run: RunSeen) -> str:
    rounds = run.rounds
    said = f"round {run.closed:,}" + (f" of {rounds:,}" if rounds else "")
    if run.left() is not None:
        said += f", {look.duration(run.left())} left"
    passed = (run.ended or time()) - run.began
    said += f" · {look.duration(float(int(passed)))}" if passed >= 1 else ""
    share = run.closed / rounds if rounds else float(run.state == "done")
    colour = look.RUNNING if run.open else "#4f8f78" if run.state == "done" else look.FAILED
    return f"<p>{look.short(said)}</p>{look.bar(share, colour)}"


def figures(run: RunSeen) -> dict[str, str]:
    """Return the figures of a run by what they are."""
    replies, calls, tokens, cost, failed = run.totals()
    rates = run.rates()
    found = {
        "replies": look.number(replies),
        "replies a second": look.number(rates[0], 2),
        "failed replies": look.number(failed),
    }
    if calls:
        found |= {
            "calls": look.number(calls),
            "calls a second": look.number(rates[1], 2),
            "tokens": look.number(tokens),
            "tokens a second": look.number(rates[2], 2),
            "cost": look.number(cost),
        }
    for name, (spent, limit) in run.limits().items():
        found[f"of {look.number(limit)} {name} in the budget"] = look.number(spent)
    if run.seconds:
        found["a round, lately"] = look.duration(sum(run.seconds) / len(run.seconds))
    return found


def _values(run: RunSeen) -> str:
    """Return what the last round came to, and why agents failed."""
    rows = [[name, look.number(value, 4)] for name, value in list(run.values.items())[:8]]
    said = look.table(["the last round yielded", "#"], rows) if rows else ""
    lost = run.failures.most_common(6)
    if lost:
        said += "<br>" + look.table(["failures by kind", "#"], [[k, f"{n:,}"] for k, n in lost])
    return said
