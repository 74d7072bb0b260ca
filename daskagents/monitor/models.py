"""The view of the models: what is asked of each endpoint, what it answers, and for how much."""

from __future__ import annotations

import math
from collections import deque
from time import time
from typing import Any

from bokeh.layouts import column, row
from bokeh.models import ColumnDataSource

from daskagents.monitor import look
from daskagents.monitor.heard import SPAN, RunSeen
from daskagents.monitor.page import Choice, fill, html, show
from daskagents.monitor.plugin import MonitorPlugin
from daskagents.monitor.run import frame

#: What a line is made of before there is one: without any point, it would have no scale.
_NOTHING = {"t": [0.0], "calls": [0.0], "tokens": [0.0]}


class View:
    """What is asked of each endpoint, what it answers, and for how much."""

    name = "Models"

    def __init__(self, plugin: MonitorPlugin, choice: Choice) -> None:
        self.plugin, self.choice = plugin, choice
        self._budget, self._models, self._ends = html(), html(), html()
        self._topic = ""
        self._seen: deque[tuple[float, dict[str, int]]] = deque()
        self._line = ColumnDataSource(_NOTHING)
        calls = self._chart("calls", "calls a second", look.RUNNING)
        tokens = self._chart("tokens", "tokens a second", look.SLOW)
        self.root = column(
            self._budget,
            self._models,
            self._ends,
            row(calls, tokens, sizing_mode="stretch_width"),
            sizing_mode="stretch_width",
        )

    def _chart(self, name: str, title: str, colour: str) -> Any:
        made = frame(title, height=210)
        made.line("t", name, source=self._line, line_color=colour, line_width=2)
        made.xaxis.axis_label = "seconds since the start"
        made.y_range.start = 0
        made.yaxis.formatter.use_scientific = False
        return made

    def update(self) -> None:
        """Show what the chosen run asks of models."""
        run = self.choice.run
        if run is None or not (run.totals()[1] or run.endpoints):
            said = "No run has begun." if run is None else "No model has answered yet."
            show(self._budget, look.note(said))
            show(self._models, "")
            show(self._ends, "")
            fill(self._line, _NOTHING)
            return
        show(self._budget, budget(run))
        show(self._models, usage(run))
        show(self._ends, endpoints(run, self._rates(run)))
        points = [(t, calls, tokens) for t, _, calls, tokens in run.history()]
        columns = zip(*points, strict=True) if points else _NOTHING.values()
        fill(self._line, dict(zip(_NOTHING, map(list, columns), strict=True)))

    def _rates(self, run: RunSeen) -> dict[str, float]:
        """Return how many calls end a second at each endpoint, since this page is open."""
        if run.topic != self._topic:
            self._topic = run.topic
            self._seen.clear()
        now = time()
        ended = {name: of["answered"] + of["refused"] for name, of in run.endpoints.items()}
        self._seen.append((now, ended))
        while len(self._seen) > 2 and self._seen[0][0] < now - SPAN:
            self._seen.popleft()
        before, old = self._seen[0]
        if now - before < 0.4 or not run.open:
            return {}
        return {name: (n - old.get(name, 0)) / (now - before) for name, n in ended.items()}


def budget(run: RunSeen) -> str:
    """Return what is spent of the budget, as bars."""
    limits = run.limits()
    if not limits:
        cost = run.totals()[3]
        return look.note(f"No budget is set. Spent so far: {look.number(cost)}.")
    said = ""
    for name, (spent, limit) in limits.items():
        share = spent / limit if limit else 1.0
        said += (
            f"<p>{look.number(spent)} of {look.number(limit)} {look.short(name)} spent"
            f" ({share:.0%})</p>{look.bar(share)}"
        )
    return said


def usage(run: RunSeen) -> str:
    """Return what each model took, as a table."""
    rows = []
    for model, endpoint, took in run.usage:
        if took.calls or took.retries:
            waited = took.waited / took.calls if took.calls else math.nan
            counts = [took.calls, took.prompt_tokens, took.completion_tokens, took.retries]
            numbers = [look.number(n) for n in counts]
            name = model or "no answer"
            rows.append([name, endpoint, *numbers, look.number(took.cost), look.duration(waited)])
    heads = ["model", "endpoint", "#calls", "#tokens in", "#tokens out", "#retries", "#cost"]
    under = run.totals()[1] - run.spent.calls
    said = look.table([*heads, "#waited, a call"], rows[:6]) if rows else ""
    if under > 0:
        said += look.note(f"and {under:,} calls in steps that are under way")
    return said


def endpoints(run: RunSeen, rates: dict[str, float]) -> str:
    """Return what is under way at each endpoint, and what went wrong there."""
    if not run.endpoints:
        return look.note("Models within this process: no calls go over a network.")
    rows = []
    for name, of in list(run.endpoints.items())[:6]:
        answered = of["answered"]
        rate = rates.get(name, 0.0)
        wrong = ", ".join(f"{n:,} {kind}" for kind, n in sorted(of["errors"].items()))
        flying = of["flying"] if run.open else 0
        took = of["seconds"] / answered if answered else math.nan
        shown = [look.number(n) for n in (flying, of["limit"], answered)]
        rows.append([name, *shown, look.number(rate), look.duration(took), wrong or "none"])
    heads = ["endpoint", "#under way", "#may be", "#answered", "#a second", "#an answer takes"]
    return look.table([*heads, "errors of requests"], rows)
