"""What a machine has and lacks for daskagents: a line for each check."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from dask.system import CPU_COUNT
from distributed import Client
from distributed.system import MEMORY_LIMIT

from daskagents.agent import Agent
from daskagents.cluster import start_cluster
from daskagents.errors import DaskAgentsError, UsageError
from daskagents.loop import Loop
from daskagents.models.local import check_installed
from daskagents.models.openai import OpenAI
from daskagents.population import Population

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
    except (DaskAgentsError, OSError, RuntimeError) as error:
        return Finding(what, "problem", f"{type(error).__name__}: {error}")


class _Patient(Agent):
    """The agent of the check."""

    def reply(self, message: object) -> float:
        return self.rng.random()


def _workers() -> str:
    """Start one worker process, and compare what it says with what this one does."""
    with start_cluster(1) as cluster, Client(cluster):
        there = Population(_Patient, 100, name="patients").reply().values
    here = Population(_Patient, 100, name="patients").reply().values
    if not (there == here).all():
        raise DaskAgentsError("a worker draws other random numbers than this process")
    return "worker processes start, and agree with this one"


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
