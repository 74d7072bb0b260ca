"""The page of the agents in the Dask dashboard: what is above all views, and the views in tabs.

A view is a module of this package with a class ``View``::

    class View:
        name = "Blocks"                        # on its tab

        def __init__(self, plugin, choice):    # MonitorPlugin, Choice; once its tab is opened
            self.root = column(...)            # a Bokeh layout, made once; wide as the page

        def update(self):                      # twice a second while its tab is shown
            run = self.choice.run              # RunSeen, or None as long as no run has begun
            ...

All is on the event loop of the scheduler, so `update` must be quick: it reads what the plugin has
summed up, and changes only what has changed (`show` and `fill` see to that). What takes longer is
asked of a worker (`daskagents.monitor.asking`). Texts of users, agents and models go through
`look.short` or `html.escape` before they are HTML. `choice.run` may be another run at any time, and
one that has ended. `VIEWS` names the modules, in the order of the tabs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from bokeh.core.property.descriptors import UnsetValueError
from bokeh.document import Document
from bokeh.layouts import column, row
from bokeh.models import ColumnDataSource, Div, Select, TabPanel, Tabs

from daskagents.monitor import look
from daskagents.monitor.heard import RunSeen
from daskagents.monitor.token import Leave

if TYPE_CHECKING:
    from daskagents.monitor.plugin import MonitorPlugin

#: The modules of the views, in the order of their tabs.
VIEWS = ["run", "blocks", "models", "replies", "agents", "workers", "steering"]
#: Milliseconds between two updates.
_EVERY = 500
_NEWEST = ""


class View(Protocol):
    """What a tab shows."""

    name: str
    root: Any

    def update(self) -> None:
        """Show what there is now."""


class Choice:
    """What somebody who looks at the page has chosen.

    Attributes
    ----------
    topic : str
        Of the run; empty for the newest.
    step : int or None
        Of its steps; None for the newest.
    agent : tuple or None
        The population and the id of the agent that was looked at last.
    leave : Leave
        Whether they may steer runs.
    """

    def __init__(self, plugin: MonitorPlugin, request: Any) -> None:
        self._plugin = plugin
        self.topic = _NEWEST
        self.step: int | None = None
        self.agent: tuple[str, int] | None = None
        self.leave = Leave(plugin.scheduler, request)

    @property
    def run(self) -> RunSeen | None:
        """The chosen run; None as long as none has begun."""
        chosen = self._plugin.runs.get(self.topic) if self.topic else None
        return chosen or self._plugin.newest()


def show(div: Div, text: str) -> None:
    """Show HTML, unless it is shown already."""
    if div.text != text:
        div.text = text


def fill(source: ColumnDataSource, data: dict[str, Any]) -> None:
    """Put data into a source, unless it is there already."""
    old = source.data
    same = old.keys() == data.keys() and all(_same(old[name], data[name]) for name in data)
    if not same:
        source.data = data


def _same(old: Any, new: Any) -> bool:
    if len(old) != len(new):
        return False
    if hasattr(old, "tobytes") and hasattr(new, "tobytes"):
        return bool(old.tobytes() == new.tobytes())
    if hasattr(old, "tobytes") or hasattr(new, "tobytes"):
        return False
    return all(
        _same(a, b) if hasattr(a, "tobytes") else a == b for a, b in zip(old, new, strict=True)
    )


def html(text: str = "", **about: Any) -> Div:
    """Return a `Div` in the style of the page."""
    return Div(text=text, stylesheets=look.SHEETS, sizing_mode="stretch_width", **about)


class Page:
    """The page as one browser shows it."""

    def __init__(self, plugin: MonitorPlugin, request: Any) -> None:
        self.plugin, self.choice = plugin, Choice(plugin, request)
        made = [import_module(f"daskagents.monitor.{name}").View for name in VIEWS]
        # each is made when its tab is first opened: all of them take half a second
        self._makers: list[type[Any]] = made
        self._views: dict[int, View] = {}
        self._places = [column(sizing_mode="stretch_width") for _ in made]
        self._head = html(height=58, name="head")
        self._select = Select(title="", options=[(_NEWEST, "newest run")], width=330, name="runs")
        self._select.on_change("value", self._choose)
        named = zip(self._places, made, strict=True)
        panels = [TabPanel(child=place, title=view.name) for place, view in named]
        self._tabs = Tabs(tabs=panels, sizing_mode="stretch_width", name="tabs")
        self._tabs.on_change("active", self._turn)
        top = row(self._head, self._select, sizing_mode="stretch_width")
        self.root = column(
            top, self._tabs, sizing_mode="stretch_width", styles={"padding": "6px 8px"}
        )

    def _choose(self, attr: str, old: str, new: str) -> None:
        self.choice.topic, self.choice.step = new, None
        self.update()

    def _turn(self, attr: str, old: int, new: int) -> None:
        self.update()

    def update(self) -> None:
        """Show what there is now: above all tabs, and in the one that is open."""
        run = self.choice.run
        if run is not None:
            self.plugin.refresh(run)
        self._list()
        show(self._head, _head_of(run))
        active = self._active()
        view = self._views.get(active)
        if view is None:
            view = self._views[active] = self._makers[active](self.plugin, self.choice)
            view.update()
            self._places[active].children = [view.root]
        else:
            view.update()

    def _active(self) -> int:
        try:
            return int(self._tabs.active)
        except UnsetValueError:
            return 0

    def _list(self) -> None:
        options = [(_NEWEST, "newest run")]
        for run in reversed(self.plugin.runs.values()):
            seed = run.about.get("seed", "")
            options.append((run.topic, f"{run.workflow[:40]} · seed {seed} · {run.state}"))
        if self._select.options != options:
            self._select.options = options


def _head_of(run: RunSeen | None) -> str:
    """Return what is said of a run above all views."""
    if run is None:
        return "<h2>No run has begun</h2>" + look.note(
            "This page shows the runs of daskagents on this cluster, from their start on."
        )
    about = run.about
    sizes = ", ".join(
        f"{look.number(of.get('agents', 0))} {of.get('class', '')}"
        for of in about.get("populations", {}).values()
    )
    given = about.get("workflow", {}).get("parameters", {})
    said = [sizes] if sizes else []
    said += [", ".join(f"{name}={_short(value)}" for name, value in given.items())] if given else []
    said += [f"seed {about['seed']}"] if "seed" in about else []
    said += [str(about["folder"])] if about.get("folder") else []
    return f"<h2>{look.short(run.workflow)}{look.badge(run.state)}</h2>" + look.note(
        " · ".join(said)
    )


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def make_page(doc: Document, plugin: MonitorPlugin) -> None:
    """Make the page for one browser."""
    page = Page(plugin, doc.session_context.request)
    page.update()
    # not by Dask's function: it switches checks of Bokeh off, for all threads of the process
    doc.add_periodic_callback(page.update, _EVERY)
    doc.title = "Dask: Agents"
    doc.add_root(page.root)
