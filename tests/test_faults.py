"""What dies, fills up, or cannot be seen while a run lasts."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from deadly import Deadlier, Deadly
from distributed import Client, LocalCluster
from worlds import Player, Waiter, asking, drawn, events, game, reading, rounds_closed, same, until

import daskagents as da
from daskagents import executors, models, testing
from daskagents.errors import RunError

ENV = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def may_mount() -> bool:
    if os.geteuid() or not shutil.which("unshare"):
        return False
    try:
        subprocess.run(
            ["unshare", "-m", "mount", "-t", "tmpfs", "x", "/mnt"], check=True, timeout=20
        )
    except (subprocess.SubprocessError, OSError):
        return False
    return True


mounts = pytest.mark.skipif(not may_mount(), reason="file systems may not be mounted here")


@contextlib.contextmanager
def own_cluster(workers: int, **settings: Any) -> Iterator[Client]:
    """Start a cluster that a test may kill."""
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@contextlib.contextmanager
def when(condition: Any, action: Any) -> Iterator[threading.Event]:
    """Do something from another thread as soon as a condition holds."""
    over, acted = threading.Event(), threading.Event()

    def watch() -> None:
        until(lambda: over.is_set() or condition(), 100)
        if not over.is_set():
            action()
            acted.set()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield acted
    finally:
        over.set()
        thread.join()


def varied(people: Any, chair: Any, rounds: int = 28) -> Iterator[Any]:
    """Pass on means, what each said, what was read, and what the workflow makes of it."""
    message: Any = 0.0
    for number in range(rounds):
        replies = people.reply(message)
        said = chair(replies["guess"].max())
        yield {
            "guess": replies["guess"],
            "note": replies["note"],
            "mean": replies["guess"].mean(),
            "said": said,
        }
        message = [
            replies["guess"].mean(),
            replies["guess"],
            float(replies["guess"].max()),
            replies["guess"].values[::-1].copy(),
        ][number % 4]


class Chair(da.Agent):
    """Says what it hears, and how often it has heard."""

    name: str = ""
    heard: int = 0

    def reply(self, message: da.Message) -> str:
        self.heard += 1
        return f"{self.heard}: {message.content:.9f}"


def test_a_killed_worker_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daskagents.lazies._LIGHT", 100)  # heavy messages, for this test

    def on(client: Any, out: Path) -> xr.Dataset:
        people = da.Population(Player, {"level": np.arange(240) % 5}, block_size=30)
        chair = da.spawn(Chair(name="Z"))
        return da.run(varied, people, chair, seed=3, client=client, out=out, checkpoint_every=5)

    whole = on("sync", tmp_path / "whole")
    with own_cluster(3) as client:
        victims = iter(client.run(os.getpid).values())

        def kill() -> None:
            os.kill(next(victims), signal.SIGKILL)

        with (
            when(lambda: rounds_closed(tmp_path / "cut") >= 7, kill) as first,
            when(lambda: rounds_closed(tmp_path / "cut") >= 17, kill) as second,
        ):
            cut = on(client, tmp_path / "cut")
        assert first.is_set() and second.is_set()
    same(whole, cut)
    same(whole, da.open_run(tmp_path / "cut").results)


def test_agents_that_wait_are_asked_again(tmp_path: Path) -> None:
    def on(client: Any, out: Path | None) -> xr.Dataset:
        people = da.Population(Waiter, 80, block_size=10)
        model = models.Dummy(latency=0.05, answer=drawn)
        return da.run(asking, people, rounds=12, model=model, client=client, out=out)

    with own_cluster(2) as client:
        victim = next(iter(client.run(os.getpid).values()))
        closed = lambda: rounds_closed(tmp_path / "cut") >= 4  # noqa: E731
        with when(closed, lambda: os.kill(victim, signal.SIGKILL)) as killed:
            cut = on(client, tmp_path / "cut")
        assert killed.is_set()
    same(on("sync", None), cut)


# Agents that kill their workers


def dying(people: Any, others: Any, method: str = "reply", rounds: int = 4) -> Iterator[Any]:
    """Hand a mean on from people of whom some die to others, and back."""
    heard = 0.0
    for number in range(rounds):
        replies = people.do(method, (number, os.getpid(), heard))
        yield {"x": replies["x"], "guess": others.reply(replies["x"].mean())["guess"]}
        heard = float(replies["x"].mean())


def play_dying(client: Any, out: Path | None, cls: Any = Deadly, **more: Any) -> xr.Dataset:
    people = da.Population(cls, 40, block_size=10, name="people")
    others = da.Population(Player, 30, block_size=10, name="others")
    options: Any = {"seed": 3, "client": client, "out": out, "max_failed": 0.03, **more}
    return da.run(dying, people, others, checkpoint_every=2, **options)


def apart(folder: Path) -> set[tuple[str, int]]:
    return {(e["population"], e["block"]) for e in events(folder) if e["event"] == "apart"}


ONE_DEATH = {"distributed.scheduler.allowed-failures": 0}


def test_only_the_agent_fails_that_kills_its_worker(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with own_cluster(2, **ONE_DEATH) as client:
        found = play_dying(client, out)
        same(play_dying("sync", None), found)
        assert ("people", 1) in apart(out)
        failures = da.open_run(out).failures()
        assert failures["agent"].values.tolist() == [17]
        assert failures["error"].values.tolist() == ["LethalError"]
        assert "killed its process (signal 9)" in str(failures["message"].values[0])
        before, marked = client.run(os.getpid), apart(out)
        longer = play_dying(client, out, resume=True, rounds=6)
        assert client.run(os.getpid) == before  # its block is run apart from the beginning
        assert apart(out) == marked
    same(play_dying("sync", None, rounds=6), longer)


def test_agents_that_wait_and_blocks_that_kill(tmp_path: Path) -> None:
    """Without a folder of its own; and where a model is asked, nobody is asked again."""
    with own_cluster(2, **ONE_DEATH) as client, testing.model_server() as server:
        same(play_dying("sync", None, Deadlier), play_dying(client, None, Deadlier))
        model = models.OpenAI("m", server.url, "none")
        whole = play_dying("sync", None, method="ask", model=model)
        before = server.stats().repeats
        found = play_dying(client, tmp_path / "run", method="ask", model=model)
        unlike = ["seconds_waiting", "retries"]
        same(whole.drop_vars(unlike), found.drop_vars(unlike))
        asked = server.stats()
    first = asked.answered - asked.repeats
    # all that was asked at home, and what was under way when workers died
    assert asked.repeats - before - first <= 20 * len(apart(tmp_path / "run"))


def test_more_agents_that_kill_than_may_fail(tmp_path: Path) -> None:
    with (
        own_cluster(2, **ONE_DEATH) as client,
        pytest.raises(RunError, match=r"max_failed allows 0 .* agent 17: it killed its process"),
    ):
        play_dying(client, tmp_path / "run", max_failed=0.0)
    left = da.open_run(tmp_path / "run")
    assert left.status == "failed" and left.results.sizes["round"] == 2  # as it had got here


def _kill(values: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def deadly_mean(people: Any) -> Iterator[Any]:
    guesses = people.reply(1.0)["guess"]
    killing = guesses.data.map_blocks(_kill, meta=np.zeros(0))  # or Dask would try it here
    yield {"mean": guesses.copy(data=killing).mean()}


def test_what_kills_workers_and_is_no_agent_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daskagents.strikes.MOST", 0)
    with own_cluster(2, **ONE_DEATH) as client:
        people = da.Population(Player, 20, block_size=20)
        with pytest.raises(RunError, match="a block of agents was lost with 1 workers") as caught:
            da.run(deadly_mean, people, client=client, out=tmp_path / "run")
        assert "workers' logs" in str(caught.value)
    assert da.open_run(tmp_path / "run").status == "failed"


@pytest.mark.parametrize("noticed", [False, True])
def test_a_scheduler_that_dies_stops_the_run(noticed: bool, tmp_path: Path) -> None:
    scheduler = tmp_path / "scheduler.json"
    command = [sys.executable, "-m", "dask", "scheduler", "--port=0", "--dashboard-address=:0"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": ENV}
    started = [subprocess.Popen([*command, f"--scheduler-file={scheduler}"], **quiet)]  # type: ignore[call-overload]
    try:
        until(scheduler.exists)
        command = [sys.executable, "-m", "dask", "worker", "--nthreads=1", "--no-dashboard"]
        folder = f"--local-directory={tmp_path}"
        started.append(
            subprocess.Popen([*command, f"--scheduler-file={scheduler}", folder], **quiet)  # type: ignore[call-overload]
        )
        with (
            dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
            Client(scheduler_file=str(scheduler), set_as_default=False, timeout="5s") as client,
        ):
            client.wait_for_workers(1, 60)
            closed = lambda: rounds_closed(tmp_path / "run") >= 3  # noqa: E731

            def steps_without(people: Any) -> Iterator[Any]:
                """Ask for a step when the client knows that the scheduler is gone."""
                for _ in range(4):
                    yield people.reply(float(people.reply(None)["guess"].mean()))
                started[0].kill()
                until(lambda: client.status == "connecting")
                yield people.reply(float(people.reply(None)["guess"].mean()))

            people = da.Population(Player, 20, block_size=10)
            out = tmp_path / "run"
            with pytest.raises(RunError, match="connection"):
                if noticed:
                    da.run(steps_without, people, client=client, out=out)
                else:
                    with when(closed, started[0].kill):
                        da.run(reading, people, rounds=10_000, client=client, out=out)
    finally:
        for process in started:
            process.kill()
            process.wait()
    left = da.open_run(tmp_path / "run")
    assert left.status == "failed" and left.results.sizes["round"] >= 3


# The past is let go


def passes_a_mean(people: Any) -> Iterator[Any]:
    mean: Any = 0.0
    while True:
        replies = people.reply(mean)
        yield {"guess": replies["guess"]}
        mean = replies["guess"].mean()  # computed only after the round has ended


def passes_replies(people: Any) -> Iterator[Any]:
    message: Any = None
    while True:
        replies = people.reply(message)
        yield replies
        message = replies["guess"]


def reads_values(people: Any) -> Iterator[Any]:
    mean = 0.0
    while True:
        replies = people.reply(mean)
        mean = float(replies["guess"].mean())
        yield {"mean": mean}


def count_tasks(dask_scheduler: Any) -> int:
    return len(dask_scheduler.tasks)


@pytest.mark.parametrize("workflow", [passes_a_mean, passes_replies, reads_values])
def test_the_scheduler_forgets_the_past(workflow: Any, client3: Client) -> None:

    def count() -> int:
        return int(client3.run_on_scheduler(count_tasks))

    def watched(people: Any) -> Iterator[Any]:
        for number, yielded in enumerate(islice(workflow(people), 60)):
            yield yielded
            if number in (24, 59):  # right after a checkpoint: when all that is asked is there
                people._session.executor.gather(people._members.handles)
                # about 50 to 100, once the scheduler has heard of all releases; 240 if kept
                until(lambda: count() < 160)

    da.run(watched, da.Population(Player, 40, block_size=10), client=client3, checkpoint_every=5)
    until(lambda: count() == 0)


def test_what_a_run_waited_for_is_let_go_at_once(
    client3: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only when Python looks for cycles: errors of time-outs hold themselves, and all else."""
    monkeypatch.setattr("daskagents.executors._PATIENCE", 0.001)
    gc.collect()
    gc.disable()
    try:
        da.run(game, da.Population(Player, 40, block_size=10), rounds=3, client=client3)
        until(lambda: client3.run_on_scheduler(count_tasks) == 0)
    finally:
        gc.enable()


