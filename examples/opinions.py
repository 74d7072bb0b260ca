"""Opinions that move towards what is heard, and what a bubble does to them.

Everybody holds an opinion on some question, and each level of education begins elsewhere. In every
round people hear a mean opinion and take a step towards it. What they hear is partly the mean of
their own level, and partly that of all: `bubble` says how much is the former.

::

    python examples/opinions.py
    daskagents run examples/opinions.py -p people=crowd --agents 100000 -p bubble=0.9

"""

from collections.abc import Iterator

import numpy as np
import xarray as xr
from distributed import Client

import daskagents as da

LEVELS = np.array(["school", "bachelor", "phd"])
START = np.array([-1.0, 0.0, 1.0])


class Person(da.Agent):
    """Holds an opinion, and moves it a little towards what it hears."""

    education: str = ""
    opinion: float = 0.0
    openness: float = 0.5  # how far it goes: 0 is not at all, 1 is all the way

    def reply(self, message: da.Message) -> float:
        """Hear an opinion (None in the first round), and say the own."""
        if message.content is not None:
            self.opinion += self.openness * (message.content - self.opinion)
            self.opinion += self.rng.gauss(0, 0.1)
        return self.opinion


def crowd(agents: int = 12_000) -> da.Population:
    """Make as many people of each level, with opinions around the start of that level."""
    level = np.arange(agents) % len(LEVELS)
    opinion = np.random.default_rng(1).normal(START[level], 0.5)
    return da.Population(Person, {"education": LEVELS[level], "opinion": opinion})


def opinions(people: da.Population, rounds: int = 8, bubble: float = 0.5) -> Iterator[xr.DataArray]:
    """Let people talk. `bubble` is the share of their own level in what they hear."""
    heard = None
    for _ in range(rounds):
        said = people.reply(heard)  # a DataArray over "agent", still computing
        means = said.groupby("education").mean().load()  # read, so the workflow waits here
        own = means.sel(education=said["education"])  # of everybody's own level, over "agent"
        heard = bubble * own + (1 - bubble) * said.mean()  # a message for each agent
        yield said.rename("said")


def tell(result: xr.Dataset, bubble: float) -> None:
    """Print the mean of each level in the first and the last round, and the spread within it."""
    ends = result["said"].isel(round=[0, -1]).load().groupby("education")
    means, spreads = ends.mean("agent"), ends.std("agent")
    for level in LEVELS:
        first, last = means.sel(education=level).values
        within = spreads.sel(education=level).values[-1]
        print(f"{bubble:6.2f}  {level:<9} {first:6.2f} {last:6.2f} {within:8.2f}")


if __name__ == "__main__":
    print("bubble  education  first   last   within")
    with Client(threads_per_worker=1, dashboard_address="127.0.0.1:0") as client:
        for share in (0.0, 0.9, 1.0):
            tell(da.run(opinions, crowd(), client=client, seed=1, bubble=share), share)
