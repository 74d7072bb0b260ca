"""The view of the replies: how a variable is distributed, round after round, and by groups."""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.layouts import column, row
from bokeh.models import Button, ColumnDataSource, Select
from bokeh.plotting import figure

from daskagents.monitor import look
from daskagents.monitor.asking import Asked
from daskagents.monitor.heard import Band, Counts, Numbers, RunSeen, Variable
from daskagents.monitor.page import Choice, fill, html, show
from daskagents.monitor.plugin import MonitorPlugin
from daskagents.monitor.run import frame

#: Texts that have a colour of their own, over the rounds; bars of a histogram at most.
_TEXTS, _BARS = 11, 48
_EDGES = [f"y{at}" for at in range(_TEXTS + 2)]
_BANDS = ("round", "q5", "q25", "q50", "q75", "q95")
_NONE = ""
#: What pictures are made of before there is anything: without any point, they would have no scale.
_NO_BARS = {"left": [0.0], "right": [1.0], "top": [0.0]}
_NO_LINES = {name: [0.0] for name in _BANDS}
_NO_STACK = {name: [0.0] for name in ("round", *_EDGES)}


class View:
    """How a variable is distributed, round after round; and by groups of agents, on demand."""

    name = "Replies"

    def __init__(self, plugin: MonitorPlugin, choice: Choice) -> None:
        self.plugin, self.choice = plugin, choice
        self._asked = Asked()
        self._topic = ""
        self._variable = Select(title="variable", options=[_NONE], width=260, name="variable")
        self._by = Select(title="by", options=[_NONE], width=200, name="by")
        self._look = Button(label="Compare groups", width=130, name="compare")
        self._look.styles = {"margin-top": "23px"}
        self._look.on_click(self._compare)
        self._variable.on_change("value", self._turn)
        self._facts = html(height=64)
        self._bars = ColumnDataSource(_NO_BARS)
        self._lines = ColumnDataSource(_NO_LINES)
        self._stack = ColumnDataSource(_NO_STACK)
        self._words = html(height=330)
        self._groups = html()
        self._numbers = row(self._histogram(), self._over(), sizing_mode="stretch_width")
        self._texts = row(self._words, self._stacked(), sizing_mode="stretch_width")
        self._texts.visible = False
        self.root = column(
            row(self._variable, self._by, self._look, self._facts, sizing_mode="stretch_width"),
            self._numbers,
            self._texts,
            self._groups,
            sizing_mode="stretch_width",
        )

    def _histogram(self) -> figure:
        made = frame("how many, in the newest round", 300)
        made.quad(
            left="left",
            right="right",
            bottom=0,
            top="top",
            source=self._bars,
            fill_color=look.RUNNING,
            fill_alpha=0.75,
            line_color="white",
        )
        made.y_range.start = 0
        made.yaxis.formatter.use_scientific = False
        return made

    def _over(self) -> figure:
        made = frame("median, and where half and 90 % of the replies are, over the rounds", 300)
        for low, high, alpha in (("q5", "q95", 0.14), ("q25", "q75", 0.28)):
            made.varea(
                "round", low, high, source=self._lines, fill_color=look.RUNNING, fill_alpha=alpha
            )
        made.line("round", "q50", source=self._lines, line_color=look.RUNNING, line_width=2)
        made.scatter("round", "q50", source=self._lines, color=look.RUNNING, size=4)
        made.xaxis.axis_label = "round"
        return made

    def _stacked(self) -> figure:
        made = frame("shares over the rounds", 330, y_range=(0, 1))
        colours = (*look.PALETTE[:_TEXTS], "#d5d8dd")
        for low, high, colour in zip(_EDGES, _EDGES[1:], colours, strict=False):
            made.varea("round", low, high, source=self._stack, fill_color=colour)
        made.xaxis.axis_label = "round"
        return made

    def _turn(self, attr: str, old: str, new: str) -> None:
        self._asked.clear()
        self.update()

    def update(self) -> None:
        """Show what the agents of the chosen run reply."""
        run = self.choice.run
        variable = self._chosen(run)
        if run is None or variable is None:
            said = "No run has begun." if run is None else "No agent has replied yet."
            show(self._facts, look.note(said))
            self._clear()
            return
        newest = variable.newest(run.closed - 1)
        bands = variable.bands()
        if newest is None:
            return
        number, sketch = newest
        text = isinstance(sketch, Counts)
        if self._texts.visible != text:
            self._texts.visible, self._numbers.visible = text, not text
        show(self._facts, facts(variable, number, sketch))
        if isinstance(sketch, Numbers):
            fill(self._bars, bars(sketch))
            fill(self._lines, lines(bands))
        else:
            ranked = ranking(bands)
            show(self._words, words(sketch, ranked))
            fill(self._stack, stack(bands, ranked))
        self._show_groups()

    def _clear(self) -> None:
        fill(self._bars, _NO_BARS)
        fill(self._lines, _NO_LINES)
        fill(self._stack, _NO_STACK)
        show(self._words, "")
        show(self._groups, "")

    def _chosen(self, run: RunSeen | None) -> Variable | None:
        """Return the variable to show, and bring the lists up to date."""
        known = {} if run is None else run.variables
        topic = "" if run is None else run.topic
        if topic != self._topic:
            self._topic = topic
            self._asked.clear()
        several = len({population for population, _ in known}) > 1
        options = [
            (f"{who}/{what}", f"{who}: {what}"[:60] if several else what[:60])
            for who, what in known
        ] or [(_NONE, "none yet")]
        if self._variable.options != options:
            self._variable.options = options
        if self._variable.value not in [key for key, _ in options]:
            self._variable.value = options[0][0]
        who, _, what = str(self._variable.value).partition("/")
        found = known.get((who, what))
        fields = [] if run is None or found is None else _given(run, who)
        choices = [(_NONE, "no groups"), *((name, name[:40]) for name in fields)]
        if self._by.options != choices:
            self._by.options = choices
        if self._by.value not in [key for key, _ in choices]:
            self._by.value = _NONE
        ready = bool(run is not None and fields)
        if self._look.disabled == ready:
            self._look.disabled = not ready
        return found

    def _compare(self) -> None:
        """Ask a worker for the groups; it answers when it can."""
        run, by = self.choice.run, str(self._by.value)
        who, _, what = str(self._variable.value).partition("/")
        if run is None or not by:
            self._asked.clear()
        else:
            folder = run.about.get("reads", "")
            self._asked.ask(self.plugin.scheduler, "by", folder, who, what, by)
        self._show_groups()

    def _show_groups(self) -> None:
        answer = self._asked.answer
        if self._asked.busy:
            show(self._groups, look.note("A worker is looking ..."))
        elif answer is None:
            hint = "Choose a column at “by” to compare groups: a worker reads the results."
            show(self._groups, look.note(hint) if len(self._by.options) > 1 else "")
        elif "error" in answer:
            show(self._groups, look.note(str(answer["error"])))
        else:
            show(self._groups, groups(answer))


