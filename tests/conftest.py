"""What all tests need: quiet settings, folders of their own, programs, and clusters to share."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import pytest
import unsynced  # noqa: F401
from distributed import Client, LocalCluster
from distributed.utils import get_mp_context
from hypothesis import settings

ROOT = Path(__file__).parents[1]

# Workers, and programs that tests start, inherit this: warnings are errors there too.
os.environ["PYTHONWARNINGS"] = "error"
os.environ["MPLBACKEND"] = "Agg"

# A shell that starts us in the background has us, and what we start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: a busy machine is no error. In CI the same examples each time.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


def pytest_collection_finish() -> None:
    """Spare the garbage collector what stays: modules, and the tests themselves."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def quick_workers() -> Iterator[None]:
    """Fork workers from a process that has imported all, and let them be idle when they are.

    Those of programs that tests start are new processes, as they are for users.
    """
    quiet = {
        "distributed.worker.multiprocessing-method": "forkserver",
        "distributed.worker.profile.enabled": False,
        "distributed.admin.tick.interval": "200ms",
    }
    with dask.config.set(quiet):
        preloaded = ["distributed", "pandas", "xarray", "zarr", "daskagents.session", "unsynced"]
        get_mp_context().set_forkserver_preload(preloaded)
        yield


@pytest.fixture(scope="session", autouse=True)
def dask_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep what Dask spills and stores out of the working directory, in child processes too."""
    folder = tmp_path_factory.mktemp("dask")
    with pytest.MonkeyPatch.context() as patch, dask.config.set(temporary_directory=str(folder)):
        patch.setenv("DASK_TEMPORARY_DIRECTORY", str(folder))
        yield folder


Ended = subprocess.CompletedProcess[str]


def command_of(folder: Path, *words: object, **environment: str) -> dict[str, Any]:
    """Return how the command line is started in a folder, in a process of its own."""
    return {
        "args": [sys.executable, "-m", "daskagents", *map(str, words)],
        "cwd": folder,
        "env": os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        "text": True,
    }


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Ended]:
    """Run the real command in the folder of the test, and return how it ended."""

    def program(*words: object, **environment: str) -> Ended:
        command = command_of(tmp_path, *words, **environment)
        return subprocess.run(**command, capture_output=True, timeout=100, check=False)

    return program


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the real command in the folder of the test; if it still runs at the end, kill it."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: object) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        # a group of its own: Ctrl-C reaches all that it has started, as in a terminal
        process = subprocess.Popen(**command_of(tmp_path, *words), **pipes, process_group=0)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser without a window; what needs one is skipped where there is none.

    Not for longer: as long as it is there, the thread of the tests has an event loop that runs.
    """
    api = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("there is no chromium")
    with api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


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
