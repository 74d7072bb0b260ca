"""A run at a glance: in a few lines, and as a page with small pictures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskagents import html
from daskagents.captions import OWN
from daskagents.events import read_events
from daskagents.glimpse import Glimpse
from daskagents.snapshot import amount, duration
from daskagents.spark import Bars, bands, curve, line, number

#: Lines of a text; and what is looked at to say how agents failed.
_LINES, _FILES, _BYTES = 8, 16, 1 << 16
#: What a run says of itself that is shown round by round, if there is any of it.
_COSTS = ("n_agents", "n_failed", "n_undelivered", "calls", "tokens", "cost", "retries", "seconds")


def as_text(name: str, folder: Path, status: str, seen: Glimpse | None) -> str:
    """Return a run in a line, and below it a line for each number of the workflow's rounds.

    Parameters
    ----------
    name, folder, status
        The workflow, the run directory, and how the run goes.
    seen
        What is written; None where there is nothing.

    """
    sizes = "no round yet"
    if seen is not None:
        sizes = ", ".join(f"{dim}: {size:,}" for dim, size in seen.sizes.items())
    return "\n".join([f"<run of {name} in {folder}: {status}; {sizes}>", *_lines(seen)])


def _lines(seen: Glimpse | None) -> list[str]:
    found = sparks(seen)
    wide = max(map(len, found), default=0)
    lines = [f"  {name:{wide}}  {said}" for name, said in islice(found.items(), _LINES)]
    return lines + [f"  and {len(found) - _LINES} more"] * (len(found) > _LINES)


def sparks(seen: Glimpse | None) -> dict[str, str]:
    """Return what the workflow said of each round as lines of block characters, by name.

    Examples
    --------
    >>> sparks(Glimpse({"round": 3}, {"winner": np.array([33.0, 22.0, 15.0])}))
    {'winner': '█▄▁  33 to 15'}

    """
    if seen is None:
        return {}
    found = {name: v for name, v in seen.series.items() if name not in OWN}
    if seen.total("n_failed"):
        found["n_failed"] = seen.series["n_failed"]
    drawn = {name: line(values) for name, values in found.items()}
    return {name: f"{said}  {_ends(found[name])}" for name, said in drawn.items() if said}


def _ends(values: NDArray[Any]) -> str:
    """Say which number is first, and which last."""
    known = values[np.isfinite(values)]
    first, last = number(known[0]), number(known[-1])
    return f"{first} to {last}" if len(known) > 1 else first


def as_html(about: Mapping[str, Any], folder: Path, seen: Glimpse | None) -> str:
    """Return a run as HTML: what it was, what it cost, and small pictures of its rounds.

    Parameters
    ----------
    about
        What ``run.json`` says.
    folder
        The run directory.
    seen
        What is written; None where there is nothing.

    """
    workflow = about.get("workflow", {})
    facts = {
        "folder": html.link(folder),
        "status": str(about.get("status", "")),
        "parameters": ", ".join(
            f"{name}={html.short(value)}" for name, value in workflow.get("parameters", {}).items()
        ),
        "seed": str(about.get("seed", "")),
        "rounds": f"{seen.sizes['round']:,}" if seen else "0",
        **{
            name: f"{of.get('agents', 0):,} {of.get('class', '')}"
            for name, of in about.get("populations", {}).items()
        },
        **{name: _environment(of) for name, of in about.get("environments", {}).items()},
        "model": str(about.get("model", "")),
        "budget": ", ".join(f"{n:,} {name}" for name, n in (about.get("budget") or {}).items()),
        **({} if seen is None else _sums(seen)),
        "time": duration(seen.total("seconds")) if seen and seen.total("seconds") else "",
        "failed replies": _failures(folder, seen),
    }
    below = "" if seen is None else _rounds(seen) + _agents(seen)
    title = f"Run of {workflow.get('name', '?')}"
    return html.table(title, facts, below=html.Html(_models(about) + below))


def _environment(about: Mapping[str, Any]) -> str:
    fields = len(about.get("fields", ()))
    return f"{about.get('class', '?')}, {fields} field{'s' * (fields != 1)}"


def _sums(seen: Glimpse) -> dict[str, str]:
    """Return what models were asked in all rounds that are written."""
    found: dict[str, str] = {}
    for name in ("calls", "prompt_tokens", "completion_tokens", "cached_tokens", "retries"):
        if total := seen.total(name):
            found[name.replace("_", " ")] = f"{total:,.0f}"
    cost = seen.total("cost")
    return found | ({"cost": amount(cost)} if cost and cost == cost else {})


def _failures(folder: Path, seen: Glimpse | None) -> str:
    """Say how many replies failed, and how."""
    failed = int(seen.total("n_failed")) if seen else 0
    if not failed:
        return ""
    kinds = kinds_of_failures(folder)
    return f"{failed:,}{': ' + ', '.join(kinds) if kinds else ''}"


def kinds_of_failures(folder: Path) -> list[str]:
    """Return names of errors with which agents of a run failed, from the first that are found."""
    found: dict[str, None] = {}
    try:
        for path in islice(_files(folder / "failures"), _FILES):
            if path.stat().st_size <= _BYTES:
                found |= {str(event.get("error", "?")): None for event in read_events(path)}
    except (OSError, ValueError):  # they are being written, or moved away
        pass
    return list(found)[:5]


def _files(folder: Path) -> Iterable[Path]:
    with os.scandir(folder) as steps:
        for step in steps:
            with os.scandir(step) as pieces:
                yield from map(Path, pieces)


def _models(about: Mapping[str, Any]) -> str:
    """Return what each model took, where a run is over that asked one."""
    usage = [each for each in about.get("usage") or () if each.get("calls")]
    rows = [
        (
            str(each.get("model", "")),
            str(each.get("endpoint", "")),
            f"{each['calls']:,}",
            f"{each.get('prompt_tokens') or 0:,}",
            f"{each.get('completion_tokens') or 0:,}",
            "not known" if each.get("cost") is None else amount(each["cost"]),
        )
        for each in usage
    ]
    return html.rows(rows, ("model", "endpoint", "calls", "prompt tokens", "answers", "cost"))


def _rounds(seen: Glimpse) -> str:
    """Return pictures of what there is one of in each round."""
    series = dict(seen.series)
    if "prompt_tokens" in series and "completion_tokens" in series:
        series["tokens"] = series["prompt_tokens"] + series["completion_tokens"]
    own = [name for name in _COSTS if name in series and np.nan_to_num(series[name]).any()]
    names = [name for name in series if name not in OWN and name not in own] + own
    rows = [
        (name, curve(series[name]), _ends(series[name]))
        for name in names
        if np.isfinite(series[name]).any()
    ]
    return html.rows(rows, ("each round", "", ""))


def _agents(seen: Glimpse) -> str:
    """Return pictures of what agents replied: over the rounds, and in the last one."""
    rows: list[tuple[str, ...]] = [
        (each.name, bands(each.quantiles), *_last(each.last)) for each in seen.bands
    ]
    rows += [(name, "", *_last(bars)) for name, bars in seen.bars.items()]
    rows += [(name, "", "", "cannot be read") for name in seen.unread]
    if seen.left_out:
        rows.append((f"and {len(seen.left_out)} more", "", "", ""))
    some = " (of some agents)" * seen.sampled
    return html.rows(rows, (f"each agent{some}", "5 to 95 %, by round", "last round", ""))


def _last(bars: Bars | None) -> tuple[str, str]:
    return ("", "") if bars is None else (bars.svg(), bars.said)