def _given(run: RunSeen, population: str) -> list[str]:
    """Return the columns that were given with a population."""
    for of in run.about.get("populations", {}).values():
        if of.get("name") == population:
            return [str(name) for name in of.get("given", ())]
    return []


def facts(variable: Variable, number: int, sketch: Numbers | Counts) -> str:
    """Return what is known exactly of a variable in a round, and what is from a sample."""
    title = f"<p><b>{look.short(variable.name)}</b> in round {number + 1}"
    counts = f"{sketch.count:,} replies" + (f", {sketch.missing:,} none" if sketch.missing else "")
    if isinstance(sketch, Counts):
        sample = "counted in a sample" if sketch.sampled else "all were counted"
        return f"{title}: {counts}<br><span class='faint'>{sample}</span></p>"
    exact = (
        f"mean {look.number(sketch.mean, 5)}, from {look.number(sketch.low, 5)} to"
        f" {look.number(sketch.high, 5)}"
    )
    sample = (
        f"the picture is from a sample of {sketch.taken:,}"
        if sketch.sampled
        else "the picture is of all replies"
    )
    return f"{title}: {exact}<br><span class='faint'>{counts}; {sample}</span></p>"


def bars(sketch: Numbers) -> dict[str, Any]:
    """Return a histogram as a source has it: where bars begin and end, and how high they are."""
    edges, tops = sketch.edges, sketch.bins
    if not sketch.count:
        return dict(_NO_BARS)
    while len(tops) > _BARS:  # bins of twice the width
        odd = len(tops) % 2
        tops = np.append(tops, np.zeros(odd)).reshape(-1, 2).sum(axis=1)
        width = edges[1] - edges[0]
        edges = edges[0] + 2 * width * np.arange(len(tops) + 1)
    return {"left": edges[:-1], "right": edges[1:], "top": tops}


