"""The game over the test server, while its processes are killed: workers, scheduler, client, all.

::

    python tests/chaos.py --seeds 20 --agents 5000 --rounds 20 --workers 10
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import xarray as xr

import daskagents as da
from daskagents import models, testing

#: Chats that one worker may have under way, whose answers a kill may lose.
IN_FLIGHT = 32
WORKERS = 3


class Player(da.Agent):
    """Reports a number and remembers what it said."""

    last: float = 50.0
    said: str = ""

    async def reply(self, message: da.Message) -> Any:
        heard = message.content
        text = f"I am player {self.id}. I said {self.last:.3f} and heard {heard}. My number?"
        answer = await self.chat(text, schema=float)
        self.last = answer.value + self.rng.gauss()
        self.said = answer.text
        return {"guess": self.last, "word": self.said}


def game(players: Any, rounds: int = 20) -> Iterator[Any]:
    """Hand on a mean that still computes, and read one now and then."""
    winner: Any = 0.0
    for number in range(rounds):
        replies = players.reply(winner)
        winner = 2 / 3 * replies["guess"].mean()
        if number % 4 == 3:
            winner = float(winner)
        yield replies.assign(winner=winner)


def play(folder: str, url: str, agents: int, rounds: int, client: Any) -> xr.Dataset:
    """Play the game, or go on with it."""
    model = models.Adaptive(
        models.OpenAI("m", url, "none"), start=IN_FLIGHT, most=WORKERS * IN_FLIGHT
    )
    people = da.Population(Player, agents, model=model, block_size=max(1, agents // 16))
    options: Any = {"rounds": rounds, "seed": 5, "checkpoint_every": 5, "progress": False}
    return da.run(game, people, out=folder, resume=True, client=client, **options)


@dataclass
class Processes:
    """A scheduler, workers and a client, each of which may be killed at any moment."""

    folder: Path
    url: str
    agents: int
    rounds: int
    port: int = 0
    scheduler: Any = None
    workers: list[Any] = field(default_factory=list)
    client: Any = None
    log: list[str] = field(default_factory=list)

    def start_cluster(self) -> None:
        """Start what is not alive of the cluster."""
        if self.scheduler is None or self.scheduler.poll() is not None:
            self.end_workers()
            self.port = _free_port()
            self.scheduler = self._start(
                "scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"
            )
        for number in range(WORKERS):
            if number == len(self.workers):
                self.workers.append(None)
            if self.workers[number] is None or self.workers[number].poll() is not None:
                self.workers[number] = self._start(
                    "worker", f"tcp://127.0.0.1:{self.port}", "--nthreads", "1", "--no-dashboard",
                    "--local-directory", str(self.folder.parent), "--death-timeout", "60",
                )  # fmt: skip

    def _start(self, what: str, *words: str) -> Any:
        return self._open(what, "-m", "dask", what, *words)

    def _open(self, what: str, *words: str) -> Any:
        with (self.folder.parent / f"{what}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *words], stdout=log, stderr=log, start_new_session=True
            )

    def start_client(self) -> None:
        """Start a client, which begins the run or goes on with it."""
        words = [str(self.folder), self.url, str(self.agents), str(self.rounds)]
        address = f"tcp://127.0.0.1:{self.port}"
        self.client = self._open("client", __file__, "--play", *words, address)

    def processes_of_workers(self) -> list[psutil.Process]:
        """Return the processes that do the work: the nannies' children."""
        found = []
        for worker in self.workers:
            with suppress(psutil.Error):
                inner = psutil.Process(worker.pid).children(recursive=True)
                found += [p for p in inner if "spawn_main" in " ".join(p.cmdline())]
        return found

    def strike(self, what: str, rng: random.Random) -> None:
        """Do one thing to the processes."""
        workers = self.processes_of_workers()
        self.log.append(what)
        with suppress(psutil.Error, ProcessLookupError):
            if what == "worker" and workers:
                rng.choice(workers).kill()
            elif what == "stop" and workers:
                victim = rng.choice(workers)
                victim.suspend()
                time.sleep(10)
                victim.resume()
            if what in ("client", "all"):
                self.client.kill()
            if what in ("scheduler", "all"):
                self.scheduler.kill()
                self.scheduler.wait()
            if what == "all":
                self.end_workers()

    def end_workers(self) -> None:
        """Kill all workers and their nannies."""
        for worker in self.workers:
            if worker is not None:
                with suppress(ProcessLookupError):
                    os.killpg(worker.pid, signal.SIGKILL)
                worker.wait()
        for process in psutil.process_iter(["cmdline"]):
            with suppress(psutil.Error):
                command = " ".join(process.info["cmdline"] or ())
                if str(self.folder.parent) in command and "dask" in command:
                    process.kill()
        self.workers = []

    def end(self) -> None:
        """Kill all that is left."""
        for process in (self.client, self.scheduler):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        self.end_workers()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def processes(folder: Path, url: str, agents: int, rounds: int) -> Iterator[Processes]:
    """Yield processes that are ended at the end."""
    made = Processes(folder, url, agents, rounds)
    try:
        yield made
    finally:
        made.end()


