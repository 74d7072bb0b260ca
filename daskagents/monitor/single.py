"""One agent on the page: its replies by round, its state, what it was asked, its failures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from bokeh.layouts import column, row
from bokeh.models import Button, ColumnDataSource, Div, Select, TabPanel, Tabs

from daskagents.monitor import look
from daskagents.monitor.asking import ask
from daskagents.monitor.page import Choice, fill, html, show
from daskagents.monitor.plugin import MonitorPlugin
from daskagents.monitor.run import frame
from daskagents.monitor.waiting import Waiting, command

_STYLE = f"""
.turn {{ border-left: 3px solid {look.LINE}; padding: 2px 0 2px 10px; margin: 0 0 8px;
  white-space: pre-wrap; overflow-wrap: anywhere; max-width: 76ch; }}
.turn i {{ display: block; font-style: normal; font-size: 12px; color: {look.FAINT}; }}
.turn.assistant {{ border-color: {look.RUNNING}; }}
.turn.system {{ border-color: {look.SLOW}; }}
td.text {{ white-space: pre-wrap; overflow-wrap: anywhere; max-width: 60ch; }}
"""
_HIGH = 330
_NOTHING: dict[str, list[Any]] = {"round": [], "value": []}


class Single:
    """What the page shows of one agent."""

    def __init__(self, plugin: MonitorPlugin, choice: Choice) -> None:
        self.plugin, self.choice = plugin, choice
        self._told = Waiting(lambda: self.root)
        self._talk = Waiting(lambda: self.root)
        self._who: tuple[str, str, int] | None = None
        self._found: dict[str, Any] = {}
        self._turns: list[dict[str, Any]] = []
        self._before: int | None = None
        self._stop: int | None = None
        self._head = html(look.note("Click on an agent to see it."), name="single")
        self._line = ColumnDataSource(_NOTHING)
        self._fails = ColumnDataSource({"round": []})
        self._variable = Select(options=[], width=150, name="single-variable")
        self._variable.on_change("value", lambda attr, old, new: self._draw())
        self._earlier = Button(label="Earlier rounds", width=120, name="single-earlier")
        self._later = Button(label="Later rounds", width=120, name="single-later")
        self._earlier.on_click(lambda: self._turn(-1))
        self._later.on_click(lambda: self._turn(1))
        self._more = Button(label="Earlier messages", width=140, visible=False)
        self._more.on_click(self._ask_more)
        self._parts = {name: _box(name) for name in ("state", "replies", "talk", "failures")}
        self._tabs = Tabs(
            tabs=[
                TabPanel(title="State", child=self._parts["state"]),
                TabPanel(title="Replies", child=self._parts["replies"]),
                TabPanel(title="Conversation", child=column(self._more, self._parts["talk"])),
                TabPanel(title="Failures", child=self._parts["failures"]),
            ],
            sizing_mode="stretch_width",
            name="single-tabs",
        )
        self._picture = row(self._plot(), sizing_mode="stretch_width")
        self._body = column(
            row(self._variable, self._earlier, self._later),
            self._picture,
            self._tabs,
            sizing_mode="stretch_width",
            visible=False,
        )
        self.root = column(self._head, self._body, sizing_mode="stretch_width")

    def _plot(self) -> Any:
        made = frame("", 150)
        made.line("round", "value", source=self._line, line_color=look.RUNNING, line_width=2)
        made.scatter("round", "value", source=self._line, color=look.RUNNING, size=5)
        made.vspan(x="round", source=self._fails, line_color=look.FAILED, line_alpha=0.6)
        made.yaxis.formatter.use_scientific = False
        made.xaxis.ticker.min_interval = 1
        return made

    def close(self) -> None:
        """Show nobody."""
        self._told.drop()
        self._talk.drop()
        self._who = None
        self._body.visible = False
        show(self._head, look.note("Click on an agent to see it."))

    def open(self, population: str, agent: int) -> None:
        """Show an agent."""
        run = self.choice.run
        if run is None:
            return
        self._who, self._stop = (run.topic, population, agent), None
        self.choice.agent = population, agent
        show(self._head, f"<h2>Agent {agent:,}</h2>" + look.note("reading…"))
        self._told.ask(self._ask, self._show)
        self._turns, self._before = [], None
        show(self._parts["talk"], look.note("reading…"))
        self._ask_more()

    async def _ask(self) -> dict[str, Any]:
        """Ask what an agent did, and what it has now: of the run, while it is under way."""
        assert self._who is not None
        topic, population, agent = self._who
        run = self.plugin.runs[topic]
        folder = str(run.about.get("reads", ""))
        found = await ask(self.plugin.scheduler, "history", folder, population, agent, self._stop)
        if run.open and "error" not in found:
            asked = {"do": "look", "population": population, "agents": [agent]}
            now = await command(self.plugin, topic, asked)
            if now.get("rows"):
                found = {**found, "now": now["rows"][0], "step": now.get("step")}
            elif "error" in now:
                found["notes"] = [*found.get("notes", ()), now["error"]]
        return found

    def _ask_more(self) -> None:
        run = self.choice.run
        if self._who is None or run is None or run.topic != self._who[0]:
            return
        _, population, agent = self._who
        given = str(run.about.get("reads", "")), population, agent, self._before
        self._talk.ask(lambda: ask(self.plugin.scheduler, "conversation", *given), self._show_talk)

    def _turn(self, way: int) -> None:
        """Show earlier or later rounds."""
        if self._who is None or not self._found.get("of"):
            return
        of = self._found["of"]
        self._stop = of[0] if way < 0 else min(self._found["rounds"], of[-1] + 1 + len(of))
        self._told.ask(self._ask, self._show)

    def _show(self, found: dict[str, Any]) -> None:
        if "error" in found:
            self._body.visible = False
            show(self._head, f'<p class="bad">{look.short(found["error"], 600)}</p>')
            return
        self._found, self._body.visible = found, True
        show(self._head, _head(found))
        numbers = [name for name, each in found["replies"].items() if _are_numbers(each)]
        self._variable.options, self._variable.visible = numbers, len(numbers) > 1
        if numbers and self._variable.value not in numbers:
            self._variable.value = numbers[0]
        self._picture.visible = bool(numbers)
        of = found["of"]
        self._earlier.visible = bool(of and of[0] > 0)
        self._later.visible = bool(of and of[-1] + 1 < found["rounds"])
        self._draw()
        show(self._parts["state"], state(found))
        show(self._parts["replies"], replies(found))
        show(self._parts["failures"], failures(found["failures"]))

    def _draw(self) -> None:
        """Draw one reply over the rounds."""
        values = self._found.get("replies", {}).get(self._variable.value, ())
        of = self._found.get("of", ())
        pairs = [(number, value) for number, value in zip(of, values, strict=False)]
        fill(
            self._line,
            {
                "round": [number for number, _ in pairs],
                "value": [float("nan") if value is None else value for _, value in pairs],
            },
        )
        flags = zip(of, self._found.get("failed", ()), strict=True)
        bad = [number for number, flag in flags if flag]
        fill(self._fails, {"round": bad})
        title = f"{self._variable.value}, by round" + ("; red where it failed" if bad else "")
        self._picture.children[0].title.text = title[:90]

    def _show_talk(self, found: dict[str, Any]) -> None:
        if "error" in found:
            show(self._parts["talk"], f'<p class="bad">{look.short(found["error"], 600)}</p>')
            return
        self._turns, self._before = [*found["turns"], *self._turns], found["before"]
        self._more.visible = self._before is not None
        show(self._parts["talk"], talk(self._turns))


def _box(name: str) -> Div:
    """Return a part that scrolls where it is long."""
    made = html(name=f"single-{name}")
    made.stylesheets = [*look.SHEETS, _STYLE]
    made.styles = {"max-height": f"{_HIGH}px", "overflow-y": "auto", "padding-top": "6px"}
    return made


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(value is None or isinstance(value, int | float) for value in values)


def _head(found: Mapping[str, Any]) -> str:
    given = ", ".join(f"{name} {words(value)}" for name, value in found["given"].items())
    said = f"{found['population']}, one of {found['agents']:,}"
    said += f" · given: {given}" if given else ""
    known = found["state"] is not None or "now" in found
    every = found["notes"] if known else [*found["notes"], found["why"]]
    notes = "".join(look.note(note) for note in every)
    return f"<h2>Agent {found['id']:,}</h2>" + look.note(said) + notes


def words(value: Any) -> str:
    """Return a plain value as it is shown, not escaped.

    Examples
    --------
    >>> words(1234.5678), words(2.5e7), words(None), words(True), words(3000), words("a text")
    ('1234.57', '25,000,000.0', '', 'yes', '3,000', 'a text')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < 1e6 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def cells(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table whose texts may be long; all of it is escaped.

    Examples
    --------
    >>> cells(["who"], [["<a>"]])
    '<table><tr><th>who</th></tr><tr><td class="text">&lt;a&gt;</td></tr></table>'
    """
    first = "".join(f"<th>{escape(head)}</th>" for head in heads)
    rest = "".join(
        "<tr>" + "".join(f'<td class="text">{escape(words(cell))}</td>' for cell in each) + "</tr>"
        for each in rows
    )
    return f"<table><tr>{first}</tr>{rest}</table>"


def state(found: Mapping[str, Any]) -> str:
    """Return what an agent has, remembers and has not read yet, as HTML."""
    now, old = found.get("now"), found.get("state")
    if now is None and old is None:
        return look.note("Its state is not known.")
    if now is not None:
        when, has = "now", now
        waiting = [
            ("the workflow" if each["from"] < 0 else f"agent {each['from']}", each["content"])
            for each in now["inbox"]
        ]
    else:
        assert old is not None
        when, has = f"after {old['round']:,} rounds, as they were written down", old
        waiting = [(each["sender"], each["content"]) for each in old["inbox"]]
    said = cells(["field", when], has["values"].items()) if has["values"] else ""
    more = has.get("waiting", len(waiting)) - len(waiting)
    also = f", and {more:,} more" if more > 0 else ""
    said += f"<h3>Inbox{also}</h3>" if waiting else look.note("No messages wait for it.")
    said += cells(["from", "message"], waiting) if waiting else ""
    memory = has["memory"]
    if memory:
        of = has.get("remembers", len(memory))
        said += f"<h3>Memory: the last {len(memory)} of {of:,} messages</h3>" + talk(memory)
    return said


def replies(found: Mapping[str, Any]) -> str:
    """Return what an agent replied round by round, the last first, as HTML."""
    if not found["of"]:
        return look.note("No round is in the results yet.")
    names = list(found["replies"])
    columns = [found["of"], *(found["replies"][name] for name in names)]
    rows = [
        [*cell, "failed" if flag else ""]
        for cell, flag in zip(zip(*columns, strict=True), found["failed"], strict=True)
    ]
    return cells(["round", *names, ""], rows[::-1])


def failures(every: Sequence[Mapping[str, Any]]) -> str:
    """Return why an agent failed, as HTML."""
    if not every:
        return look.note("It did not fail in these rounds.")
    rows = [
        [each["round"], f"{each['error']}: {each['message']}", each["where"], each["answer"]]
        for each in every
    ]
    return cells(["round", "error", "where", "what the model had answered"], rows)


def talk(turns: Sequence[Mapping[str, Any]]) -> str:
    """Return a conversation as HTML; all of it is escaped."""
    if not turns:
        return look.note("It has not asked a model in this run, or no journal was kept.")
    said = ""
    for turn in turns:
        who = f"{turn['role']} {turn['name']}".strip()
        if turn.get("round", -1) >= 0:
            who += f", round {turn['round']}"
        kind = turn["role"] if turn["role"] in ("assistant", "system") else "user"
        text = escape(words(turn["content"]))
        said += f'<div class="turn {kind}"><i>{escape(who)}</i>{text}</div>'
    return said
