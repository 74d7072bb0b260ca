"""Pictures of results: each takes results or a run directory, and returns a matplotlib figure.

Examples
--------
>>> import daskagents as da
>>> from daskagents import plotting
>>> class Player(da.Agent):
...     team: str = ""
...
...     def reply(self, message) -> float:
...         return self.rng.uniform(0, 100)
>>> def game(players, rounds=3):
...     for _ in range(rounds):
...         yield {"guess": players.reply()}
>>> players = da.Population(Player, {"team": ["red", "blue"] * 50})
>>> results = da.run(game, players, client="sync")
>>> _ = plotting.distributions(results), plotting.means(results, by="team")
"""

from daskagents.plotting.bands import quantiles
from daskagents.plotting.counting import moments
from daskagents.plotting.distributions import distributions
from daskagents.plotting.means import means
from daskagents.plotting.variables import numeric

__all__ = ["distributions", "means", "moments", "numeric", "quantiles"]