def test_a_wait_that_is_interrupted_is_not_complained_of_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    complaints: list[Any] = []

    async def fail(futures: Any) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        raise ValueError

    async def interrupt() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, said: complaints.append(said))
        waiting = asyncio.ensure_future(executors._wait_awhile([]))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.sleep(0.01)
        gc.collect()

    monkeypatch.setattr(executors, "wait_for_all", fail)
    asyncio.run(interrupt())
    assert not complaints


# Folders


@mounts
def test_workers_that_do_not_see_the_folder(tmp_path: Path) -> None:
    """One worker has a file system of its own where the run directory is."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    with LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    ) as cluster:
        worker = "{} -m dask worker {} --nthreads 1 --no-dashboard --local-directory {}".format(
            sys.executable, cluster.scheduler_address, tmp_path / "local"
        )
        blind = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", f"mount -t tmpfs x {hidden} && exec {worker}"],
            env=ENV,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with Client(cluster, set_as_default=False) as client:
                client.wait_for_workers(2, 60)
                people = da.Population(Player, {"level": np.arange(240) % 5}, block_size=30)
                chair = da.spawn(Chair(name="Z"))
                args = {"rounds": 12, "checkpoint_every": 4, "seed": 3}
                found = da.run(varied, people, chair, client=client, out=hidden / "run", **args)
                assert not da.open_run(hidden / "run").about["shared"]
            same(da.run(varied, people, chair, client="sync", **args), found)
            blocks = (hidden / "run" / "checkpoints" / "000012" / "people").iterdir()
            assert len(list(blocks)) == 8
        finally:
            blind.terminate()
            blind.wait(30)


FULL = """
import os, subprocess, sys
import daskagents as da
from distributed import Client
from worlds import Player, game

