"""What a machine has and lacks for daskagents: a line for each check."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import xarray as xr
from dask.system import CPU_COUNT
from distributed.system import MEMORY_LIMIT

from daskagents.agent import Agent
from daskagents.errors import DaskAgentsError, UsageError
from daskagents.interrupt import own_cluster
from daskagents.loop import Loop
from daskagents.models.local import check_installed
from daskagents.models.openai import OpenAI
from daskagents.population import Population
from daskagents.running import run

State = Literal["ok", "warning", "problem"]

_GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Parameters
    ----------
    what
        What was looked at.
    state
        ``"ok"``; ``"warning"`` where something optional is missing; ``"problem"`` where runs fail.
    said
        What was found, and what to do about it.

    """

    what: str
    state: State
    said: str


def examine(url: str | None = None) -> Iterator[Finding]:
    """Look at what runs need, one thing after another.

    Parameters
    ----------
    url
        An OpenAI-compatible endpoint that should answer; None looks at none.

    Yields
    ------
    Finding
        As soon as it is known.

    """
    yield _python()
    yield _versions()
    yield Finding("machine", "ok", f"{CPU_COUNT} cores, {MEMORY_LIMIT / _GIB:.1f} GiB of memory")
    yield _disk()
    yield _tried("workers", _workers)
    yield _local_model()
    key = "is set" if os.environ.get("OPENAI_API_KEY") else "is not set; some endpoints need it"
    yield Finding("OPENAI_API_KEY", "ok", key)
    if url is not None:
        yield _tried("endpoint", lambda: _endpoint(url))
    yield _fonts()


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    fine = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Finding(
        "Python", "ok" if fine else "warning", version + ("" if fine else "; tested with 3.11-3.13")
    )


def _versions() -> Finding:
    names = ("daskagents", "dask", "distributed", "xarray", "zarr", "numpy")
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed here"
    said = ", ".join(f"{name} {version}" for name, version in found.items())
    if found["dask"] != found["distributed"]:
        return Finding(
            "packages", "problem", f"{said}; install dask and distributed of one version"
        )
    return Finding("packages", "ok", said)


def _disk() -> Finding:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free / _GIB
    said = f"{free:.1f} GiB free in {folder}, where runs without out= are"
    return Finding("disk", "ok" if free > 1 else "warning", said)


def _tried(what: str, check: Callable[[], str]) -> Finding:
    """Return what a check says, or what went wrong with it."""
    try:
        return Finding(what, "ok", check())
    except Exception as error:  # whatever it is, it is what was found
        said = " ".join(str(error).split())
        return Finding(what, "problem", f"{type(error).__name__}: {said}")


class _Patient(Agent):
    """The agent of the check."""

    def reply(self, message: object) -> float:
        return self.rng.random()


def _checkup(patients: Population) -> Iterator[xr.DataArray]:
    """Run a small workflow whose second round depends on its first."""
    first = patients.reply()
    yield first
    yield patients.reply(first.mean())


def _workers() -> str:
    """Start one worker process, and compare a run on it with a run in this process."""
    patients = Population(_Patient, 100)
    with tempfile.TemporaryDirectory(prefix="daskagents-") as name:
        folder = Path(name)
        with own_cluster(1) as client:
            there = run(_checkup, patients, client=client, out=folder / "there", progress=False)
            here = run(_checkup, patients, client="sync", out=folder / "here", progress=False)
            same = there.drop_vars("seconds").equals(here.drop_vars("seconds"))
    if not same:
        raise DaskAgentsError("a run on a worker and the same run in this process differ")
    return "worker processes start, and a run on one agrees with a run in this process"


def _local_model() -> Finding:
    try:
        check_installed()
    except UsageError as error:
        return Finding("local model", "warning", str(error))
    return Finding("local model", "ok", "installed: --model local runs it")


def _endpoint(url: str) -> str:
    loop = Loop(thread=False)
    try:
        loop.run(OpenAI(base_url=url).check())
    finally:
        loop.close()
    return f"{url} answers"


def _fonts() -> Finding:
    from daskagents.fonts import asian_fonts

    found = asian_fonts()
    if found:
        return Finding("fonts", "ok", f"Chinese, Japanese, Korean: {', '.join(found)}")
    hint = "none for Chinese, Japanese and Korean; for pictures with such texts install one, such"
    return Finding("fonts", "warning", f"{hint} as Debian's fonts-noto-cjk")
