"""The view of single agents: they are found by what they are or replied, 50 at a time."""

from __future__ import annotations

from typing import Any

from bokeh.layouts import column, row
from bokeh.models import (
    Button,
    ColumnDataSource,
    DataTable,
    Select,
    StringFormatter,
    TableColumn,
    TextInput,
)

from daskagents.monitor import look
from daskagents.monitor.asking import ask
from daskagents.monitor.finding import PAGE
from daskagents.monitor.heard import RunSeen
from daskagents.monitor.page import Choice, html, show
from daskagents.monitor.plain import typed
from daskagents.monitor.plugin import MonitorPlugin
from daskagents.monitor.single import Single, words
from daskagents.monitor.waiting import Waiting, command

#: Who is looked for, in words.
_WHO = [
    ("all", "all, by id"),
    ("ids", "these ids"),
    ("largest", "the largest"),
    ("smallest", "the smallest"),
    ("value", "those with"),
    ("round", "who failed in the round"),
    ("ever", "who ever failed"),
]
_SOURCES = {"reply": "reply", "given": "given", "state": "now"}
#: Pixels that a table is wide at least, and how high it is.
_WIDE, _HIGH = 600, 560


class View:
    """A search, what it found, and one agent of these."""

    name = "Agents"

    def __init__(self, plugin: MonitorPlugin, choice: Choice) -> None:
        self.plugin, self.choice = plugin, choice
        self._topic: str | None = None
        self._known: dict[str, list[str]] = {}
        self._found: dict[str, Any] = {}
        self._asked: dict[str, Any] = {}
        self._wait = Waiting(lambda: self.root)
        self._population = Select(title="population", options=[], width=140, name="population")
        self._who = Select(title="find", options=_WHO, value="all", width=170, name="who")
        self._field = Select(title="of", options=[], width=190, visible=False, name="field")
        self._value = TextInput(title="is", width=150, visible=False, name="value")
        self._ids = TextInput(title="ids, with commas", width=190, visible=False, name="ids")
        self._round = TextInput(title="round", placeholder="the last", width=80, name="round")
        self._find = Button(label="Find", button_type="primary", width=80, name="find")
        self._find.styles = {"margin-top": "23px"}
        self._who.on_change("value", lambda attr, old, new: self._arrange())
        self._population.on_change("value", lambda attr, old, new: self._start())
        self._find.on_click(self._start)
        for field in (self._value, self._ids, self._round):
            field.on_change("value", self._entered)
        self._back = Button(label="◀", width=42, disabled=True, name="back")
        self._next = Button(label="▶", width=42, disabled=True, name="next")
        self._back.on_click(lambda: self._turn(-PAGE))
        self._next.on_click(lambda: self._turn(PAGE))
        self._said = html(height=34, name="found")
        self._place = column(min_width=420, height=_HIGH, sizing_mode="stretch_width")
        self._single = Single(plugin, choice)
        self.root = column(
            row(
                self._population,
                self._who,
                self._field,
                self._value,
                self._ids,
                self._round,
                self._find,
            ),
            row(
                column(
                    row(self._back, self._next, self._said, sizing_mode="stretch_width"),
                    self._place,
                    sizing_mode="stretch_width",
                ),
                self._single.root,
                sizing_mode="stretch_width",
                spacing=18,
            ),
            sizing_mode="stretch_width",
        )

    def update(self) -> None:
        """Look anew when another run is chosen, or the first round is there; else when asked."""
        run = self.choice.run
        if run is None:
            show(self._said, look.note("No run has begun."))
            return
        if run.topic != self._topic:
            self._topic = run.topic
            self._single.close()
            self._list(run)
            self._start()
        elif self._found.get("round", 0) is None and run.closed and not self._wait.busy:
            self._start()

    def _list(self, run: RunSeen) -> None:
        names = [each["name"] for each in run.about.get("populations", {}).values()]
        self._population.options = names
        self._population.visible = len(names) > 1
        self._population.value = names[0] if names else ""
        self._known = {}
        self._arrange()

    def _fields(self) -> dict[str, str]:
        """Return the fields of the agents' state, and their types."""
        run = self.choice.run
        every = {} if run is None else run.about.get("populations", {})
        own = (each for each in every.values() if each["name"] == self._population.value)
        fields: dict[str, str] = next((each.get("fields", {}) for each in own), {})
        return {name: label for name, label in fields.items() if not name.startswith("_")}

    def _arrange(self) -> None:
        """Show what can be entered for what is looked for."""
        who = self._who.value
        self._field.visible = who in ("largest", "smallest", "value")
        self._value.visible, self._ids.visible = who == "value", who == "ids"
        known = {**self._known, "state": list(self._fields())}
        options = [
            (f"{source}:{name}", f"{name[:40]} ({_SOURCES[source]})")
            for source in _SOURCES
            for name in known.get(source, ())
        ]
        if self._field.options != options:
            self._field.options = options
        if options and self._field.value not in [key for key, _ in options]:
            self._field.value = options[0][0]

    def _entered(self, attr: str, old: str, new: str) -> None:
        if new:
            self._start()

    def _start(self) -> None:
        """Look for what is entered, from the first on."""
        try:
            self._asked = self._query()
        except ValueError as error:
            show(self._said, f'<p class="bad">{look.short(error, 300)}</p>')
            return
        self._look(0)

    def _query(self) -> dict[str, Any]:
        who, value = str(self._who.value), str(self._value.value).strip()
        source, _, name = str(self._field.value or "").partition(":")
        number = str(self._round.value).strip()
        query: dict[str, Any] = {"round": -1}
        if number:
            if not number.lstrip("-").isdigit():
                raise ValueError(f"{number!r} is no number of a round")
            query["round"] = int(number)
        if who == "ids":
            parts = [part.strip() for part in str(self._ids.value).split(",") if part.strip()]
            if not parts or not all(part.isdigit() for part in parts):
                raise ValueError("enter the ids of agents, such as 5, 17")
            query["ids"] = [int(part) for part in parts][:PAGE]
        elif who in ("round", "ever"):
            query["failed"] = who
        elif who in ("largest", "smallest"):
            query |= {"by": [source, name], "largest": who == "largest"}
        elif who == "value":
            query["where"] = [source, name, value]
        return query

    def _turn(self, way: int) -> None:
        self._look(max(0, self._found.get("start", 0) + way))

    def _look(self, start: int) -> None:
        run = self.choice.run
        if run is None:
            return
        show(self._said, look.note("looking…"))
        query = dict(self._asked)
        self._wait.ask(lambda: self._ask(run, query, start), self._show)

    async def _ask(self, run: RunSeen, query: dict[str, Any], start: int) -> dict[str, Any]:
        """Ask the run itself for what agents have now, else a worker for what is written down."""
        population = str(self._population.value or "")
        pair = query.get("by") or query.get("where") or [""]
        note = ""
        if pair[0] == "state" and run.open:
            found = await self._ask_run(run, query, population, start)
            if "error" not in found:
                return found
            note = found["error"]
        folder = str(run.about.get("reads", ""))
        found = await ask(self.plugin.scheduler, "find", folder, population, query, start)
        return {**found, "note": note} if note else found

    async def _ask_run(
        self, run: RunSeen, query: dict[str, Any], population: str, start: int
    ) -> dict[str, Any]:
        fields = self._fields()
        asked: dict[str, Any] = {"do": "find", "population": population, "start": start}
        if "by" in query:
            asked |= {"by": query["by"][1], "largest": query["largest"]}
        if "where" in query:
            _, name, text = query["where"]
            try:
                asked["where"] = {name: typed(text, fields[name])}
            except ValueError as error:
                return {"error": str(error)}
        found = await command(self.plugin, run.topic, asked)
        if "error" in found:
            return found
        rows = [
            {"id": each["id"], "failed": False, "values": [each["values"].get(n) for n in fields]}
            for each in found["rows"]
        ]
        columns = [["state", name] for name in fields]
        return {**found, "start": start, "columns": columns, "rows": rows, "now": True}

    def _show(self, found: dict[str, Any]) -> None:
        if "error" in found:
            show(self._said, f'<p class="bad">{look.short(found["error"], 600)}</p>')
            return
        self._found = found
        self._known = found.get("known", self._known)
        self._arrange()
        rows, start = found["rows"], found["start"]
        self._back.disabled = start == 0
        self._next.disabled = start + len(rows) >= found["found"]
        show(self._said, said(found))
        data: dict[str, list[Any]] = {"id": [f"{each['id']:,}" for each in rows]}
        titles = ["id"]
        for at, (source, name) in enumerate(found["columns"]):
            data[f"c{at}"] = [words(each["values"][at]) for each in rows]
            titles.append(name if source != "state" else f"{name} (now)")
        if any(each["failed"] for each in rows):
            data["why"] = [each.get("why", "failed") if each["failed"] else "" for each in rows]
            titles.append("failed")
        # a new one each time: a table whose columns have changed shows no other data, and keeps
        # what was selected
        self._place.children = [self._table(data, titles)]

    def _table(self, data: dict[str, list[Any]], titles: list[str]) -> DataTable:
        """Return a table of agents; a click on a row opens one."""
        source = ColumnDataSource(data)
        source.selected.on_change("indices", self._click)
        widths = [_wide(key, texts) for key, texts in data.items()]
        widths[-1] += max(0, _WIDE - sum(widths))
        columns = [
            TableColumn(
                field=key, title=title, formatter=StringFormatter(), sortable=False, width=width
            )
            for key, title, width in zip(data, titles, widths, strict=True)
        ]
        return DataTable(
            source=source,
            columns=columns,
            index_position=None,
            sizing_mode="stretch_width",
            height=_HIGH,
            row_height=24,
            reorderable=False,
            autosize_mode="none",  # "fit_columns" raises errors in browsers, in bokeh 3.9
        )

    def _click(self, attr: str, old: list[int], new: list[int]) -> None:
        rows = self._found.get("rows", ())
        if new and new[0] < len(rows):
            self._single.open(str(self._population.value or ""), rows[new[0]]["id"])


def _wide(key: str, texts: list[str]) -> int:
    """Return how wide a column is, by what is in it."""
    if key == "why":
        return 260
    return min(260, max(64, 8 * max(map(len, texts), default=0) + 16))


def said(found: dict[str, Any]) -> str:
    """Return how many were found, and when."""
    n, start, rows = found["found"], found["start"], len(found["rows"])
    text = f"{start + 1:,} to {start + rows:,} of {n:,}" if rows else f"none of {n:,}"
    if found.get("now"):
        text += ", as they are now"
    elif found.get("round") is not None:
        text += f", round {found['round']:,} of {found['rounds']:,}"
    else:
        text += "; no round is in the results yet"
    note = f" ({found['note']})" if found.get("note") else ""
    return look.note(text + note)