def lines(bands: list[Band]) -> dict[str, Any]:
    """Return quantiles over the rounds, as a source has them."""
    full = [band for band in bands if band.quantiles]
    if not full:
        return dict(_NO_LINES)
    columns = zip(*((band.round + 1, *band.quantiles) for band in full), strict=True)
    return dict(zip(_BANDS, map(np.array, columns), strict=True))


def ranking(bands: list[Band]) -> list[str]:
    """Return the texts that have a colour, the most frequent of all rounds first."""
    sums: dict[str, float] = {}
    for band in bands:
        for text, number in band.top.items():
            sums[text] = sums.get(text, 0) + number / max(band.count, 1)
    return sorted(sums, key=lambda text: (-sums[text], text))[:_TEXTS]


def stack(bands: list[Band], ranked: list[str]) -> dict[str, Any]:
    """Return shares of texts over the rounds, one above another; what is left is on top."""
    ends = [np.zeros(len(bands))]
    counts = np.array([max(band.count, 1) for band in bands], float)
    for at in range(_TEXTS):
        text = ranked[at] if at < len(ranked) else None
        share = np.array([0.0 if text is None else band.top.get(text, 0.0) for band in bands])
        ends.append(np.minimum(1.0, ends[-1] + share / counts))
    ends.append(np.array([1.0 if band.count else 0.0 for band in bands]))
    rounds = np.array([band.round + 1 for band in bands])
    return {"round": rounds, **dict(zip(_EDGES, ends, strict=True))}


def words(sketch: Counts, ranked: list[str]) -> str:
    """Return the most frequent texts of a round with bars, in their colours."""
    rows = ""
    most = max(sketch.top.values(), default=1) or 1
    for text, number in list(sketch.top.items())[:_TEXTS]:
        colour = look.PALETTE[ranked.index(text)] if text in ranked else "#d5d8dd"
        width = 160 * number / most
        shown = look.short(text, 44) if text else "<i>nothing</i>"
        rows += (
            f'<tr><td>{shown}</td><td class="n">{number:,.0f}</td><td><i class="chip"'
            f' style="width:{width:.0f}px;background:{colour}"></i></td></tr>'
        )
    others = sketch.count - sum(list(sketch.top.values())[:_TEXTS])
    if others >= 1:
        rows += f'<tr><td class="faint">others</td><td class="n">{others:,.0f}</td><td></td></tr>'
    return f"<h3>how many, in the newest round</h3><table>{rows}</table>"


def groups(answer: dict[str, Any]) -> str:
    """Return what groups reply, as a table."""
    where = look.short(answer["column"])
    title = f"<h3>by {where}, all replies of round {answer['round'] + 1}</h3>"
    names, counts = answer["groups"], [f"{n:,}" for n in answer["counts"]]
    if answer["kind"] == "text":
        heads = [answer["column"], "#replies", *(f"#{text[:24]}" for text in answer["texts"])]
        shares = [[f"{share:.1%}" for share in each] for each in answer["shares"]]
        rows = [[a, b, *c] for a, b, c in zip(names, counts, shares, strict=True)]
        return title + look.table(heads, rows)
    rounds = answer["rounds"]
    heads = [answer["column"], "#replies", "#5 %", "#25 %", "#median", "#75 %", "#95 %"]
    heads += [f"#mean, round {number + 1}" for number in _some(rounds)]
    rows = []
    every = zip(names, counts, answer["quantiles"], answer["means"], strict=True)
    for name, count, points, means in every:
        over = [look.number(mean, 4) for mean in _some(means)]
        rows.append([name, count, *(look.number(q, 4) for q in points), *over])
    return title + look.table(heads, rows)


def _some(values: list[Any]) -> list[Any]:
    """Return the first, a middle and the last of some values."""
    return [values[at] for at in sorted({0, len(values) // 2, len(values) - 1})]
