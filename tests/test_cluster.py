import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from dask.sizeof import sizeof
from distributed import Client, LocalCluster
from worlds import Player, Waiter, asking, drawn, game, group, rounds_closed, same, until

import daskagents as da
from daskagents import models, tasks
from daskagents.cluster import (
    _guarded,
    check_main_guard,
    connect,
    current_client,
    prepare_workers,
)
from daskagents.columns import Plain, Texts, compact_strings, ragged_strings
from daskagents.errors import RunError, UsageError

HERE = Path(__file__).parent
PATH = os.pathsep.join([str(HERE.parent), str(HERE)])


def start(program: str, folder: Path, *args: str) -> subprocess.Popen[str]:
    """Start a program in a process group of its own."""
    file = folder / "program.py"
    file.write_text(dedent(program))
    return subprocess.Popen(
        [sys.executable, str(file), *args],
        env={**os.environ, "PYTHONPATH": PATH},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Wait for a program to end, and for all that it started."""
    try:
        out, err = process.communicate(timeout=90)
        until(lambda: not group(process.pid), 20)
        return out, err
    finally:
        for pid in group(process.pid):
            os.kill(pid, signal.SIGKILL)


# Whom to connect to


def test_a_client_that_is_closed_is_refused(cluster2: LocalCluster) -> None:
    client = Client(cluster2, set_as_default=False)
    client.close()
    with pytest.raises(UsageError, match="client is closed"):
        da.run(game, da.Population(Player, 3), client=client)


def test_an_asynchronous_client_is_refused(cluster2: LocalCluster) -> None:
    import asyncio

    async def inside() -> None:
        address = cluster2.scheduler_address
        async with Client(address, asynchronous=True, set_as_default=False) as client:
            with pytest.raises(UsageError, match="client is asynchronous"):
                da.run(game, da.Population(Player, 3), client=client)

    asyncio.run(inside())


def test_an_address_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("daskagents.cluster._PATIENCE", 0.5)
    for address in ("tcp://127.0.0.1:1", "tcp://nowhere.invalid:8786", "no address"):
        with pytest.raises(UsageError, match=f"no Dask scheduler answers at '{address}'"):
            da.run(game, da.Population(Player, 3), client=address, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert current_client() is None


def test_an_address_is_connected_to_and_let_go(cluster2: LocalCluster) -> None:
    def clients(scheduler: Any) -> int:
        return sum(name.startswith("Client-") for name in scheduler.clients)

    before = clients(cluster2.scheduler)
    result = da.run(game, da.Population(Player, 30), seed=5, client=cluster2.scheduler_address)
    same(da.run(game, da.Population(Player, 30), seed=5, client="sync"), result)
    until(lambda: clients(cluster2.scheduler) == before)


def test_the_client_given_comes_before_the_current_one(
    cluster2: LocalCluster, client1: Client
) -> None:
    with Client(cluster2) as current:
        with connect(None) as found:
            assert found is current
        with connect(client1) as found:
            assert found is client1
        assert current.status == "running"
    with pytest.raises(UsageError, match="client is 3"), connect(3):  # type: ignore[arg-type]
        pass


def test_another_client_does_not_disturb_agents_that_wait(cluster2: LocalCluster) -> None:
    under_way, done, model = threading.Event(), threading.Event(), models.Dummy(0.05, drawn)
    people = da.Population(Waiter, 40, block_size=10, model=model)
    results = []

    def waits(players: Any) -> Iterator[Any]:
        for number in range(200):
            yield {"x": players.reply(number)}
            under_way.set()
            if done.is_set():
                return

    def first() -> None:
        results.append(da.run(waits, people, seed=1, client=cluster2.scheduler_address))

    thread = threading.Thread(target=first)
    thread.start()
    assert under_way.wait(60)
    second = da.run(asking, people, seed=1, rounds=2, client=cluster2.scheduler_address)
    done.set()
    thread.join(60)
    assert not thread.is_alive()
    assert (results[0]["x"].values[:2] == second["x"].values).all()


# Programs


GAME = """
    import sys
    import daskagents as da
    from daskagents import models
    from worlds import Player, Waiter, asking, drawn, game
"""


def test_a_program_without_a_guard_is_told_so(tmp_path: Path) -> None:
    program = (
        GAME
        + """
    print("top", flush=True)
    da.run(game, da.Population(Player, 10), out=sys.argv[1])
    """
    )
    out, err = end(process := start(program, tmp_path, str(tmp_path / "run")))
    assert process.returncode == 1
    assert out == "top\n"  # it was not started again
    assert err.count("Traceback") == 1
    said = err.splitlines()[-1]
    assert "program.py:8 starts worker processes" in said and '`if __name__ == "__main__":`' in said
    assert not (tmp_path / "run").exists()


def test_a_program_with_a_guard_starts_a_cluster_of_its_own(tmp_path: Path) -> None:
    program = (
        GAME
        + """
    def play():
        print(da.run(game, da.Population(Player, 30), seed=5)["winner"].values.tolist())

    if __name__ == "__main__":
        play()
    """
    )
    out, err = end(process := start(program, tmp_path))
    assert (process.returncode, err) == (0, "")
    alone = da.run(game, da.Population(Player, 30), seed=5, client="sync")["winner"]
    assert out.strip() == str(alone.values.tolist())


def test_sync_needs_no_guard(tmp_path: Path) -> None:
    program = (
        GAME
        + """
    print(da.run(game, da.Population(Player, 30), client="sync").sizes["round"])
    """
    )
    out, err = end(process := start(program, tmp_path))
    assert (process.returncode, out, err) == (0, "4\n", "")


@pytest.mark.parametrize("where", ["own", "given"])
def test_ctrl_c_leaves_a_folder_and_nothing_else(where: str, tmp_path: Path) -> None:
    program = (
        GAME
        + """
    from distributed import Client

    if __name__ == "__main__":
        model = models.Dummy(latency=0.2, answer=drawn)
        people = da.Population(Waiter, 80, block_size=10, model=model)
        if sys.argv[2] == "own":
            da.run(asking, people, rounds=1000, out=sys.argv[1])
        else:
            with Client(n_workers=2, threads_per_worker=1, dashboard_address=":0") as client:
                try:
                    da.run(asking, people, rounds=1000, out=sys.argv[1], client=client)
                finally:
                    again = da.run(asking, people, rounds=2, client=client)
                    print(again.sizes["round"], flush=True)
    """
    )
    folder = tmp_path / "run"
    process = start(program, tmp_path, str(folder), where)
    until(lambda: rounds_closed(folder) >= 3 or process.poll() is not None)
    if where == "own":
        os.killpg(process.pid, signal.SIGINT)  # as the terminal does
    else:
        os.kill(process.pid, signal.SIGINT)  # as a notebook does; the cluster is the user's
    out, err = end(process)
    assert process.returncode == -signal.SIGINT
    assert out == ("" if where == "own" else "2\n")
    assert err.count("Traceback") == 1 and err.rstrip().endswith("KeyboardInterrupt"), err
    left = da.open_run(folder)
    assert left.status == "interrupted" and left.results.sizes["round"] >= 3
    assert (left.results["x"].values[:3] != 0).all()


def test_the_guard_is_found_by_its_place(tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text("import x\nif __name__ == '__main__':\n    a()\n    b()\nif x:\n    c()\nd()\n")
    assert [_guarded(file, line) for line in (3, 4, 6, 7)] == [True, True, False, False]
    file.write_text("def (")
    assert _guarded(file, 1) and _guarded(tmp_path / "none", 1)
    check_main_guard()  # pytest is started with python -m, or from a script that has its guard


@pytest.mark.parametrize(
    "column",
    [Plain(np.zeros(1000)), ragged_strings(["ab"] * 1000), compact_strings(["ab"] * 1000)],
)
def test_dask_knows_the_size_of_columns(column: Plain | Texts) -> None:
    assert column.nbytes <= sizeof(column) <= column.nbytes + 200


@pytest.mark.parametrize("begun", [False, True])
def test_workers_do_not_write_of_steps_that_were_stopped(begun: bool, tmp_path: Path) -> None:
    written: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: written.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("distributed.worker")
    logger.addHandler(handler)
    try:
        with Client(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
        ) as c:
            prepare_workers(c)
            failing = c.submit(_stop_within if begun else _stop_before, str(tmp_path), pure=False)
            assert isinstance(failing.exception(timeout=30), RunError)
    finally:
        logger.removeHandler(handler)
    assert written == []


def _stop_before(topic: str) -> None:
    tasks.stop(topic)
    tasks._check_stopped(topic)


def _stop_within(topic: str) -> None:
    async def one(row: int) -> None:
        tasks.stop(topic)

    tasks._Lanes(tasks.loop_of_agents(), topic).run_each(one, iter(range(10)))