if __name__ == "__main__":
    folder, client = sys.argv[1:]
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "x", folder], check=True)
    try:
        if client == "sync":
            da.run(game, da.Population(Player, 3_000), rounds=100, client="sync", out=f"{folder}/run")
        else:
            with Client(n_workers=1, threads_per_worker=1, dashboard_address=":0") as client:
                da.run(game, da.Population(Player, 3_000), rounds=100, client=client, out=f"{folder}/run")
    except da.DaskAgentsError as error:
        print(type(error).__name__, error)
        print(da.open_run(f"{folder}/run").status, da.open_run(f"{folder}/run").results.sizes["round"])
"""  # noqa: E501


@mounts
@pytest.mark.parametrize("client", ["sync", "cluster"])
def test_a_disk_that_is_full(client: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(FULL)
    (tmp_path / "full").mkdir()
    ended = subprocess.run(
        ["unshare", "-m", sys.executable, tmp_path / "program.py", tmp_path / "full", client],
        env=ENV,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ended.returncode == 0, ended.stderr
    said, status = ended.stdout.splitlines()
    assert said.startswith(f"RunError the run directory cannot be used: {tmp_path}/full/run")
    assert said.endswith(("No space left on device", "(is the disk full?)"))
    assert status.split()[0] in ("failed", "running")


STUCK = """
import os, subprocess, sys
from pathlib import Path
import numpy as np
import daskagents as da
from daskagents import models
from distributed import Client

