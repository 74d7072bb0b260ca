"""The view of the workers: what each has and does; one can be retired, and some added."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from bokeh.layouts import column, row
from bokeh.models import (
    Button,
    ColumnDataSource,
    DataTable,
    Spinner,
    StringFormatter,
    TableColumn,
)

from daskagents.html import size
from daskagents.monitor import look
from daskagents.monitor.entrance import Entrance
from daskagents.monitor.heard import RunSeen
from daskagents.monitor.page import Choice, fill, html, show
from daskagents.monitor.plugin import MonitorPlugin
from daskagents.monitor.waiting import Waiting, command

#: A column: its name, its title, its width.
_COLUMNS = [
    ("name", "name", 70),
    ("address", "address", 190),
    ("host", "host", 110),
    ("status", "status", 120),
    ("cpu", "CPU", 60),
    ("memory", "memory", 150),
    ("tasks", "tasks", 60),
    ("blocks", "blocks", 60),
    ("agents", "agents", 90),
    ("replies", "replies", 90),
    ("calls", "calls", 80),
    ("flying", "under way", 80),
]
#: Workers that are shown, and pixels of the table.
_MOST, _HIGH = 500, 400


class View:
    """The workers of the cluster, and what they have of the chosen run."""

    name = "Workers"

    def __init__(self, plugin: MonitorPlugin, choice: Choice) -> None:
        self.plugin, self.choice = plugin, choice
        self._retiring: set[str] = set()
        self._tasks: set[asyncio.Future[None]] = set()
        self._wait = Waiting(lambda: self.root)
        self._entrance = Entrance(choice)
        self._sums = html(height=72, name="sums")
        self._rows = ColumnDataSource({key: [] for key, _, _ in _COLUMNS})
        self._table = DataTable(
            source=self._rows,
            columns=[_column(*each) for each in _COLUMNS],
            index_position=None,
            sizing_mode="stretch_width",
            height=_HIGH,
            row_height=26,
            reorderable=False,
            name="workers",
        )
        self._retire = Button(label="Retire the selected worker", width=220, name="retire")
        self._retire.on_click(self._ask_retire)
        self._sure = Button(label="Yes, retire it", button_type="danger", width=130, name="sure")
        self._no = Button(label="No", width=60, name="no")
        self._sure.on_click(self._do_retire)
        self._no.on_click(self._cancel)
        self._count = Spinner(low=1, high=10_000, step=1, value=1, width=80, name="count")
        self._scale = Button(label="Set the number of workers", width=190, name="scale")
        self._scale.on_click(self._ask_scale)
        self._buttons = row(self._retire, self._sure, self._no, self._count, self._scale)
        self._said = html(name="workers-said")
        self._chosen = ""
        self._counted = False
        self._cancel()
        self.root = column(
            self._sums,
            self._table,
            self._entrance.root,
            self._buttons,
            self._said,
            sizing_mode="stretch_width",
        )

    def update(self) -> None:
        """Show the workers there are now."""
        scheduler, run = self.plugin.scheduler, self.choice.run
        rows = told(scheduler, self.plugin, run)
        for each in rows:
            if each["address"] in self._retiring and each["status"] == "running":
                each["status"] = "retiring"
        data = {key: [each[key] for each in rows] for key, _, _ in _COLUMNS}
        chosen = self._selected()
        fill(self._rows, data)
        if chosen and chosen in data["address"]:  # whoever came or went above it
            at = data["address"].index(chosen)
            if self._rows.selected.indices != [at]:
                self._rows.selected.indices = [at]
        elif chosen:  # nobody is chosen by having its place
            self._rows.selected.indices = []
        height = min(_HIGH, 36 + 26 * max(1, len(rows)))
        if self._table.height != height:
            self._table.height = height
        show(self._sums, look.tiles(sums(scheduler, run)))
        self._entrance.update()
        if self._buttons.visible != self.choice.leave.given:
            self._buttons.visible = self.choice.leave.given
        if not self._counted and rows:
            self._counted, self._count.value = True, len(rows)

    def _selected(self) -> str:
        at, known = self._rows.selected.indices, self._rows.data["address"]
        return str(known[at[0]]) if at and at[0] < len(known) else ""

    def _cancel(self) -> None:
        self._sure.visible = self._no.visible = False
        self._retire.visible = True

    def _ask_retire(self) -> None:
        """Ask whether the selected worker is really to go."""
        self._chosen = self._selected()
        running = [w for w in self.plugin.scheduler.workers.values() if w.status.name == "running"]
        if not self._chosen:
            show(self._said, look.note("Click on a worker in the table first."))
        elif len(running) < 2:
            show(self._said, look.note("It is the only worker, and its blocks have nowhere to go."))
        else:
            show(self._said, look.note(f"{self._chosen} hands its blocks over, and ends."))
            self._sure.visible = self._no.visible = True
            self._retire.visible = False

    def _do_retire(self) -> None:
        address = self._chosen
        self._cancel()
        if not self.choice.leave.given or address not in self.plugin.scheduler.workers:
            return
        self._retiring.add(address)
        show(self._said, look.note(f"{address} is handing over what it holds…"))
        # not to be given up where somebody closes the page
        task = asyncio.ensure_future(self._retire_now(address))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _retire_now(self, address: str) -> None:
        try:
            gone = await self.plugin.scheduler.retire_workers(
                workers=[address], close_workers=True, remove=True
            )
            said = f"{address} is retired." if gone else f"{address} could not hand over all."
        except Exception as error:  # the page says it, and goes on
            said = f"{address} could not be retired: {error}"
        self._retiring.discard(address)
        document = self.root.document
        if document is not None:
            document.add_next_tick_callback(lambda: show(self._said, look.note(said)))

    def _ask_scale(self) -> None:
        run = self.choice.run
        if not self.choice.leave.given:
            return
        if run is None or not run.open:
            said = "Workers are started by the program of a run that is under way; none is."
            show(self._said, look.note(said))
            return
        topic, asked = run.topic, {"do": "scale", "workers": int(self._count.value or 1)}
        show(self._said, look.note("asking the program of the run…"))
        self._wait.ask(lambda: command(self.plugin, topic, asked), self._scaled)

    def _scaled(self, found: dict[str, Any]) -> None:
        if "error" in found:
            show(self._said, f'<p class="bad">{look.short(found["error"], 600)}</p>')
        else:
            show(self._said, look.note(f"There will be {found['workers']} workers."))


def _column(key: str, title: str, width: int) -> TableColumn:
    """Return a column of the table, whose texts are escaped."""
    right = key in ("cpu", "tasks", "blocks", "agents", "replies", "calls", "flying")
    shape = StringFormatter(text_align="right" if right else "left")
    return TableColumn(field=key, title=title, width=width, sortable=False, formatter=shape)


def told(scheduler: Any, plugin: MonitorPlugin, run: RunSeen | None) -> list[dict[str, str]]:
    """Return what is said of each worker, by name; at most 500 of them."""
    held = holdings(scheduler, run) if run is not None and run.open else {}
    flying = under_way(scheduler, run) if run is not None else Counter()
    found = []
    for worker in list(scheduler.workers.values())[:_MOST]:
        address, metrics = worker.address, worker.metrics
        blocks, agents = held.get(address, (0, 0))
        limit = f" of {size(worker.memory_limit)}" if worker.memory_limit else ""
        found.append(
            {
                "name": "" if worker.name == address else str(worker.name),
                "address": address,
                "host": str(worker.host),
                "status": worker.status.name.replace("_", " "),
                "cpu": f"{metrics.get('cpu', 0):.0f} %",
                "memory": f"{size(metrics.get('memory', 0))}{limit}",
                "tasks": f"{len(worker.processing):,}",
                "blocks": f"{blocks:,}",
                "agents": f"{agents:,}",
                "replies": "" if run is None else f"{run.replies_by[address]:,}",
                "calls": "" if run is None else f"{run.calls_by[address]:,}",
                "flying": f"{flying[address]:,}",
            }
        )
    return sorted(found, key=lambda each: (len(each["name"]), each["name"]))


def holdings(scheduler: Any, run: RunSeen) -> dict[str, tuple[int, int]]:
    """Return how many blocks, and how many agents in them, each worker holds the newest of."""
    seen: dict[tuple[str, int], tuple[str, int]] = {}
    for number in sorted(run.steps, reverse=True):
        step = run.steps[number]
        asked = step.blocks if step.blocks is not None else sorted(step.cells)
        for place, index in enumerate(asked):
            cell = step.cells.get(index)
            if cell is None or (step.population, index) in seen:
                continue
            task = scheduler.tasks.get((f"step-{step.population}-{number}-{run.token}", place))
            holders = [] if task is None else [each.address for each in task.who_has or ()]
            if holders or cell.state in ("done", "apart"):
                where = holders[0] if holders else cell.worker
                seen[step.population, index] = where, cell.rows
    found: dict[str, tuple[int, int]] = {}
    for where, rows in seen.values():
        blocks, agents = found.get(where, (0, 0))
        found[where] = blocks + 1, agents + rows
    return found


def under_way(scheduler: Any, run: RunSeen) -> Counter[str]:
    """Return how many calls each worker has under way at endpoints."""
    keeper = scheduler.plugins.get("daskagents-keeper")
    accounts = None if keeper is None else keeper.runs.get(run.topic)
    found: Counter[str] = Counter()
    for account in [] if accounts is None else [each for _, each in accounts.items()]:
        for worker, holder in getattr(account, "holders", {}).items():
            found[worker] += int(getattr(holder, "flying", 0))
    return found


def sums(scheduler: Any, run: RunSeen | None) -> dict[str, str]:
    """Return figures of all workers together."""
    workers = list(scheduler.workers.values())
    limits = [worker.memory_limit or 0 for worker in workers]
    memory = size(sum(worker.metrics.get("memory", 0) for worker in workers))
    found = {
        "workers": f"{len(workers):,}",
        "threads": f"{sum(worker.nthreads for worker in workers):,}",
        "memory" + (f" of {size(sum(limits))}" if all(limits) and limits else ""): memory,
    }
    if run is not None:
        found["calls of this run"] = f"{sum(run.calls_by.values()):,}"
    return found
