"""Debates between named agents: serial code, run side by side wherever its data allows.

Without an endpoint the debaters pick their words from a list, so this runs anywhere. With one they
ask the model that it serves, and OPENAI_API_KEY is sent along if it is set::

    python examples/debate.py
    OPENAI_BASE_URL=http://127.0.0.1:8000/v1 python examples/debate.py

"""

import os
import time
from typing import Any

from distributed import Client

import daskagents as da
from daskagents import models

QUESTIONS = (
    "Should cities ban cars?",
    "Should homework be abolished?",
    "Should voting be a duty?",
    "Should museums be free?",
)
LINES = {
    "for it": (
        "Yes.",
        "It worked elsewhere.",
        "It is fair.",
        "It costs little.",
        "Who would mind?",
    ),
    "against it": ("No.", "It failed elsewhere.", "It is unfair.", "It is dear.", "Who would pay?"),
}


class Debater(da.Agent):
    """Argues for one side, and remembers what was said."""

    name: str = ""
    side: str = ""
    memory_limit = 6  # messages

    async def reply(self, message: da.Message) -> str:
        """Answer what was said last."""
        self.remember(message)
        answer = await self.chat(
            self.memory,
            system=f"You are {self.name} and argue {self.side}. Answer in one short sentence.",
            max_tokens=60,
        )
        self.remember(answer)
        return answer.text.strip()


def debate(first: Any, second: Any, question: str, turns: int) -> list[tuple[str, Any]]:
    """Let two agents talk; returns at once, with what they will have said."""
    said, message = [], question
    for _ in range(turns):
        for debater in (first, second):
            message = debater(message)  # nothing is waited for: the message is still to come
            said.append((debater.name, message))
    return said


def words(request: models.Request, rng: Any) -> str:
    """Pick a line, in the place of a model; the debaters' own random numbers decide which."""
    side = next(side for side in LINES if f"argue {side}" in request.messages[0].text)
    return str(rng.choice(LINES[side]))


def main() -> None:
    """Hold one debate on each question, all at the same time."""
    model: models.Model = models.Dummy(latency=0.2, answer=words)
    if os.environ.get("OPENAI_BASE_URL"):
        model = models.OpenAI(os.environ.get("OPENAI_MODEL"))
    with Client(threads_per_worker=1, dashboard_address="127.0.0.1:0"):
        start = time.perf_counter()
        debates = []
        for question in QUESTIONS:
            ann = da.spawn(Debater(name="Ann", side="for it"), model=model)
            bob = da.spawn(Debater(name="Bob", side="against it"), model=model)
            debates.append(debate(ann, bob, question, turns=3))
        asked = time.perf_counter() - start
        for question, said in zip(QUESTIONS, debates, strict=True):
            print(question)
            for name, message in said:
                print(f"  {name}: {message.content}")  # reading waits
        took = time.perf_counter() - start
    answers = sum(map(len, debates))
    print(f"{answers} answers, asked for in {asked:.2f} s, read after {took:.1f} s")


if __name__ == "__main__":
    main()