folder, place, fault, client = sys.argv[1:]
run, ballast, acted = Path(folder) / "run", Path(folder) / "ballast", Path(folder + ".acted")


def strike(here):
    if here != place or acted.exists() or not run.exists():
        return
    acted.touch()
    if fault == "full":
        with ballast.open("wb", buffering=0) as file:
            for size in (1 << 14, 1):
                while True:
                    try:
                        file.write(bytes(size))
                    except OSError:
                        break
    else:
        subprocess.run(["mount", "--bind", run, run], check=True)
        subprocess.run(["mount", "-o", "remount,ro,bind", run], check=True)


class Writer(da.Agent):
    note: str = ""

    async def reply(self, message) -> str:
        self.note = (await self.chat(f"{self.id} {message.content}: " + "what? " * 20)).text * 20
        if self.id == 70 and message.content == 3:
            strike("agent")
        return self.note


def words(request, rng):
    if request.messages[-1].text.startswith("70 3:"):
        strike("model")
    return f"{rng.random()}" * 5


def story(writers, rounds=6):
    for number in range(rounds):
        said = writers.reply(number)
        first = str(said.values[0])
        if number == 3:
            strike("workflow")
        yield {"said": said, "first": first}
    strike("end")


def play(**more):
    writers = da.Population(Writer, 160, block_size=40, model=models.Dummy(0, words))
    return da.run(story, writers, seed=1, checkpoint_every=2, **more)


if __name__ == "__main__":
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "x", folder], check=True)
    known = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": 50}
    where = "sync" if client == "sync" else Client(**known)
    try:
        play(client=where, out=run)
    except da.DaskAgentsError as error:
        print(type(error).__name__, error)
    if fault == "full":
        ballast.unlink()
    else:
        subprocess.run(["umount", run], check=True)
    found, whole = da.resume(run, client=where), play(client="sync")
    for name in ("said", "first", "n_failed", "calls"):
        np.testing.assert_array_equal(found[name].values, whole[name].values)
    print(da.open_run(run).status, da.open_run(run).usage["calls"])
    if where != "sync":
        where.shutdown()
"""


@mounts
@pytest.mark.parametrize(
    ("place", "fault", "client"),
    [
        ("model", "full", "cluster"),  # so the journal cannot be written
        ("agent", "full", "sync"),  # what is replied
        ("workflow", "full", "sync"),  # the events, the results, a checkpoint
        ("end", "full", "sync"),  # the last checkpoint, run.json
        ("workflow", "readonly", "sync"),
        ("end", "readonly", "sync"),
    ],
)
def test_a_run_goes_on_when_there_is_room_again(
    place: str, fault: str, client: str, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(STUCK)
    (tmp_path / "disk").mkdir()
    command = [sys.executable, tmp_path / "program.py", tmp_path / "disk", place, fault, client]
    ended = subprocess.run(
        ["unshare", "-m", *command], env=ENV, capture_output=True, text=True, timeout=100
    )
    assert ended.returncode == 0, ended.stderr
    said, status = ended.stdout.splitlines()
    assert said.startswith(("RunError the run directory cannot", "RunError the journal cannot"))
    assert f"{tmp_path}/disk/run" in said
    assert said.endswith(
        ("No space left on device", "(is the disk full?)", "Read-only file system")
    )
    assert status == "done 960"


def test_all_workers_may_die_at_once(tmp_path: Path) -> None:
    """What was loaded from a checkpoint would rather be where it was written, and that is gone."""

    def on(client: Any, out: Path | None) -> xr.Dataset:
        model = models.Dummy(latency=0.02, answer=drawn)
        players = da.Population(Waiter, 48, block_size=16)
        return da.run(
            asking, players, rounds=12, model=model, client=client, out=out, checkpoint_every=2
        )

    with own_cluster(2) as client:

        def kill() -> None:
            for pid in client.run(os.getpid).values():
                os.kill(pid, signal.SIGKILL)

        with when(lambda: rounds_closed(tmp_path / "cut") >= 5, kill) as killed:
            cut = on(client, tmp_path / "cut")
        assert killed.is_set()
    same(on("sync", None), cut)
