"""The report of a run: what was run, what came of it, what it cost, and how to write of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from daskagents.afterwards import sections
from daskagents.afterwards.facts import Facts, gather
from daskagents.afterwards.methods import methods
from daskagents.afterwards.page import (
    Html,
    cut,
    facts,
    heading,
    page,
    paragraph,
    section,
    table,
    text,
)
from daskagents.html import size
from daskagents.tasks import writing

if TYPE_CHECKING:
    from daskagents.opened import OpenRun

#: Characters of a text that are shown.
_TEXT = 1_000


def write_report(run: OpenRun, path: str | os.PathLike[str] | None = None) -> Path:
    """Write a report of a run; see `OpenRun.report`."""
    target = run.folder / "report.html" if path is None else Path(path).expanduser()
    said = report(gather(run))
    draft = target.with_name(f".{target.name}.part")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(said, encoding="utf-8", errors="replace")
        draft.replace(target)
    return target


def report(known: Facts) -> str:
    """Return a report as HTML."""
    parts = {
        "methods": ("Methods", _methods),
        "replies": ("Replies", sections.replies),
        "values": ("Round by round", sections.values),
        "run": ("What was run", _run),
        "costs": ("Models and costs", sections.costs),
        "failures": ("Failures", sections.failures),
        "outside": ("Interventions and surveys", sections.outside),
        "talks": ("A sample of conversations", sections.talks),
        "problems": ("What could not be read", _problems),
    }
    found: dict[str, Html] = {}
    for key, (title, make) in parts.items():
        inside: list[Html] = known.read(title, partial(_all, make, known), [])
        if inside:
            found[key] = section(key, title, inside)
    name = known.about.get("workflow", {}).get("name", "?")
    links = {key: parts[key][0] for key in found}
    return page(f"Run of {name}", [_head(known), *found.values()], links)


def _all(make: Callable[[Facts], Iterator[Html]], known: Facts) -> list[Html]:
    return list(make(known))


def _head(known: Facts) -> Html:
    about = known.about
    name = about.get("workflow", {}).get("name", "?")
    kind = "done" if known.status == "done" else "" if known.status == "running" else "failed"
    note = " (or was killed)" if known.status == "running" else ""
    agents = f"{known.agents:,} agent{'s' * (known.agents != 1)}"
    rounds = f"{known.rounds:,} round{'s' * (known.rounds != 1)}"
    line = f"{agents}, {rounds}, {_time(about.get('started'))}"
    badge = f'<span class="badge {kind}">{text(known.status + note)}</span>'
    redacted = " This is a copy from which texts were removed." if "redacted" in about else ""
    return Html(
        f"<header><h1>Run of {text(name)}</h1><p>{badge} {text(line)}.{redacted}</p></header>"
    )


def _methods(known: Facts) -> Iterator[Html]:
    yield Html(f'<p class="methods">{text(methods(known))}</p>')
    yield paragraph(
        "Written from what the run directory says, to be shortened and pasted into a paper.",
        "faint",
    )


def _run(known: Facts) -> Iterator[Html]:
    about = known.about
    workflow = about.get("workflow", {})
    versions = about.get("versions", {})
    budget = ", ".join(
        f"{k} {v:,}" for k, v in (about.get("budget") or {}).items() if v is not None
    )
    lives = [_time(life.get("began")) for life in about.get("lives") or ()]
    yield facts(
        {
            "workflow": f"{workflow.get('name', '?')} in {workflow.get('file', '?')}",
            "seed": about.get("seed", ""),
            "status": known.status,
            "started": _time(about.get("started")),
            "ended": _time(about.get("ended")),
            "resumed": ", ".join(lives),
            "most failures": f"{about['max_failed']:g} of a step" if "max_failed" in about else "",
            "budget": budget,
            "checkpoints": f"every {about.get('checkpoint_every', '?')} rounds",
            "versions": ", ".join(f"{k} {v}" for k, v in versions.items() if k != "machine"),
            "machine": versions.get("machine", ""),
            "files": _files(about.get("shared")),
            "replay of": (about.get("replays") or {}).get("source", ""),
            "run directory": str(known.folder),
            "size": _size_of(known.folder),
        }
    )
    parameters = workflow.get("parameters", {})
    if parameters:
        yield heading("Parameters")
        yield facts({name: cut(repr(value), _TEXT) for name, value in parameters.items()})
    for name, of in about.get("populations", {}).items():
        yield heading(f"Population {name}: {of.get('agents', 0):,} {of.get('class', '?')}")
        fields = {n: label for n, label in of.get("fields", {}).items() if not n.startswith("_")}
        if of.get("model"):
            yield paragraph(f"asks {cut(of['model'], _TEXT)}", "faint")
        if fields:
            yield table(("field", "type", "at the start"), _fields(known, fields))
    for name, of in about.get("environments", {}).items():
        yield heading(f"Environment {name}: {of.get('class', '?')}")
        yield table(("field", "type"), ((_path(n), label) for n, label in of["fields"].items()))
    if about.get("model"):
        yield heading("Model")
        yield paragraph(cut(str(about["model"]), _TEXT))


def _files(shared: Any) -> str:
    if shared is None:
        return ""
    return "all workers saw the run directory" if shared else "workers saw no common file system"


def _size_of(folder: Path) -> str:
    return size(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))


def _path(name: str) -> str:
    return ".".join(part.strip('"') for part in name.strip("[]").split(", "))


def _fields(known: Facts, fields: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield the fields of a population, with what they were at the start where it is small."""
    for name, label in fields.items():
        said = ""
        given = None if known.results is None else known.results.coords.get(name)
        if given is not None and isinstance(given.variable._data, np.ndarray):
            said = cut(sections.summary(given.values), 160)
        yield name, label, said


def _problems(known: Facts) -> Iterator[Html]:
    for said in known.problems:
        yield paragraph(said)


def _time(stamp: Any) -> str:
    """Return a time as people read it."""
    said = str(stamp or "")
    try:
        found = time.strptime(said[:19], "%Y-%m-%dT%H:%M:%S")
    except ValueError:
        return said
    return time.strftime("%d %B %Y, %H:%M", found).removeprefix("0")
