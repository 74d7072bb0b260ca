"""What all tests need: quiet settings, folders of their own, and clusters to share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import dask
import pytest
from distributed import Client, LocalCluster
from hypothesis import settings

# Workers, and programs that tests start, inherit this: warnings are errors there too.
os.environ["PYTHONWARNINGS"] = "error"
os.environ["MPLBACKEND"] = "Agg"

# No deadline: a busy machine is no error. In CI the same examples each time.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(scope="session", autouse=True)
def dask_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep what Dask spills and stores out of the working directory, in child processes too."""
    folder = tmp_path_factory.mktemp("dask")
    with pytest.MonkeyPatch.context() as patch, dask.config.set(temporary_directory=str(folder)):
        patch.setenv("DASK_TEMPORARY_DIRECTORY", str(folder))
        yield folder


def start_workers(count: int) -> LocalCluster:
    """Start worker processes of one thread each, with the dashboard on any free port."""
    return LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address="127.0.0.1:0")


@pytest.fixture(scope="session")
def client1(dask_folder: Path) -> Iterator[Client]:
    """One worker process; the client is not the current one."""
    with start_workers(1) as cluster, Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture(scope="session")
def cluster2(dask_folder: Path) -> Iterator[LocalCluster]:
    """Two worker processes, for tests that bring their own client or give the address."""
    with start_workers(2) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def client3(dask_folder: Path) -> Iterator[Client]:
    """Three worker processes; the client is not the current one."""
    with start_workers(3) as cluster, Client(cluster, set_as_default=False) as client:
        yield client
