"""Agents that share an environment: in a run, on workers, after kills, and when it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import Client
from worlds import same

import daskagents as da
from daskagents import models
from daskagents.errors import AdvanceError, RunError, UsageError


class Market(da.Environment):
    price: float = 10.0
    demand: float = da.shared(0.0, reduce="sum")
    sales: int = da.shared(0, reduce="count")
    notes: tuple[str, ...] = da.shared(reduce="append")
    last: str = da.shared("", reduce="last")
    shocks: tuple[float, ...] = ()

    def advance(self) -> None:
        shock = self.rng.gauss()
        self.price *= 1 + 0.1 * np.tanh(self.demand / 100) + 0.01 * shock
        self.shocks = (*self.shocks, shock)
        self.demand = 0.0


class Trader(da.Agent):
    taste: float = 0.0
    paid: float = 0.0

    def reply(self, message: da.Message) -> Any:
        wanted = self.taste - self.env.price
        self.env.write("demand", wanted)
        if self.rng.random() < 0.02:
            self.env.write("notes", f"{self.id} saw {self.env.price:.2f}")
            self.env.write("last", str(self.id))
        self.fail(self.id % 97 == 3, "out of money")
        self.paid += self.env.price
        return {"wanted": wanted}


class Asker(Trader):
    async def reply(self, message: da.Message) -> Any:
        answer = await self.chat(f"The price is {self.env.price}")
        self.env.write("demand", float(answer.text))
        self.env.write("notes", f"{self.id} said {answer.text}")
        return {"wanted": float(answer.text)}


def trade(traders: Any, market: Any, rounds: int = 6, read: bool = False) -> Iterator[Any]:
    for number in range(rounds):
        replies = traders.reply("trade", env=market)
        if read and float(market["price"]) > 10.2 and number % 2:
            market.set(price=10 + replies["wanted"].mean() / 1e3)
        yield replies.assign(price=market["price"], last=market["last"])


def traders(cls: Any = Trader, n: int = 300, **options: Any) -> Any:
    return da.Population(cls, {"taste": np.linspace(5, 20, n)}, **options)


def drawn(request: Any, rng: Any) -> str:
    return f"{rng.gauss(0, 10):.6f}"


def play(client: Any, cls: Any = Trader, **options: Any) -> xr.Dataset:
    settings = {"seed": 3, "max_failed": 0.05, "read": True, "model": models.Dummy(0.0, drawn)}
    people = traders(cls, block_size=options.pop("block_size", 64))
    return da.run(trade, people, Market(), client=client, **(settings | options))


@pytest.mark.parametrize("cls", [Trader, Asker])
def test_a_market_is_the_same_everywhere(
    cls: Any, client1: Client, client3: Client, tmp_path: Path
) -> None:
    alone = play("sync", cls, out=tmp_path / "alone")
    for client in (client1, client3):
        name = f"w{len(client.scheduler_info(n_workers=-1)['workers'])}"
        same(alone, play(client, cls, out=tmp_path / name))
        one, other = (
            da.open_run(tmp_path / folder).environment("market") for folder in ("alone", name)
        )
        xr.testing.assert_identical(one, other)
    cut = play("sync", cls, block_size=7)
    np.testing.assert_allclose(alone["price"].values, cut["price"].values, rtol=1e-9)
    assert np.unique(alone["price"].values).size == 6


def test_what_an_agent_wrote_that_failed_does_not_count(tmp_path: Path) -> None:
    result = play("sync", out=tmp_path / "run")
    assert result["n_failed"].values.tolist() == [4] * 6
    notes = da.open_run(tmp_path / "run").environment("market")["notes"].values
    assert len(notes)
    assert not any(int(note.split()[0]) % 97 == 3 for note in notes)


def test_all_versions_can_be_read_afterwards(tmp_path: Path) -> None:
    result = play("sync", out=tmp_path / "run", read=False)
    found = da.open_run(tmp_path / "run").environment("market")
    assert found["version"].values.tolist() == list(range(7))
    assert found["round"].values.tolist() == [-1, 0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(found["price"].values[1:], result["price"].values)
    assert found["last"].values[1:].tolist() == result["last"].values.tolist()
    versions = found["notes_version"].values
    assert (np.diff(versions) >= 0).all()
    for version in range(1, 7):  # in the order of the agents
        ids = [int(note.split()[0]) for note in found["notes"].values[versions == version]]
        assert ids == sorted(ids)
    with pytest.raises(UsageError, match=r"has no environment 'mart'; it has market"):
        da.open_run(tmp_path / "run").environment("mart")


class Stopping(Market):
    def advance(self) -> None:
        super().advance()
        if len(self.shocks) == 5 and Path(self.notes_file).exists():
            raise ValueError("the market is closed")

    notes_file: str = ""


@pytest.mark.parametrize("every", [2, 20])
def test_an_advance_that_fails_stops_the_run_and_it_goes_on(every: int, tmp_path: Path) -> None:
    flag = tmp_path / "closed"
    flag.touch()

    def go(out: str, **options: Any) -> xr.Dataset:
        return da.run(
            trade,
            traders(block_size=64),
            Stopping(notes_file=str(flag)),
            client="sync",
            seed=3,
            max_failed=0.05,
            read=True,
            checkpoint_every=every,
            out=tmp_path / out,
            **options,
        )

    with pytest.raises(AdvanceError, match=r"'market': Stopping\.advance failed on the way to ver"):
        go("stopped")
    flag.unlink()
    whole = go("whole")
    same(whole, go("stopped", resume=True))
    one, other = (da.open_run(tmp_path / n).environment("market") for n in ("whole", "stopped"))
    xr.testing.assert_identical(one, other)
    same(whole, da.resume(tmp_path / "stopped", client="sync"))


def test_a_run_with_a_market_goes_on_from_its_folder_alone(client3: Client, tmp_path: Path) -> None:
    whole = play("sync", Asker, out=tmp_path / "whole", rounds=7)
    play("sync", Asker, out=tmp_path / "part", rounds=4, checkpoint_every=3)
    same(whole, da.resume(tmp_path / "part", rounds=7, client=client3))
    again = da.replay(tmp_path / "whole", client="sync")  # with no calls
    names = ["wanted", "price", "last", "failed"]
    same(whole[names], again[names])
    with pytest.raises(UsageError, match="the values of the environment 'market' differ"):
        da.run(
            trade,
            traders(Asker, block_size=64),
            Market(price=11),
            out=tmp_path / "part",
            resume=True,
            client="sync",
        )


class Two(da.Environment):
    seen: int = da.shared(0, reduce="count")
    times: int = 0

    def advance(self) -> None:
        self.times += 1


class Looker(da.Agent):
    def reply(self, message: da.Message) -> Any:
        self.env.write("seen")
        return {"seen": self.env.seen, "times": self.env.times}


def simultaneous(one: Any, two: Any, env: Any) -> Iterator[Any]:
    first = one.reply(env=env.now)["seen"].mean("agent")
    second = two.reply(env=env.now)["seen"].mean("agent")
    yield {"one": first, "two": second, "times": env["times"], "seen": env["seen"]}
    first = one.reply(env=env)["seen"].mean("agent")
    second = two.reply(env=env)["seen"].mean("agent")
    yield {"one": first, "two": second, "times": env["times"], "seen": env["seen"]}


def test_populations_may_act_at_the_same_time(client1: Client) -> None:
    for client in ("sync", client1):
        result = da.run(
            simultaneous, da.Population(Looker, 5), da.Population(Looker, 3), Two(), client=client
        )
        assert result["one"].values.tolist() == [0, 8]
        assert result["two"].values.tolist() == [0, 13]
        assert result["times"].values.tolist() == [1, 3]
        assert result["seen"].values.tolist() == [8, 16]


class Town(da.Environment):
    people: int = da.shared(0, reduce="count")

    def advance(self) -> None:
        self.parent.write("total", self.people)
        self.parent.write("names", self.people)


class Country(da.Environment):
    towns: dict[str, Town]
    total: int = da.shared(0, reduce="sum")
    names: tuple[int, ...] = da.shared(reduce="append")
    steps: int = 0

    def advance(self) -> None:
        self.steps += 1


class Citizen(da.Agent):
    town: str = "rome"

    def reply(self, message: da.Message) -> Any:
        self.env.write("people")
        if self.id % 3 == 0:
            self.town = "pisa"
        return {"people": self.env.people, "steps": self.env.parent.steps}

    async def wait(self, message: da.Message) -> Any:
        self.env.write("people")
        return {"people": self.env.people, "steps": self.env.parent.steps}


def live(people: Any, country: Any) -> Iterator[Any]:
    for method in ("reply", "wait", "reply"):
        replies = people.do(method, env=country.branch("towns", by="town"))
        yield replies.assign(total=country["total"])


def test_agents_see_their_own_branch(client3: Client, tmp_path: Path) -> None:
    def go(client: Any, name: str) -> xr.Dataset:
        towns = {"rome": Town(), "pisa": Town()}
        people = da.Population(Citizen, 30, block_size=8)
        return da.run(live, people, Country(towns=towns), client=client, out=tmp_path / name)

    result = go("sync", "a")
    assert result["total"].values.tolist() == [30, 90, 180]
    assert result["people"].values[1].tolist() == [0 if i % 3 == 0 else 30 for i in range(30)]
    assert result["people"].values[2].tolist() == [10 if i % 3 == 0 else 50 for i in range(30)]
    same(result, go(client3, "b"))
    found = da.open_run(tmp_path / "a").environment("country")
    assert found["towns.rome.people"].values.tolist() == [0, 30, 50, 70]
    assert found["names"].values.tolist() == [30, 0, 50, 10, 70, 20]


def test_an_agent_of_nowhere_fails() -> None:
    def once(people: Any, country: Any) -> Iterator[Any]:
        yield people.reply(env=country.branch("towns", by="town"))

    people = da.Population(Citizen, {"town": ["rome", "nice"]})
    with pytest.raises(RunError, match=r"Country\.towns has none of the key 'nice'"):
        da.run(once, people, Country(towns={"rome": Town()}), client="sync")
    with pytest.raises(UsageError, match="agents find their own by 'city': Citizen has no field"):
        people.reply(env=Country(towns={}).branch("towns", by="city"))
    with pytest.raises(UsageError, match=r"Country\.total holds no environments by key"):
        Country(towns={}).branch("total", by="town")


def test_what_is_asked_for_wrongly_says_so() -> None:
    people = da.Population(Looker, 2)
    with pytest.raises(UsageError, match="env is 3; give an Environment"):
        people.reply(env=3)
    with pytest.raises(Exception, match=r"self\.env\.write: these agents see no environment; give"):
        people.reply().compute()
    market = Market()
    people.reply(env=Two())
    traders(n=4).reply(env=market)
    with pytest.raises(UsageError, match=r"read the newest as env\['price'\]"):
        _ = market.price
    with pytest.raises(UsageError, match=r"make a new version: env\.set\(price=\.\.\.\)"):
        market.price = 3.0
    with pytest.raises(UsageError, match="Market has no field 'cost'; its fields are price"):
        market["cost"]
    with pytest.raises(UsageError, match=r"Market\.notes only grows"):
        market.set(notes=("x",))


class Writer(da.Agent):
    def reply(self, message: da.Message) -> float:
        self.env.write(message.content, 1.0)
        return 0.0


def test_a_write_to_what_is_not_shared_stops_the_run() -> None:
    def once(people: Any, market: Any, name: str) -> Iterator[Any]:
        yield people.reply(name, env=market)

    for name, match in [
        ("price", "is not shared, and agents"),
        ("prize", "no field .prize."),
    ]:
        with pytest.raises(RunError, match=match):
            da.run(once, da.Population(Writer, 2), Market(), name=name, client="sync")


def test_an_environment_outside_a_run(client1: Client) -> None:
    market = Market()
    people = traders(n=50).sel(np.arange(50) != 3)
    first = people.reply("trade", env=market)["wanted"].values
    second = people.reply("trade", env=market)["wanted"].values
    assert np.diff(first - second)[np.isfinite(first[1:] + first[:-1])] == pytest.approx(0)
    assert float(market["price"]) != 10.0
    assert isinstance(market["notes"].values.tolist(), list)


class Land(da.Environment):
    height: xr.DataArray
    heat: xr.DataArray
    warmth: float = da.shared(0.0, reduce="mean")

    def advance(self) -> None:
        self.heat = self.heat + self.warmth


class Walker(da.Agent):
    place: int = 0

    def reply(self, message: da.Message) -> Any:
        self.env.write("warmth", 1.0)
        self.place += int(self.env.height[self.place % 10, 0]) + 1
        return {"place": self.place, "heat": float(self.env.heat[0, self.id])}


class Idle(da.Agent):
    def reply(self, message: da.Message) -> float:
        self.env.write("warmth", 1.0)
        return 1.0


def walk(walkers: Any, land: Any, rounds: int = 5) -> Iterator[Any]:
    for _ in range(rounds):
        replies = walkers.reply(env=land)
        yield replies.assign(warm=land["heat"].mean(), corner=land["height"][3, 3])


def land(n: int = 120) -> Land:
    height = xr.DataArray(np.arange(n * n).reshape(n, n) % 7, dims=["y", "x"])
    return Land(height=height, heat=xr.DataArray(np.zeros((n, n)), dims=["y", "x"]))


def test_large_arrays_are_sent_and_kept(client3: Client, tmp_path: Path) -> None:
    def go(client: Any, name: str, **options: Any) -> xr.Dataset:
        walkers = da.Population(Walker, 40, block_size=8)
        return da.run(walk, walkers, land(), client=client, out=tmp_path / name, **options)

    whole = go("sync", "a")
    assert whole["warm"].values.tolist() == [1, 2, 3, 4, 5]
    same(whole, go(client3, "b"))
    same(whole, go(client3, "none", checkpoint_every=1))
    go("sync", "c", rounds=3, checkpoint_every=2)
    same(whole, da.resume(tmp_path / "c", rounds=5, client=client3))
    found = da.open_run(tmp_path / "a").environment("land")
    assert found["heat"].values[0, 0] == 5
    assert found["height"].shape == (120, 120)


def warmed(walkers: Any, land: Any) -> Iterator[Any]:
    yield walkers.reply(env=land).assign(warm=land["heat"].mean())
    land.set(warmth=5.0)
    yield walkers.reply(env=land).assign(warm=land["heat"].mean())


def test_what_is_set_leaves_large_arrays_as_they_are() -> None:
    result = da.run(warmed, da.Population(Walker, 40, block_size=8), land(), client="sync")
    assert result["warm"].values.tolist() == [1, 2]


def test_a_large_array_goes_to_each_worker_once(cluster2: Any, tmp_path: Path) -> None:
    """However many blocks and versions read it, as long as it stays the same."""
    with Client(cluster2, set_as_default=False) as client:

        def received() -> int:
            logs: Any = client.run(lambda dask_worker: list(dask_worker.transfer_incoming_log))
            return sum(one["total"] for log in logs.values() for one in log)

        before = received()
        n = 3_600  # 100 MB
        height = xr.DataArray(np.zeros((n, n)), dims=["y", "x"])
        start = Land(height=height, heat=xr.DataArray(np.zeros((2, 40)), dims=["y", "x"]))
        walkers = da.Population(Walker, 40, block_size=2)
        result = da.run(walk, walkers, start, client=client, out=tmp_path / "run", rounds=4)
        assert result.sizes["round"] == 4
        assert received() - before < 1.2 * height.nbytes


def test_an_array_keeps_its_shape() -> None:
    class Odd(Land):
        def advance(self) -> None:
            self.heat = self.heat[:1]

    def once(people: Any, odd: Any) -> Iterator[Any]:
        yield {"x": people.reply(env=odd)}

    start = land(4)
    with pytest.raises(AdvanceError, match=r"heat has become an array of .* keep its shape"):
        da.run(
            once, da.Population(Idle, 2), Odd(height=start.height, heat=start.heat), client="sync"
        )
