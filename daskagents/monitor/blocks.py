"""The view of the blocks: where each of them is, step after step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from bokeh.events import Tap
from bokeh.layouts import column, row
from bokeh.models import ColumnDataSource, CustomJSHover, FixedTicker, HoverTool, LinearColorMapper
from bokeh.plotting import figure

from daskagents.monitor import look
from daskagents.monitor.heard import STEPS, Cell, RunSeen, StepSeen
from daskagents.monitor.page import Choice, fill, html, show
from daskagents.monitor.plugin import MonitorPlugin
from daskagents.monitor.run import frame

#: How a block is coloured, by a number: nothing, then what it does.
CODES = ("", "waiting", "on a worker", "done", "done, slow", "failed", "run apart")
_COLOURS = ["#fafafa", look.WAITING, look.RUNNING, look.DONE, look.SLOW, look.FAILED, look.APART]
_OF_STATE = {"waiting": 1, "running": 2, "done": 3, "failed": 5, "apart": 6}
#: How many times as long as usual in its step a slow block took; and seconds that are never slow.
_SLOW, _SHORT = 2.0, 0.05
#: Rows of the map, and cells of the grid, at most: beyond, a cell is several blocks.
_ROWS, _CELLS = 64, 2048
#: Which of several blocks in a cell is the one that is shown.
_RANK = np.array([0, 3, 4, 1, 2, 6, 5])


class View:
    """Where the blocks are: now, one by one; and over the last steps."""

    name = "Blocks"

    def __init__(self, plugin: MonitorPlugin, choice: Choice) -> None:
        self.plugin, self.choice = plugin, choice
        self._key = html(_legend(), height=26)
        self._now = html(height=44)
        self._slow = html()
        self._grid, self._cells = _map("", 210)
        self._grid.axis.visible = False
        self._map, self._past = _map(
            "the last steps, newest at the right; click one to look at it", 430
        )
        self._map.on_event(Tap, self._tap)
        self._map.xaxis.axis_label, self._map.yaxis.axis_label = "step", "block"
        self.root = column(
            self._key,
            row(
                column(self._now, self._grid, self._slow, width=470),
                self._map,
                sizing_mode="stretch_width",
            ),
            sizing_mode="stretch_width",
        )

    def _tap(self, event: Tap) -> None:
        """Keep to the step that was clicked; to the newest again if it was kept to already."""
        number = round(event.x)
        run = self.choice.run
        known = run is not None and number in run.steps and number != self.choice.step
        self.choice.step = number if known else None
        self.update()

    def update(self) -> None:
        """Show where the blocks of the chosen run are."""
        run = self.choice.run
        step = None if run is None else shown(run, self.choice.step)
        if run is None or step is None:
            show(self._now, look.note("No step has been asked for yet."))
            show(self._slow, "")
            for source in (self._cells, self._past):
                fill(source, _image(np.zeros((1, 1), np.uint8), np.zeros((1, 1), np.float32)))
            return
        show(self._now, _said(step, kept=step.number == self.choice.step))
        show(self._slow, slow_blocks(step))
        self._show_grid(step)
        self._show_map(run)

    def _show_grid(self, step: StepSeen) -> None:
        codes, seconds = _column(step, step.blocks or sorted(step.cells), _CELLS)
        n = len(codes)
        wide = min(n, max(8, math.ceil(math.sqrt(n * 2.4))))
        high = math.ceil(n / wide)
        full = np.zeros((2, high * wide), np.float32)
        full[0, :n], full[1, :n] = codes, seconds
        cells = full.reshape(2, high, wide)[:, ::-1]  # the first block is above, to the left
        fill(self._cells, _image(cells[0].astype(np.uint8), cells[1]))
        _lines(self._grid, wide, high)

    def _show_map(self, run: RunSeen) -> None:
        steps = [run.steps[number] for number in sorted(run.steps)[-STEPS:]]
        blocks = max((max(step.blocks or step.cells, default=0) for step in steps), default=0) + 1
        high = min(blocks, _ROWS)
        codes = np.zeros((high, len(steps)), np.uint8)
        seconds = np.zeros((high, len(steps)), np.float32)
        for at, step in enumerate(steps):
            codes[:, at], seconds[:, at] = _column(step, range(blocks), _ROWS)
        fill(self._past, _image(codes, seconds, steps[0].number if steps else 0))
        _lines(self._map, len(steps), high, steps[0].number if steps else 0)
        each = math.ceil(blocks / high)
        self._map.yaxis.axis_label = "block" if each == 1 else f"{each} blocks each"


def shown(run: RunSeen, chosen: int | None) -> StepSeen | None:
    """Return the chosen step, else the oldest that is not over, else the newest."""
    if chosen in run.steps:
        return run.steps[chosen]
    numbers = sorted(run.steps)
    if run.open:
        for number in numbers:
            step = run.steps[number]
            if not step.over and any(c.state == "running" for c in step.cells.values()):
                return step
    return run.steps[numbers[-1]] if numbers else None


def code_of(cell: Cell, median: float | None) -> int:
    """Return the number by which a block is coloured.

    Examples
    --------
    >>> CODES[code_of(Cell("done", seconds=3.0), 1.0)], CODES[code_of(Cell("running"), None)]
    ('done, slow', 'on a worker')
    """
    slow = median is not None and cell.seconds > max(_SLOW * median, _SHORT)
    return 4 if slow and cell.state == "done" else _OF_STATE[cell.state]


def _column(step: StepSeen, blocks: Any, most: int) -> tuple[Any, Any]:
    """Return codes and seconds of blocks; of several in a cell those of the most telling one."""
    median, cells = step.median, step.cells
    known = [cells.get(index) for index in blocks]
    codes = np.array([0 if c is None else code_of(c, median) for c in known], np.uint8)
    seconds = np.array([0.0 if c is None else c.seconds for c in known], np.float32)
    if len(codes) <= most:
        return codes, seconds
    each = math.ceil(len(codes) / most)
    spare = np.zeros(most * each - len(codes))
    codes = np.concatenate([codes, spare]).astype(np.uint8).reshape(most, each)
    seconds = np.concatenate([seconds, spare]).astype(np.float32).reshape(most, each)
    first = np.argmax(_RANK[codes], axis=1)
    return codes[np.arange(most), first], seconds.max(axis=1)


def _image(codes: Any, seconds: Any, first: int = 0) -> dict[str, list[Any]]:
    """Return one picture of cells, as a source has it; its first column is step `first`."""
    high, wide = codes.shape
    sizes = {"x": [first - 0.5], "y": [-0.5], "wide": [wide], "high": [high]}
    return {"codes": [codes], "seconds": [seconds], **sizes}


def _map(title: str, height: int) -> tuple[figure, ColumnDataSource]:
    """Return a figure of cells, and its source."""
    made = frame(title, height, x_range=(-0.5, 7.5), y_range=(-0.5, 7.5))
    source = ColumnDataSource(_image(np.zeros((1, 1), np.uint8), np.zeros((1, 1), np.float32)))
    colours = LinearColorMapper(palette=_COLOURS, low=-0.5, high=len(_COLOURS) - 0.5)
    made.image("codes", "x", "y", "wide", "high", source=source, color_mapper=colours)
    names = ", ".join(f"'{name}'" for name in CODES)
    words = CustomJSHover(code=f"return [{names}][value] || 'not asked'")
    time = CustomJSHover(code="return value ? value.toFixed(3) + ' s' : ''")
    whole = CustomJSHover(code="return String(Math.round(value))")
    made.add_tools(
        HoverTool(
            tooltips=[("", "@codes{custom}"), ("", "@seconds{custom}")]
            + ([("step", "$x{custom}"), ("block", "$y{custom}")] if title else []),
            formatters={"@codes": words, "@seconds": time, "$x": whole, "$y": whole},
        )
    )
    made.grid.level = "overlay"
    made.grid.grid_line_color, made.grid.grid_line_width = "#fafafa", 2
    made.axis.major_tick_line_color = None
    return made, source


def _lines(made: figure, wide: int, high: int, first: int = 0) -> None:
    """Fit a figure to its cells, with lines between them."""
    for grid, begin, count in zip(made.grid, (first, 0), (wide, high), strict=True):
        ticks = [begin + at - 0.5 for at in range(1, count)]
        if not isinstance(grid.ticker, FixedTicker):
            grid.ticker = FixedTicker(ticks=ticks)
        elif grid.ticker.ticks != ticks:
            grid.ticker.ticks = ticks
    ranges = (made.x_range, first - 0.5, first + wide - 0.5), (made.y_range, -0.5, high - 0.5)
    for range_, start, end in ranges:
        if (range_.start, range_.end) != (start, end):
            range_.start, range_.end = start, end


def _legend() -> str:
    chips = "".join(
        f'<span style="margin-right:16px"><i class="chip" style="background:{colour}"></i>'
        f"{look.short(name)}</span>"
        for name, colour in list(zip(CODES, _COLOURS, strict=True))[1:]
    )
    return f'<p class="faint">{chips}</p>'


def _said(step: StepSeen, *, kept: bool) -> str:
    """Return what a step is, and how far."""
    states = [cell.state for cell in step.cells.values()]
    done = states.count("done") + states.count("apart")
    said = f"{done:,} of {len(step.blocks or states):,} blocks done"
    if step.median is not None:
        said += f", usually in {look.duration(step.median)}"
    where = "" if step.round is None else f" (round {step.round + 1})"
    agents = f"{step.agents:,} agents, " if step.agents else ""
    where += ", kept in view" if kept else ""
    title = f"<b>step {step.number}</b>{where}: {look.short(step.label())}"
    return f"<p>{title}<br><span class='faint'>{agents}{said}</span></p>"


def slow_blocks(step: StepSeen) -> str:
    """Return the slow blocks of a step, and those that failed or ran apart, as a table."""
    median = step.median
    rows = []
    for index, cell in sorted(step.cells.items(), key=lambda item: -item[1].seconds):
        code = code_of(cell, median)
        if code >= 4:
            spent = look.duration(cell.seconds or None)
            rows.append([index, CODES[code], spent, f"{cell.failed:,}", cell.worker])
    if not rows:
        return look.note("No block of this step stands out.")
    heads = ["block", "", "#took", "#failed agents", "worker"]
    return look.table(heads, rows[:5])
