"""Who writes backgrounds: an agent for each, whose answers are checked against its row."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from dataclasses import asdict, make_dataclass
from functools import lru_cache
from typing import Annotated, Any, TypedDict

import msgspec
from msgspec import Meta

from daskagents.agent import Agent
from daskagents.errors import AnswerError
from daskagents.message import Message
from daskagents.personas.contradictions import contradictions
from daskagents.personas.facts import by_role, in_words, untold
from daskagents.personas.minhash import distinct, grams_of, tokens_of
from daskagents.population import Population

#: Characters of a background for each word that is asked for: so many at the most, and the least.
_MOST, _LEAST = 9, 0.5
#: Fewest words of a background.
_WORDS = 6

_SHARED = (
    "You write backgrounds of people, for a simulation of a society. You are told facts of one"
    " person. Invent a name, a personality and a life that go with all of them: mention each fact,"
    " contradict none, and invent what is not told, such as age, gender or job. Answer with a JSON"
    " object: name, age, gender and job of the person; personality, in a few words; and background,"
    " a text of about {words} words in the third person."
)
_ASKED = "The facts:\n{facts}\n\nWrite the background of this person."
_ONE_OF = (
    " It is number {number} of {copies} people of whom these facts are true: let this one be unlike"
    " the others."
)
_AGAIN = "This does not go with the facts: {problem}. Write it again, so that it does."
#: What a model leaves for somebody else to fill in.
_GAP = re.compile(r"\{\w+\}|\[(?:\w+ )?(?:name|age|job|gender|city|place|town)\]", re.IGNORECASE)
#: From how many triples of words on a text is looked at for repetitions.
_LONG = 20
#: Where a sentence ends.
_END = re.compile(r"[.!?\u0964]['\"\u2019\u201d)]*(?=\s|$)|[\u3002\uff01\uff1f]['\"\u201d)]*")
_SHORT = "the background is empty, or hardly more than that: write some sentences"


class Task(msgspec.Struct, frozen=True):
    """What all writers are told.

    Parameters
    ----------
    copies
        Backgrounds that are written for each row, at the most.
    choices
        The values of text columns, which exclude each other.
    instructions
        What the user wants besides.
    tries
        How often a writer may write until its background goes with the row.
    words
        About how long a background is to be.
    sampling
        Parameters of the calls, such as the temperature.
    """

    copies: int = 1
    choices: dict[str, list[str]] = {}
    instructions: str = ""
    tries: int = 3
    words: int = 80
    sampling: dict[str, Any] = {}

    @property
    def shared(self) -> str:
        """What models are told before, the same for all."""
        return f"{_SHARED.format(words=self.words)} {self.instructions}".strip()


@lru_cache(16)
def task_of(text: str) -> Task:
    """Read a task from JSON."""
    return msgspec.json.decode(text, type=Task)


@lru_cache(16)
def background_of(words: int) -> type[Any]:
    """Return what a model answers with: a frozen dataclass, with room for so many words.

    Examples
    --------
    >>> list(background_of(80).__dataclass_fields__)
    ['name', 'age', 'gender', 'job', 'personality', 'background']
    """
    length = Meta(min_length=max(1, int(words * _LEAST)), max_length=words * _MOST)
    fields = [
        ("name", Annotated[str, Meta(min_length=1, max_length=60)]),
        ("age", Annotated[int, Meta(ge=0, le=120)]),
        ("gender", Annotated[str, Meta(min_length=1, max_length=30)]),
        ("job", Annotated[str, Meta(min_length=1, max_length=80)]),
        ("personality", Annotated[str, Meta(min_length=1, max_length=120)]),
        ("background", Annotated[str, length]),
    ]
    return make_dataclass("Background", fields, frozen=True)


class Written(TypedDict):
    """What a writer replies.

    Parameters
    ----------
    persona
        The background; empty where none went with the row.
    tries
        How often it was written.
    told
        The share of the row's facts that the model itself has told in it.
    problem
        Why there is none.
    """

    persona: str
    tries: float
    told: float
    problem: str


class Writer(Agent):
    """Writes one background.

    Parameters
    ----------
    row
        The facts of a person, as JSON.
    copy
        Which of the backgrounds of this row it writes, from 0 on.
    """

    row: str = "{}"
    copy: int = 0

    async def reply(self, message: Message) -> Written:
        """Write until what is written goes with the row, or there were tries enough."""
        task = task_of(str(message.content))
        row: dict[str, Any] = msgspec.json.decode(self.row)
        asked = self._asked(row, task)
        turns: list[Any] = [asked]
        problem = ""
        for tries in range(1, task.tries + 1):
            try:
                answer = await self.chat(
                    turns,
                    system=task.shared,
                    schema=background_of(task.words),
                    **task.sampling,
                )
            except AnswerError as error:
                problem, turns = str(error), [asked]
                continue
            said = tidy(asdict(answer.value))
            wrong = problems_of(said, row, task.choices)
            if not wrong:
                persona, told = compose(said, row)
                return {"persona": persona, "tries": tries, "told": told, "problem": ""}
            problem = "; ".join(wrong)
            # only the last one is shown again, so that the prompt does not grow
            turns = [asked, answer, _AGAIN.format(problem=problem)]
        return {"persona": "", "tries": task.tries, "told": 0.0, "problem": problem}

    def _asked(self, row: dict[str, Any], task: Task) -> str:
        facts = in_words(row, "\n") or "(none: anybody)"
        asked = _ASKED.format(facts=facts)
        if task.copies > 1:
            asked += _ONE_OF.format(number=self.copy + 1, copies=task.copies)
        return asked


def problems_of(
    said: dict[str, Any], row: dict[str, Any], choices: dict[str, list[str]]
) -> list[str]:
    """Return what is wrong with an answer, in words for the model."""
    tokens = tokens_of([said["background"]])
    if len(tokens.hashes) < _WORDS:
        return [_SHORT]
    if gap := _GAP.search(said["background"]):
        return [f"the background has a gap, {gap[0]}"]
    grams = grams_of(tokens, 3).hashes
    if len(grams) > _LONG and len(distinct(grams)) < len(grams) / 2:
        return ["the background says the same again and again"]
    return contradictions(said, row, choices)


def tidy(said: dict[str, Any]) -> dict[str, Any]:
    """Return an answer without what stands around its values.

    Examples
    --------
    >>> tidy({"name": " Ann Bell,", "age": 34, "personality": "..."})
    {'name': 'Ann Bell', 'age': 34, 'personality': ''}
    """
    around = string.punctuation + string.whitespace
    found = {n: v.strip(around) if isinstance(v, str) else v for n, v in said.items()}
    if "background" in said:
        found["background"] = _whole(said["background"].strip())
    return found


def _whole(text: str) -> str:
    """Return a text without a last sentence that has no end, unless that is most of it.

    Examples
    --------
    >>> _whole("Ann keeps bees. She also"), _whole("Ann keeps"), _whole("三十四岁。农民")
    ('Ann keeps bees.', 'Ann keeps', '三十四岁。')
    """
    ends = [match.end() for match in _END.finditer(text)]
    return text[: ends[-1]] if ends and 2 * ends[-1] >= len(text) else text


def compose(said: dict[str, Any], row: dict[str, Any]) -> tuple[str, float]:
    """Return a background that tells all facts, and the share of them that the model has told.

    Examples
    --------
    >>> said = {"name": "Ann Bell", "age": 34, "gender": "female", "job": "farmer"}
    >>> said |= {"personality": "calm", "background": "Ann farms the land of her family."}
    >>> compose(said, {"age": 34, "education": "school"})
    ('Ann farms the land of her family. (age: 34; education: school; job: farmer; personality: \
calm)', 0.0)
    """
    text = said["background"]
    known, roles = untold(text, row), by_role(row)
    invented = {name: said[name] for name in ("name", "age", "gender", "job") if name not in roles}
    invented["personality"] = said["personality"]
    invented = {name: value for name, value in invented.items() if value != ""}
    missing = known | untold(text, {n: v for n, v in invented.items() if n not in row})
    told = 1 - len(known) / len(row) if row else 1.0
    return (f"{text} ({in_words(missing)})" if missing else text), told


def write_backgrounds(writers: Annotated[Population, Writer], task: str) -> Iterator[Any]:
    """Let each writer write its background: a workflow of one round.

    Parameters
    ----------
    writers
        Who writes.
    task
        What they are told, as JSON.
    """
    yield writers.reply(task)
