"""What is known of a run, gathered for its report: whatever is missing or damaged is said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import xarray as xr

from daskagents.afterwards.chats import Look, look
from daskagents.captions import OWN
from daskagents.errors import DaskAgentsError
from daskagents.events import read_events
from daskagents.failures import read_failures
from daskagents.journal.reading import usage_of
from daskagents.journal.segments import journal_of
from daskagents.usage import Usage

if TYPE_CHECKING:
    from daskagents.opened import OpenRun

T = TypeVar("T")


@dataclass
class Facts:
    """What is known of a run.

    Parameters
    ----------
    folder, about, status
        The run directory, what ``run.json`` says, and how the run ended.
    results
        The rounds that are written down; None where there are none.
    usage
        What all models took together, and by model and endpoint, where that is known.
    replies
        How many agents were asked, over all steps that are done.
    seen
        What the journal says in short.
    failures
        Why agents failed, a row each; None where that is not known.
    interventions, surveys
        What was done and asked from outside.
    problems
        What could not be read, and why.
    """

    folder: Path
    about: Mapping[str, Any]
    status: str
    results: xr.Dataset | None = None
    usage: Usage = field(default_factory=Usage)
    by_model: list[tuple[str, str, Usage]] = field(default_factory=list)
    replies: int = 0
    seen: Look = field(default_factory=Look)
    failures: xr.Dataset | None = None
    interventions: list[dict[str, Any]] = field(default_factory=list)
    surveys: list[tuple[str, xr.Dataset]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def rounds(self) -> int:
        """How many rounds there are."""
        return 0 if self.results is None else self.results.sizes.get("round", 0)

    @property
    def agents(self) -> int:
        """How many agents were given."""
        return sum(of.get("agents", 0) for of in self.about.get("populations", {}).values())

    @property
    def failed(self) -> int:
        """How many replies failed."""
        if self.results is not None and "n_failed" in self.results and self.rounds:
            return int(self.results["n_failed"].sum())
        return 0 if self.failures is None else self.failures.sizes["failure"]

    def values(self, *, own: bool) -> list[str]:
        """Return the variables with a number per round: those a run itself says, or the others."""
        if self.results is None:
            return []
        return [
            str(name)
            for name, values in self.results.data_vars.items()
            if values.dims == ("round",) and values.dtype.kind in "fiub" and (name in OWN) == own
        ]

    def read(self, what: str, function: Callable[[], T], instead: T) -> T:
        """Return what a function reads; something instead where it cannot, which is noted."""
        try:
            return function()
        except (DaskAgentsError, OSError, ValueError, KeyError) as error:
            self.problems.append(f"{what}: {error}")
            return instead


def gather(run: OpenRun) -> Facts:
    """Return what is known of a run."""
    folder = run.folder
    found = Facts(folder, run.about, run.status)
    if (folder / "rounds.zarr").exists():
        results = found.read("results", lambda: run.results, None)
        found.results = results if results is not None and "round" in results.sizes else None
    if (folder / "events.jsonl").exists():
        found.replies = found.read("events", lambda: _replies(folder), 0)
        found.failures = found.read("failures", lambda: read_failures(folder), None)
        found.seen = found.read("journal", lambda: look(folder), Look())
        found.usage = found.read("usage", lambda: _usage(run), Usage())
    found.by_model = _by_model(run.about, found.seen)
    found.interventions = found.read("interventions", lambda: _lines(folder), [])
    for path in sorted((folder / "surveys").glob("*.zarr")):
        survey = found.read(
            f"survey {path.stem}",
            partial(xr.open_zarr, path, consolidated=False, chunks=None),
            None,
        )
        if survey is not None:
            found.surveys.append((path.stem, survey))
    return found


def _replies(folder: Path) -> int:
    """Return how many agents were asked in the steps that are done."""
    asked: dict[int, int] = {}
    done: set[int] = set()
    for event in read_events(folder / "events.jsonl"):
        if event["event"] == "step":
            asked[event["step"]] = event["agents"]
        elif event["event"] == "done":
            done.add(event["step"])
    return sum(count for step, count in asked.items() if step in done)


def _usage(run: OpenRun) -> Usage:
    if journal_of(run.folder).is_dir():
        return usage_of(run.folder)
    told = [of for _, _, of in _by_model(run.about, Look())]
    return sum(told, Usage())


def _by_model(about: Mapping[str, Any], seen: Look) -> list[tuple[str, str, Usage]]:
    """Return what each model took at each endpoint; while a run is under way, only its calls."""
    rows = []
    for one in about.get("usage") or ():
        numbers: dict[str, Any] = {
            n: np.nan if v is None else v for n, v in one.items() if n in _PARTS
        }
        rows.append((one.get("model", ""), one.get("endpoint", ""), Usage(**numbers)))
    if not rows:
        rows = [(*key, Usage(calls=count)) for key, count in seen.models.most_common()]
    return [row for row in rows if row[2].calls]


_PARTS = frozenset(Usage.__dataclass_fields__)


def _lines(folder: Path) -> list[dict[str, Any]]:
    path = folder / "interventions.jsonl"
    return list(read_events(path)) if path.exists() else []


def failures_by(failures: xr.Dataset, name: str) -> list[tuple[Any, int]]:
    """Return how many failures there were of each kind or round, the most frequent first."""
    counts = Counter(failures[name].values.tolist())
    return sorted(counts.items()) if name == "round" else counts.most_common()