def chaos(
    folder: Path, seed: int, agents: int, rounds: int, strikes: list[str], pause: float
) -> tuple[xr.Dataset, int, int, Processes]:
    """Play the game while its processes are struck; return its result, and what the server saw.

    Returns
    -------
    Dataset, int, int, Processes
        The result; chats that were answered although they had been before; how many such a kill
        may have left unwritten; and the processes with what was done to them.
    """
    rng = random.Random(seed)
    left = rng.sample(strikes, len(strikes))
    with (
        testing.model_server(latency=0.02) as server,
        processes(folder, server.url, agents, rounds) as made,
    ):
        made.start_cluster()
        made.start_client()
        end = time.monotonic() + 900
        while made.client.poll() != 0:
            if time.monotonic() > end:
                raise TimeoutError(f"not done after 900 s; struck: {made.log}")
            if made.client.poll() is not None:
                made.start_cluster()
                made.start_client()
            _until_it_goes_on(made, server)
            if left and made.client.poll() is None:
                time.sleep(rng.uniform(0, pause))
                made.strike(left.pop(), rng)
                made.start_cluster()
            time.sleep(0.05)
        repeats = server.stats().repeats
    lost = sum(WORKERS if what in ("all", "scheduler", "client") else 1 for what in made.log)
    return da.open_run(folder).results.load(), repeats, lost * 2 * IN_FLIGHT, made


def _until_it_goes_on(made: Processes, server: Any) -> None:
    """Wait until there is a further answer, or the client has ended."""
    before, end = server.stats().answered, time.monotonic() + 120
    while made.client.poll() is None and server.stats().answered == before:
        if time.monotonic() > end:
            return
        time.sleep(0.02)


def differences(one: xr.Dataset, two: xr.Dataset) -> list[str]:
    """Return the variables in which two results differ, but for what time and faults make."""
    unlike = {"seconds", "seconds_waiting", "retries", "cost", "cached_tokens"}
    found = []
    for name in {*one.variables, *two.variables} - unlike:
        a, b = one[name].values, two[name].values
        if a.shape != b.shape or not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
            found.append(str(name))
    return found


def undisturbed(agents: int, rounds: int) -> xr.Dataset:
    """Play the game with nobody interfering."""
    with tempfile.TemporaryDirectory() as folder, testing.model_server() as server:
        return play(f"{folder}/run", server.url, agents, rounds, "sync").load()


def main() -> None:
    """Play one game, or all of them."""
    if "--play" in sys.argv:
        folder, url, agents, rounds, client = sys.argv[sys.argv.index("--play") + 1 :]
        play(folder, url, int(agents), int(rounds), client)
        return
    parser = argparse.ArgumentParser()
    for name, default in (("seeds", 20), ("first", 0), ("agents", 5_000), ("rounds", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--workers", type=int, default=10, help="how often one is killed")
    parser.add_argument("--pause", type=float, default=3.0, help="seconds between strikes")
    said = parser.parse_args()
    whole = undisturbed(said.agents, said.rounds)
    strikes = ["worker"] * said.workers + ["scheduler", "client", "all", "stop"]
    for seed in range(said.first, said.first + said.seeds):
        with tempfile.TemporaryDirectory() as folder:
            start = time.monotonic()
            out = Path(folder) / "run"
            found, repeats, lost, made = chaos(
                out, seed, said.agents, said.rounds, strikes, said.pause
            )
            wrong = differences(whole, found)
            calls = da.open_run(out).usage["calls"]
            print(
                f"seed {seed}: {'DIFFERS in ' + str(wrong) if wrong else 'identical'},"
                f" {calls:,} calls in the journal, {repeats} asked again of at most {lost} in"
                f" flight, {len(made.log)} strikes, {time.monotonic() - start:.0f} s",
                flush=True,
            )
            if wrong or repeats > lost or calls != said.agents * said.rounds:
                sys.exit(1)


if __name__ == "__main__":
    main()
