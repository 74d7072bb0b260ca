"""A run that was made before, told in words or as JSON."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from rich.console import Console
from rich.table import Table
from rich.text import Text

from daskagents.closing import show_rounds
from daskagents.errors import FolderError
from daskagents.glimpse import glimpse
from daskagents.opened import OpenRun
from daskagents.plotting import moments, numeric
from daskagents.summary import sparks


def show_run(run: OpenRun, console: Console) -> None:
    """Show what a run was, and a table of its rounds.

    Parameters
    ----------
    run
        The run.
    console
        Where it is shown.

    """
    about, results = run.about, rounds_of(run)
    workflow = about.get("workflow", {})
    said = {
        "run": str(run.folder),
        "workflow": workflow.get("name", "?"),
        "parameters": ", ".join(f"{k}={v!r}" for k, v in workflow.get("parameters", {}).items()),
        "status": _status(run, results),
        "seed": str(about.get("seed", "?")),
        "started": _when(about.get("started")),
        "ended": _when(about.get("ended")),
        "model": about.get("model", ""),
        "usage": "" if results is None else _usage(run.usage),
        "versions": ", ".join(f"{k} {v}" for k, v in about.get("versions", {}).items()),
    }
    for name, of in about.get("populations", {}).items():
        model = f", asks {of['model']}" if of.get("model") else ""
        blocks = f"blocks of {of.get('block_size', 0):,}"
        said[name] = f"{of.get('agents', 0):,} {of.get('class', '?')}, {blocks}{model}"
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in said.items():
        if value:
            table.add_row(Text(name, style="bold"), Text(value, overflow="fold"))
    console.print(table)
    if results is not None and results.sizes["round"]:
        console.print()
        show_rounds(results, console)
        _show_sparks(run, console)


def _show_sparks(run: OpenRun, console: Console) -> None:
    """Show what the workflow said of each round as lines of block characters."""
    found = sparks(glimpse(run.folder, agents=False))
    if not found:
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, said in found.items():
        table.add_row(Text(name, style="bold"), Text(said, overflow="fold"))
    console.print()
    console.print(table)


def rounds_of(run: OpenRun) -> xr.Dataset | None:
    """Return the rounds of a run; None where none is written yet."""
    try:
        results = run.results
    except (FolderError, FileNotFoundError):  # none, or just being made
        return None
    return results if "round" in results.sizes else None


def _status(run: OpenRun, results: xr.Dataset | None) -> str:
    rounds = 0 if results is None else results.sizes["round"]
    said = f"{run.status}, {rounds:,} round{'s' * (rounds != 1)}"
    if results is not None and "n_failed" in results and int(results["n_failed"].sum()):
        said += f", {int(results['n_failed'].sum()):,} failed replies"
    if run.status != "running":
        return said
    waiting = _closed(run.folder) - rounds
    more = f"{waiting:,} more closed and not in the results yet; " if waiting > 0 else ""
    return f"{said} ({more}it is under way, or was killed)"


def _closed(folder: Path) -> int:
    """Return how many rounds a run has closed: the results follow some seconds later."""
    try:
        with (folder / "events.jsonl").open(encoding="utf-8", errors="replace") as lines:
            return sum(line.startswith('{"event": "round"') for line in lines)
    except FileNotFoundError:
        return 0


def _usage(usage: dict[str, Any]) -> str:
    """Say what models were asked; nothing where none was."""
    if not usage.get("calls"):
        return ""
    known = {name.replace("_", " "): n for name, n in usage.items() if n and n == n}
    return ", ".join(f"{n:,} {name}" for name, n in known.items())


def _when(stamp: Any) -> str:
    return str(stamp or "").partition(".")[0].replace("T", " ")


def as_json(run: OpenRun, picture: str | None = None) -> dict[str, Any]:
    """Return what is known of a run as what JSON can say; NaN as None.

    Parameters
    ----------
    run
        The run.
    picture
        The path of its picture, if one was drawn.

    Returns
    -------
    dict
        ``path``, ``status``, ``about`` (as in ``run.json``), ``usage``, ``picture``, and
        ``rounds``: for each its values, and the mean and standard deviation of each variable.

    """
    results, rounds = rounds_of(run), []
    if results is not None:
        means = {name: moments(results[name]) for name in numeric(results)}
        own = {str(n): v.values for n, v in results.data_vars.items() if v.dims == ("round",)}
        for at in range(results.sizes["round"]):
            row = {name: _plain(values[at]) for name, values in own.items()}
            for name, (mean, spread) in means.items():
                row[name] = {"mean": _plain(mean[at]), "sd": _plain(spread[at])}
            rounds.append(row)
    return {
        "path": str(run.folder),
        "status": run.status,
        "about": _plain(run.about),
        "usage": run.usage if results is not None else {},
        "picture": picture,
        "rounds": rounds,
    }


def _plain(value: Any) -> Any:
    """Return a value as JSON can say it."""
    if isinstance(value, dict):
        return {name: _plain(of) for name, of in value.items()}
    if isinstance(value, list):
        return [_plain(of) for of in value]
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
