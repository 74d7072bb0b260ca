"""What is shown of a run when it has ended: a table of its rounds, and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from daskagents.plotting import distributions, moments, numeric
from daskagents.plotting.variables import textual

#: Rounds that the table shows: of more, the first and the last.
_ROWS = 24
#: What a run itself says of each round: the columns here, and the variables.
_SHOWN = {"round", "failed", "calls", "tokens", "seconds"}
_OWN = {
    *("n_failed", "calls", "prompt_tokens", "completion_tokens", "cached_tokens", "retries"),
    *("cost", "seconds", "seconds_waiting"),
}

_MEAN = " (mean ± sd)"


def show_results(results: xr.Dataset, folder: Path, console: Console | None = None) -> None:
    """Show a table of the rounds, draw a picture into the run directory, and say where it all is.

    Parameters
    ----------
    results
        What the run returned.
    folder
        The run directory.
    console
        Where it is shown; by default standard output.

    """
    console = console or Console()
    said = [f"results  {folder}"]
    if results.sizes.get("round"):
        show_rounds(results, console)
        if picture := draw_results(results, folder):
            said.append(f"picture  {picture}")
    else:
        said.append("no round was yielded")
    console.print("\n".join(said), soft_wrap=True, markup=False, highlight=False)


def draw_results(results: xr.Dataset, folder: Path) -> Path | None:
    """Draw the first variable of numbers, or else of texts, into the run directory."""
    names = numeric(results) or textual(results)
    if not names or not results.sizes["round"]:
        return None
    picture = folder / f"{names[0]}.png"
    distributions(results, names[0]).savefig(picture)
    return picture


def show_rounds(results: xr.Dataset, console: Console) -> None:
    """Show a table with a row per round, counted from 1; of many the first and the last.

    What the workflow yielded and there is no room for is named below the table.

    Parameters
    ----------
    results
        What a run returned, with at least one round.
    console
        Where it is shown.

    """
    count = results.sizes["round"]
    rounds = list(range(count))
    if count > _ROWS:
        rounds = [*rounds[: _ROWS // 2], *rounds[-_ROWS // 2 :]]
    columns = _columns(results.isel(round=rounds), [at + 1 for at in rounds])
    left_out = _too_wide(columns, console.width)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for place, cells in enumerate(zip(*columns.values(), strict=True)):
        if count > _ROWS and place == _ROWS // 2:
            table.add_row("...")
        table.add_row(*cells)
    console.print(table)
    if left_out:
        said = f"no room for {', '.join(left_out)}; daskagents show FOLDER --json tells all"
        console.print(said, soft_wrap=True, markup=False, highlight=False)


def _too_wide(columns: dict[str, list[str]], width: int) -> list[str]:
    """Take columns of the workflow away until the rest fits, the last first; return their names."""
    needed = {n: 2 + max(map(cell_len, [n, *cells])) for n, cells in columns.items()}
    yielded = [name for name in columns if name not in _SHOWN]
    left_out: list[str] = []
    while yielded and sum(needed.values()) - 2 > width:
        name = yielded.pop()
        del needed[name], columns[name]
        left_out.insert(0, name.removesuffix(_MEAN))
    return left_out


def _columns(results: xr.Dataset, numbers: list[int]) -> dict[str, list[str]]:
    """Return columns of cells: what the workflow said, the means of replies, and the cost."""
    columns = {"round": [str(number) for number in numbers]}
    replied = {name: moments(results[name]) for name in numeric(results)}
    said = {str(name) for name, values in results.data_vars.items() if values.dims == ("round",)}
    for name in sorted(said - _OWN, key=lambda name: (name != "winner", name)):
        values = results[name].values
        if not any(_same(values, means) for means, _ in replied.values()):
            columns[name] = [_cell(value) for value in values]
    for name, both in replied.items():
        columns[f"{name}{_MEAN}"] = [
            f"{_cell(mean, spread)} ± {_cell(spread)}" for mean, spread in zip(*both, strict=True)
        ]
    columns["failed"] = [f"{count:,}" for count in results["n_failed"].values]
    if results["calls"].values.any():
        tokens = results["prompt_tokens"].values + results["completion_tokens"].values
        columns["calls"] = [f"{count:,}" for count in results["calls"].values]
        columns["tokens"] = [f"{count:,}" for count in tokens]
    columns["seconds"] = [f"{seconds:.1f}" for seconds in results["seconds"].values]
    return columns


def _same(values: NDArray[Any], means: list[float]) -> bool:
    """Whether what the workflow said of each round is a mean that is shown anyway."""
    return values.dtype.kind == "f" and np.allclose(values, means, equal_nan=True)


def _cell(value: Any, beside: float = 0.0) -> str:
    """Return a value as a cell shows it, beside another one."""
    if not isinstance(value, float):  # NumPy's own float64 is one
        return str(value)
    if value != value:
        return "-"
    short = value == 0 or 0.01 <= max(abs(value), beside) < 1e6
    return f"{round(value, 2) + 0.0:,.2f}" if short else f"{value:.3g}"  # + 0.0: no minus zero
