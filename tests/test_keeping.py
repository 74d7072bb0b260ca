"""What workers share, on real clusters: who dies, who ends, and who lacks the package."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster
from worlds import until

import daskagents as da
from daskagents import models
from daskagents.errors import BudgetError, ModelError, RunError
from daskagents.keeping import KeeperPlugin
from daskagents.models.adaptive import Adaptive
from daskagents.models.base import Model
from daskagents.models.budget import Budget, Budgeted
from daskagents.models.rate import RateLimit
from daskagents.testing import ModelServer, model_server

ENV = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
CHAT = "/v1/chat/completions 200"


class Asker(da.Agent):
    """Asks its model, and says what it took."""

    async def reply(self, message: da.Message) -> float:
        return float((await self.chat("How many?")).tokens)


class Stubborn(da.Agent):
    """Goes on when its model fails."""

    async def reply(self, message: da.Message) -> float:
        try:
            return float((await self.chat("How many?")).tokens)
        except ModelError:
            return -1.0


def asking(people: Any, rounds: int = 1) -> Iterator[Any]:
    for number in range(rounds):
        yield {"x": people.reply(number)}


@pytest.fixture(scope="module")
def cluster(dask_folder: Path) -> Iterator[LocalCluster]:
    """Three workers of eight threads."""
    with LocalCluster(
        n_workers=3, threads_per_worker=8, dashboard_address="127.0.0.1:0", silence_logs=50
    ) as started:
        yield started


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster, set_as_default=False) as connected:
        connected.wait_for_workers(3, 60)
        yield connected


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with model_server(latency=0.05, answer="five words in this answer") as started:
        yield started


def plugin(cluster: LocalCluster) -> KeeperPlugin:
    found = cluster.scheduler.plugins[KeeperPlugin.name]
    assert isinstance(found, KeeperPlugin)
    return found


def holders(cluster: LocalCluster) -> list[str]:
    """Return who holds something, of all runs."""
    known = KeeperPlugin.name in cluster.scheduler.plugins
    runs = list(plugin(cluster).runs.values()) if known else []
    return [who for run in runs for account in run._accounts.values() for who in account.holders]


def people(n: int, model: Model, cls: type[da.Agent] = Asker) -> da.Population:
    return da.Population(cls, n, block_size=max(1, n // 24), model=model)


def run(model: Model, n: int, client: Any, rounds: int = 1, **options: Any) -> Any:
    """Ask a crowd; after each round its blocks are spread over the workers anew."""
    return da.run(
        asking, people(n, model), client=client, rounds=rounds, checkpoint_every=1, **options
    )


def asked(server: ModelServer) -> int:
    return server.stats().outcomes.get(CHAT, 0)


@contextmanager
def meanwhile(work: Callable[[], Any]) -> Iterator[list[Any]]:
    """Do something in another thread; its result, or its error, is in the list at the end."""
    results: list[Any] = []

    def target() -> None:
        try:
            results.append(work())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    try:
        yield results
    finally:
        thread.join(100)


# Limits across workers


def test_a_budget_holds_on_three_workers(
    client: Client, cluster: LocalCluster, server: ModelServer, tmp_path: Path
) -> None:
    openai = models.OpenAI("test", base_url=server.url)
    each = int(run(openai, 1, client)["x"].values[0, 0])
    before, limit = asked(server), 300 * each
    model = Budgeted(Adaptive(openai), Budget(tokens=limit))
    with pytest.raises(BudgetError, match=rf"spent: .* of {limit:,} tokens; give a larger one"):
        run(model, 240, client, rounds=3, out=tmp_path / "run")
    spent = (asked(server) - before) * each
    assert limit <= spent <= limit + 3 * 16 * each
    left = da.open_run(tmp_path / "run")
    assert left.status == "out of budget" and left.results.sizes["round"] == 1
    until(lambda: not plugin(cluster).runs)


def test_a_budget_that_is_spent_in_the_second_round_keeps_the_first(
    client: Client, tmp_path: Path
) -> None:
    model = Budgeted(models.Dummy(0.01, "one two"), Budget(calls=350))
    with pytest.raises(BudgetError, match="350 of 350 calls"):
        run(model, 240, client, rounds=3, out=tmp_path / "run")
    assert da.open_run(tmp_path / "run").results["x"].values.tolist() == [[4.0] * 240]


@pytest.mark.parametrize("where", ["cluster", "sync"])
def test_agents_cannot_go_on_without_a_budget(where: str, client: Client) -> None:
    model = Budgeted(models.Dummy(0.001, "one two"), Budget(calls=50))
    with pytest.raises(BudgetError, match="50 of 50 calls"):
        da.run(
            asking,
            people(240, model, Stubborn),
            client=client if where == "cluster" else "sync",
            max_failed=1.0,
        )


def test_a_rate_holds_on_three_workers(client: Client, server: ModelServer) -> None:
    openai = models.OpenAI("test", base_url=server.url)
    model = RateLimit(openai, requests_per_minute=6_000)
    result = run(model, 200, client, rounds=2)
    times = sorted(time for time, path, _ in server.stats().recent if "chat" in path)
    assert len(times) == 400 and 2.5 < times[-1] - times[0] < 6
    assert max(sum(t <= u < t + 1 for u in times) for t in times) <= 220
    assert float(result["seconds_waiting"].sum()) > 100


def test_places_hold_on_three_workers(client: Client, server: ModelServer) -> None:
    model = Adaptive(models.OpenAI("test", base_url=server.url), start=9, most=9)
    run(model, 200, client, rounds=2)
    times = sorted(time for time, path, _ in server.stats().recent if "chat" in path)
    assert len(times) == 400 and times[-1] - times[0] > 0.9 * 0.05 * 400 / 9


def test_what_workers_say_is_little(client: Client, cluster: LocalCluster) -> None:
    said: list[str] = []
    keeper = plugin(cluster)
    ask = keeper.ask

    async def counted(**about: Any) -> Any:
        said.append(about["worker"])
        return await ask(**about)

    cluster.scheduler.handlers["daskagents_ask"] = counted
    try:
        model = Budgeted(Adaptive(models.Dummy(0.05, "yes"), start=2_000), Budget(calls=1e9))
        run(model, 12_000, client, rounds=2)
    finally:
        cluster.scheduler.handlers["daskagents_ask"] = ask
    assert len(set(said)) == 3 and len(said) < 1_000


# Runs side by side


def test_two_runs_on_a_cluster_share_nothing(
    client: Client, cluster: LocalCluster, tmp_path: Path
) -> None:
    model = Budgeted(models.Dummy(0.02, "one two"), Budget(calls=500))

    def one() -> Any:
        return run(model, 240, client, rounds=2)

    with Client(cluster, set_as_default=False) as other, meanwhile(one) as results:
        run(model, 240, other, rounds=2)
    (result,) = results
    assert result["calls"].values.tolist() == [240.0, 240.0]


def test_runs_that_ended_are_forgotten(client: Client, cluster: LocalCluster) -> None:
    da.run(asking, people(24, Adaptive(models.Dummy(0.01, "yes"))), client=client)
    with pytest.raises(RunError):
        da.run(asking, people(24, models.Dummy(answer=lambda r, rng: 1 / 0)), client=client)
    assert not plugin(cluster).runs and not plugin(cluster).clients


def test_a_client_that_is_gone_takes_its_runs_along(cluster: LocalCluster) -> None:
    with Client(cluster) as current:
        crowd = da.Population(Asker, 4, model=Adaptive(models.Dummy(0.01, "yes")))
        assert crowd.reply("?").values.tolist() == [3.0] * 4
        assert list(plugin(cluster).clients.values()) == [current.id]
    until(lambda: not plugin(cluster).runs and not plugin(cluster).clients)


def test_what_is_not_used_is_given_back(client: Client, cluster: LocalCluster) -> None:
    def watched(crowd: Any) -> Iterator[Any]:
        replies = crowd.reply()
        until(lambda: bool(holders(cluster)))
        yield {"x": replies.load()}
        until(lambda: not holders(cluster), 20)
        yield {"x": crowd.reply().load()}

    slow = Budgeted(
        RateLimit(models.Dummy(1.0, "yes"), requests_per_minute=60_000), Budget(calls=99)
    )
    da.run(watched, people(24, slow), client=client)


# Who dies


def test_a_killed_worker_gives_back_its_leases(cluster: LocalCluster, client: Client) -> None:
    model = Adaptive(models.Dummy(0.1, "yes"), start=30, most=30)

    with meanwhile(lambda: run(model, 240, client, rounds=4)) as results:
        until(lambda: len({who.split()[0] for who in holders(cluster)}) == 3)
        victim = holders(cluster)[0].split()[0]
        os.kill(client.run(os.getpid)[victim], signal.SIGKILL)
        until(lambda: not any(who.startswith(f"{victim} ") for who in holders(cluster)), 30)
    (result,) = results
    assert not isinstance(result, BaseException), result
    assert result["x"].values.tolist() == [[3.0] * 240] * 4
    client.wait_for_workers(3, 60)


def test_a_killed_worker_breaks_no_budget(
    cluster: LocalCluster, client: Client, server: ModelServer
) -> None:
    openai = models.OpenAI("test", base_url=server.url)
    model = Adaptive(Budgeted(openai, Budget(calls=600)), start=30, most=30)

    with meanwhile(lambda: run(model, 240, client, rounds=9)) as results:
        until(lambda: asked(server) > 300)
        victim = holders(cluster)[0].split()[0]
        os.kill(client.run(os.getpid)[victim], signal.SIGKILL)
    (error,) = results
    assert isinstance(error, BudgetError), error
    told = re.search(r"600 calls \(with (\d+) calls that lost workers may have spent\)", str(error))
    assert told, error
    assert 600 - int(told[1]) <= asked(server) <= 600
    client.wait_for_workers(3, 60)


def test_workers_that_are_retired_give_back_their_leases(dask_folder: Path) -> None:
    model = Adaptive(models.Dummy(0.1, "yes"), start=30, most=30)
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=2, dashboard_address="127.0.0.1:0", silence_logs=50
        ) as own,
        Client(own, set_as_default=False) as client,
    ):
        with meanwhile(lambda: run(model, 240, client, rounds=3)) as results:
            until(lambda: len({who.split()[0] for who in holders(own)}) == 2)
            victim = holders(own)[0].split()[0]
            client.retire_workers([victim])
            until(lambda: not any(who.startswith(f"{victim} ") for who in holders(own)), 60)
        assert results[0]["x"].values.tolist() == [[3.0] * 240] * 3


def test_a_cluster_that_is_restarted_ends_the_run_and_serves_the_next(dask_folder: Path) -> None:
    model = Budgeted(models.Dummy(0.3, "yes"), Budget(calls=10_000))
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50
        ) as own,
        Client(own, set_as_default=False) as client,
    ):
        with meanwhile(lambda: run(model, 240, client, rounds=50)) as results:
            until(lambda: holders(own))
            with Client(own, set_as_default=False) as other:
                other.restart()
        assert isinstance(results[0], RunError)
        until(lambda: not plugin(own).runs)
        result = da.run(asking, people(24, model), client=client)
        assert result["calls"].values.tolist() == [24.0]


# A scheduler of its own


@contextmanager
def scheduler(folder: Path, env: dict[str, str]) -> Iterator[Path]:
    """Start a scheduler and a worker as processes of their own, the scheduler with `env`."""
    file = folder / "scheduler.json"
    quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    dask = [sys.executable, "-m", "dask"]
    with ExitStack() as stack:

        def start(command: list[str], env: dict[str, str]) -> None:
            process = subprocess.Popen(
                [*dask, *command, f"--scheduler-file={file}"], env=env, **quiet
            )
            stack.callback(process.wait)
            stack.callback(process.kill)

        start(["scheduler", "--port=0", "--dashboard-address=:0"], env)
        until(file.exists)
        start(["worker", "--nthreads=2", "--no-dashboard", f"--local-directory={folder}"], ENV)
        yield file


def test_a_scheduler_in_a_process_of_its_own(tmp_path: Path) -> None:
    with (
        scheduler(tmp_path, ENV) as file,
        Client(scheduler_file=str(file), set_as_default=False, timeout="60s") as client,
    ):
        model = Budgeted(Adaptive(models.Dummy(0.01, "yes")), Budget(calls=100))
        result = da.run(asking, people(90, model), client=client)
        assert result["calls"].values.tolist() == [90.0]
        with pytest.raises(BudgetError, match="100 of 100 calls"):
            da.run(asking, people(240, model), client=client)


def test_a_scheduler_without_the_package_is_told_of(tmp_path: Path) -> None:
    """One whose path has all that there is, but for this package."""
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text(
        "import sys\nsys.modules['daskagents'] = None  # as if it were not installed\n"
    )
    env = {**ENV, "PYTHONPATH": os.pathsep.join([str(blocked), ENV["PYTHONPATH"]])}
    with (
        scheduler(tmp_path, env) as file,
        Client(scheduler_file=str(file), set_as_default=False, timeout="60s") as client,
    ):
        with pytest.raises(RunError) as caught:
            da.run(asking, people(9, models.Dummy()), client=client, out=tmp_path / "run")
        said = str(caught.value)
        assert said.startswith(f"the process of the Dask scheduler at {client.scheduler.address}")
        assert "install it there too" in said
        assert not (tmp_path / "run").exists()
