"""A small survey of agents that ask a language model, with structured answers.

Every agent gets a person to speak for, and answers with a rating and a reason. Without an endpoint
a server of this package stands in for one: its answers fit the schema, and mean nothing. ::

    python examples/ask_a_model.py
    python examples/ask_a_model.py http://127.0.0.1:8000/v1

"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import xarray as xr
from msgspec import Meta

import daskagents as da
from daskagents import models, testing


@dataclass(frozen=True)
class Opinion:
    """What every answer has to be."""

    rating: Annotated[int, Meta(ge=1, le=5)]  # 1: strongly against, 5: strongly for
    reason: str


class Citizen(da.Agent):
    """Speaks for a person, and knows what it said before."""

    region: str = ""
    age: int = 0

    async def reply(self, message: da.Message) -> dict[str, str | float]:
        """Rate a proposal; an answer that does not fit `Opinion` is a failure of this agent."""
        self.remember(message)
        answer = await self.chat(
            self.memory,
            system=(
                "You answer a survey. Rate each proposal from 1 (strongly against) to 5 (strongly"
                " for), and give a reason in one sentence."
                # What differs comes last: servers keep the beginning that all agents share.
                f" You are {self.age} years old and live in the {self.region}."
            ),
            schema=Opinion,
        )
        self.remember(answer)
        return {"rating": answer.value.rating, "reason": answer.value.reason}


def survey(citizens: da.Population, proposals: tuple[str, ...]) -> Iterator[xr.Dataset]:
    """Ask about one proposal a round."""
    for proposal in proposals:
        yield citizens.reply(proposal)


def main(base_url: str) -> None:
    """Ask a hundred citizens about two proposals."""
    ages = np.random.default_rng(5).integers(18, 90, 100)
    citizens = da.Population(Citizen, {"region": ["north", "south"] * 50, "age": ages})
    model = models.OpenAI(base_url=base_url, temperature=1.0)
    proposals = ("Trains should be free.", "Cars should be slower.")
    result = da.run(survey, citizens, proposals, model=model, client="sync", seed=5, max_failed=0.1)

    for number, proposal in enumerate(proposals):
        answers = result.isel(round=number)
        means = answers["rating"].groupby("region").mean()
        north, south = (float(means.sel(region=region)) for region in ("north", "south"))
        print(f"{proposal} Mean rating: north {north:.2f}, south {south:.2f};", end=" ")
        print(f"{int(answers['n_failed'])} of {len(citizens)} failed")
        print(f"  agent 0: {answers['rating'].values[0]:.0f}, {answers['reason'].values[0]!r}")
    tokens = int((result["prompt_tokens"] + result["completion_tokens"]).sum())
    print(f"{int(result['calls'].sum())} calls, {tokens:,} tokens")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with testing.model_server() as server:
            main(server.url)
