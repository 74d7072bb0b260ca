"""The view that steers a run: pause and stop it, ask its agents, change some of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from bokeh.layouts import column, row
from bokeh.models import Button, Div, Select, TextAreaInput, TextInput

from daskagents.monitor import look
from daskagents.monitor.entrance import Entrance
from daskagents.monitor.heard import RunSeen
from daskagents.monitor.page import Choice, html, show
from daskagents.monitor.plain import cut, typed
from daskagents.monitor.plugin import MonitorPlugin
from daskagents.monitor.single import words
from daskagents.monitor.waiting import Waiting, command

_STYLE = f"""
.said {{ border-left: 3px solid {look.RUNNING}; padding: 2px 0 2px 10px; margin: 0 0 10px;
  white-space: pre-wrap; overflow-wrap: anywhere; }}
.said i {{ display: block; font-style: normal; font-size: 12px; color: {look.FAINT}; }}
.said.bad {{ border-color: {look.FAILED}; }}
.share {{ display: grid; grid-template-columns: minmax(60px, 40%) 1fr auto; gap: 3px 10px;
  align-items: center; font-size: 13px; max-width: 420px; }}
.share u {{ text-decoration: none; background: {look.RUNNING}; height: 12px; border-radius: 3px; }}
.share b {{ font-weight: 400; font-variant-numeric: tabular-nums; }}
.share span {{ overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }}
"""
_ANYBODY = ""
#: What a free answer is to be, and what the run is told for it.
_KINDS = [("", "any text"), ("float", "a number"), ("int", "a whole number"), ("bool", "yes or no")]
#: Answers that stay on the page, and options that are drawn.
_KEPT, _BARS = 8, 12


class View:
    """Buttons and forms, and what the run answered."""

    name = "Steering"

    def __init__(self, plugin: MonitorPlugin, choice: Choice) -> None:
        self.plugin, self.choice = plugin, choice
        self._topic: str | None = None
        self._entrance = Entrance(choice)
        self._state = html(height=30, name="steer-state")
        self._waits = {
            name: Waiting(lambda: self.root) for name in ("state", "ask", "survey", "change")
        }
        self._boxes = {name: _box(f"said-{name}") for name in self._waits}
        self._kept: dict[str, list[str]] = {name: [] for name in self._waits}
        self._body = column(
            self._make_state(),
            row(
                self._make_ask(),
                self._make_survey(),
                self._make_change(),
                sizing_mode="stretch_width",
                spacing=26,
            ),
            sizing_mode="stretch_width",
        )
        self._closed = html(name="steer-closed")
        self.root = column(
            self._entrance.root, self._closed, self._body, sizing_mode="stretch_width"
        )

    def _make_state(self) -> Any:
        self._pause = _button("Pause", "pause", lambda: self._do("pause"))
        self._resume = _button("Resume", "resume", lambda: self._do("resume"))
        self._stop = _button("Stop", "stop", lambda: self._sure(sure=True))
        self._yes = _button("Yes, stop it", "stop-yes", self._stop_now)
        self._yes.button_type = "danger"
        self._no = _button("No", "stop-no", lambda: self._sure(sure=False))
        self._sure(sure=False)
        self._population = Select(options=[], width=180, name="steer-population")
        self._population.on_change("value", lambda attr, old, new: self._offer())
        return row(
            self._pause,
            self._resume,
            self._stop,
            self._yes,
            self._no,
            self._population,
            column(self._state, self._boxes["state"], sizing_mode="stretch_width"),
            sizing_mode="stretch_width",
        )

    def _make_ask(self) -> Any:
        self._agent = TextInput(title="agent (id)", width=110, name="ask-agent")
        self._question = _area("question", "ask-question")
        self._ask = _button("Ask", "ask", self._interview)
        return _card(
            "Interview one agent",
            "A copy of it answers, as it is now. The run is not disturbed.",
            self._agent,
            self._question,
            self._ask,
            self._boxes["ask"],
        )

    def _make_survey(self) -> Any:
        self._asked = _area("question", "survey-question")
        self._options = TextInput(
            title="options, with commas (or none)", sizing_mode="stretch_width", name="options"
        )
        self._kind = Select(title="else the answer is", options=_KINDS, width=140, name="kind")
        self._where = Select(title="those with", options=[], width=150, name="survey-field")
        self._is = TextInput(title="being", width=110, name="survey-value")
        self._sample = TextInput(
            title="of these", value="100", placeholder="all", width=80, name="sample"
        )
        self._send = _button("Ask them", "survey", self._survey)
        return _card(
            "Survey many",
            "Copies answer; their answers are kept in the run directory, and paid from its budget.",
            self._asked,
            row(self._options, self._kind, sizing_mode="stretch_width"),
            row(self._where, self._is, self._sample),
            self._send,
            self._boxes["survey"],
        )

    def _make_change(self) -> Any:
        self._of = Select(title="those with", options=[], width=150, name="change-field")
        self._equal = TextInput(title="being", width=110, name="change-value")
        self._ids = TextInput(title="or these ids", width=120, name="change-ids")
        self._set = Select(title="get", options=[], width=150, name="set-field")
        self._to = TextInput(title="the value", width=110, name="set-value")
        self._round = TextInput(
            title="from round", placeholder="the next", width=90, name="change-round"
        )
        self._message = _area("and are told", "change-message")
        self._change = _button("Change them", "change", self._intervene)
        return _card(
            "Intervene",
            "It is recorded in the run, so that resuming and replaying include it.",
            row(self._of, self._equal, self._ids),
            row(self._set, self._to, self._round),
            self._message,
            self._change,
            self._boxes["change"],
        )

    def update(self) -> None:
        """Show what can be done with the chosen run now."""
        run, leave = self.choice.run, self.choice.leave.given
        self._entrance.update()
        is_open = run is not None and run.open
        if self._body.visible != (leave and is_open):
            self._body.visible = leave and is_open
        show(self._closed, "" if is_open or not leave else _closed(run))
        if run is None or not is_open:
            return
        if run.topic != self._topic:
            self._topic = run.topic
            self._list(run)
        if self.choice.agent is not None and not self._agent.value:
            self._population.value, agent = self.choice.agent
            self._agent.value = str(agent)
        show(self._state, f"<p>The run is {look.badge(run.state)}</p>")
        for button, off in (
            (self._pause, run.state != "running"),
            (self._resume, run.state != "paused"),
            (self._stop, run.state == "stopping"),
        ):
            if button.disabled != off:
                button.disabled = off

    def _list(self, run: RunSeen) -> None:
        """Offer the populations of a run."""
        names = [each["name"] for each in run.about.get("populations", {}).values()]
        self._population.options, self._population.visible = names, len(names) > 1
        self._population.value = names[0] if names else ""
        self._offer()
        for name, box in self._boxes.items():
            self._waits[name].drop()
            self._kept[name] = []
            show(box, "")

    def _offer(self) -> None:
        """Offer the fields of the chosen population."""
        run = self.choice.run
        if run is None:
            return
        fields = list(self._fields(run))
        anybody = [(_ANYBODY, "anything"), *((name, name[:40]) for name in fields)]
        for select in (self._where, self._of):
            select.options, select.value = anybody, _ANYBODY
        self._set.options = [(_ANYBODY, "nothing"), *((name, name[:40]) for name in fields)]
        self._set.value = _ANYBODY

    def _fields(self, run: RunSeen) -> dict[str, str]:
        """Return the fields of the chosen population, and their types."""
        every = run.about.get("populations", {}).values()
        own = (each for each in every if each["name"] == self._population.value)
        fields: dict[str, str] = next((each.get("fields", {}) for each in own), {})
        return {name: label for name, label in fields.items() if not name.startswith("_")}

    def _sure(self, *, sure: bool) -> None:
        self._yes.visible = self._no.visible = sure
        self._stop.visible = not sure

    def _stop_now(self) -> None:
        self._sure(sure=False)
        self._do("stop")

    def _do(self, what: str) -> None:
        self._command("state", {"do": what}, lambda said: "")

    def _command(
        self,
        part: str,
        said: Mapping[str, Any],
        shown: Callable[[Mapping[str, Any]], str],
        about: str = "",
    ) -> None:
        """Give the run a command, and show what it answers in one part of the page."""
        run = self.choice.run
        if run is None or not self.choice.leave.given:
            return
        topic = run.topic
        head = f"<i>{escape(cut(about, 300))}</i>" if about else ""
        waiting = f'<div class="said">{head}{look.note("waiting for the answer…")}</div>'
        show(self._boxes[part], waiting + "".join(self._kept[part]))

        def done(found: dict[str, Any]) -> None:
            bad = "error" in found
            text = escape(cut(str(found["error"]), 600)) if bad else shown(found)
            kind = "said bad" if bad else "said"
            news = [f'<div class="{kind}">{head}{text}</div>'] if text else []
            # what a state was asked for need not be told twice
            self._kept[part] = (news if part == "state" else [*news, *self._kept[part]])[:_KEPT]
            show(self._boxes[part], "".join(self._kept[part]))

        self._waits[part].ask(lambda: command(self.plugin, topic, said), done)

    def _wrong(self, part: str, error: object) -> None:
        bad = f'<div class="said bad">{look.short(error, 400)}</div>'
        show(self._boxes[part], bad + "".join(self._kept[part]))

    def _interview(self) -> None:
        agent, question = str(self._agent.value).strip(), str(self._question.value).strip()
        if not agent.isdigit() or not question:
            self._wrong("ask", "Enter the id of an agent, and a question.")
            return
        said = {"do": "interview", "population": self._population.value, "agent": int(agent)}
        about = f"agent {agent}: {question}"
        self._command("ask", {**said, "question": question}, answer, about)

    def _survey(self) -> None:
        run = self.choice.run
        if run is None:
            return
        question, sample = str(self._asked.value).strip(), str(self._sample.value).strip()
        options = [part.strip() for part in str(self._options.value).split(",") if part.strip()]
        said: dict[str, Any] = {"do": "survey", "population": self._population.value}
        try:
            if not question:
                raise ValueError("Enter a question.")
            if sample and not sample.isdigit():
                raise ValueError(f"{sample!r} is no number of agents")
            said |= {"question": question, **self._condition(run, self._where, self._is)}
        except ValueError as error:
            self._wrong("survey", error)
            return
        said |= {"sample": int(sample)} if sample else {}
        said |= {"choices": options} if options else {}
        if not options and self._kind.value:
            said["schema"] = self._kind.value
        self._command("survey", said, result, question)

    def _condition(self, run: RunSeen, field: Select, value: TextInput) -> dict[str, Any]:
        name = str(field.value)
        if not name:
            return {}
        return {"where": {name: typed(str(value.value), self._fields(run)[name])}}

    def _intervene(self) -> None:
        run = self.choice.run
        if run is None:
            return
        number, message = str(self._round.value).strip(), str(self._message.value).strip()
        ids = [part.strip() for part in str(self._ids.value).split(",") if part.strip()]
        said: dict[str, Any] = {"do": "intervene", "population": self._population.value}
        try:
            said |= self._condition(run, self._of, self._equal)
            if not all(part.isdigit() for part in (*ids, *([number] if number else []))):
                raise ValueError("ids and rounds are whole numbers")
            if self._set.value:
                name = str(self._set.value)
                said["set"] = {name: typed(str(self._to.value), self._fields(run)[name])}
            elif not message:
                raise ValueError("Choose a field that is to get another value, or enter a message.")
        except ValueError as error:
            self._wrong("change", error)
            return
        said |= {"agents": [int(part) for part in ids]} if ids else {}
        said |= {"message": message} if message else {}
        said |= {"round": int(number)} if number else {}
        self._command("change", said, changed, _asked(said))


def _button(label: str, name: str, do: Callable[[], None]) -> Button:
    made = Button(label=label, width=max(70, 9 * len(label) + 24), name=f"do-{name}")
    made.on_click(do)
    return made


def _area(title: str, name: str) -> TextAreaInput:
    made = TextAreaInput(
        title=title, height=78, max_length=10_000, sizing_mode="stretch_width", name=name
    )
    made.stylesheets = [".bk-input { padding-top: 6px !important; }"]
    return made


def _box(name: str) -> Div:
    made = html(name=name)
    made.stylesheets = [*look.SHEETS, _STYLE]
    return made


def _card(title: str, about: str, *inside: Any) -> Any:
    head = html(f"<h2>{escape(title)}</h2>" + look.note(about))
    return column(head, *inside, sizing_mode="stretch_width", min_width=330)


def _closed(run: RunSeen | None) -> str:
    if run is None:
        return look.note("No run has begun.")
    folder = run.about.get("folder")
    where = str(folder) if folder else "DIR"
    return look.note(
        "This run has ended. Its agents can still be asked, by the state in its directory:"
        f" daskagents interview {where} AGENT QUESTION, or daskagents survey {where} QUESTION."
    )


def _asked(said: Mapping[str, Any]) -> str:
    """Return an intervention in words."""
    who = ", ".join(f"{name} = {value}" for name, value in said.get("where", {}).items())
    who = who or ", ".join(f"agent {each}" for each in said.get("agents", ())) or "all"
    what = [f"{name} := {value}" for name, value in said.get("set", {}).items()]
    what += [f"told: {said['message']}"] if "message" in said else []
    return f"{who}: {'; '.join(what)}"


def answer(found: Mapping[str, Any]) -> str:
    """Return what an agent answered in an interview, as HTML."""
    content = found.get("content")
    text = words(content) if not isinstance(content, dict) else _asked({"set": content})
    model = f" · {found['model']}" if found.get("model") else ""
    return f"{escape(text)}<i>after step {found.get('step', 0)}{escape(model)}</i>"


def changed(found: Mapping[str, Any]) -> str:
    """Return from when on an intervention is there, as HTML."""
    return f"from round {int(found['round']):,} on"


def result(found: Mapping[str, Any]) -> str:
    """Return what came of a survey, as HTML: bars for the answers, or quantiles.

    Examples
    --------
    >>> "width:75.0%" in result({"name": "s", "asked": 4, "failed": 0, "counts": {"a": 3, "b": 1}})
    True
    """
    asked, failed = int(found["asked"]), int(found["failed"])
    said = f"<i>{asked:,} asked, {failed:,} failed; kept as {escape(str(found['name']))}</i>"
    if found.get("first_failure"):
        said += f"<i>{escape(str(found['first_failure']))}</i>"
    counts = found.get("counts") or {}
    total = max(1, sum(counts.values()) + int(found.get("others", 0)))
    if counts:
        said += f'<div class="share">{"".join(_bars(counts, total))}</div>'
    left = max(0, len(counts) - _BARS)
    said += f"<i>and {left:,} other answers</i>" if left else ""
    if found.get("quantiles"):
        names = ("least", "5 %", "25 %", "median", "75 %", "95 %", "most")
        said += look.table(names, [[look.number(each, 4) for each in found["quantiles"]]])
    if found.get("mean") is not None:
        said += f"<i>mean {look.number(found['mean'], 4)}</i>"
    return said


def _bars(counts: Mapping[str, int], total: int) -> list[str]:
    return [
        f"<span>{escape(cut(str(name), 80))}</span>"
        f'<u style="width:{100 * count / total:.1f}%"></u>'
        f"<b>{count:,} ({count / total:.0%})</b>"
        for name, count in list(counts.items())[:_BARS]
    ]
