"""What the journal of a run says in short: what was asked for, by whom answered, and a sample."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from daskagents.afterwards.copied_journal import chats_in
from daskagents.journal.entries import Entry
from daskagents.journal.picked import chats_of
from daskagents.journal.reading import accepted_of
from daskagents.journal.segments import journal_of, steps_of
from daskagents.journal.texts import pick_texts, text_of
from daskagents.journal.turns import add_turns
from daskagents.message import Message

#: Chats that are looked at; agents of a population whose conversations are shown; of populations.
MOST, _AGENTS, _POPULATIONS = 100_000, 3, 3
_SAMPLING = re.compile(
    r"(?:^|, )(?!schema=|extract=|choices=)(\w+=(?:[^,\[\]{}()]|\[.*?\]|\{.*?\})+)"
)


@dataclass
class Look:
    """What was seen in the first chats of a journal.

    Parameters
    ----------
    chats
        How many were looked at.
    whole
        Whether these are all.
    wanted
        What was asked for besides the messages, with how many chats did.
    how
        How structured answers were got.
    lapses
        Chats that failed, by the kind of error.
    models
        Answers by model and endpoint.
    agents
        The agents of each population that chatted.
    """

    chats: int = 0
    whole: bool = True
    wanted: Counter[str] = field(default_factory=Counter)
    how: Counter[str] = field(default_factory=Counter)
    lapses: Counter[str] = field(default_factory=Counter)
    models: Counter[tuple[str, str]] = field(default_factory=Counter)
    agents: dict[str, set[int]] = field(default_factory=dict)

    @property
    def sampling(self) -> list[str]:
        """The sampling parameters that were sent, each set once, the most frequent first."""
        found = Counter[str]()
        for wanted, count in self.wanted.items():
            found[", ".join(_SAMPLING.findall(wanted))] += count
        return [said for said, _ in found.most_common()]


def look(folder: Path) -> Look:
    """Look at the first 100,000 chats of a run; at none where there is no journal."""
    found = Look()
    if not journal_of(folder).is_dir():
        return found
    for _, head, chat in islice(chats_in(folder), MOST):
        found.chats += 1
        found.wanted[chat.asked.wanted] += 1
        found.agents.setdefault(head.population, set()).add(chat.agent)
        if isinstance(chat, Entry):
            found.models[chat.model, chat.endpoint] += 1
            found.how[chat.how] += 1
        else:
            found.lapses[chat.kind] += 1
    found.whole = found.chats < MOST
    texts = pick_texts(journal_of(folder), [w for w in found.wanted if w[:1] == "\0"])
    wanted = Counter[str]()
    for said, count in found.wanted.items():
        wanted[text_of(said, texts)] += count
    found.wanted = wanted
    return found


@dataclass(frozen=True)
class Talk:
    """The conversation of one agent."""

    population: str
    agent: int
    turns: list[Message]


def talks(folder: Path, seen: Look, also: list[tuple[str, int]]) -> Iterator[Talk]:
    """Yield a sample of conversations: of agents evenly spread over their ids, and of some others.

    Parameters
    ----------
    folder
        The run directory.
    seen
        Who has chatted.
    also
        Populations and agents that are to be among them, such as one that failed.
    """
    chosen: dict[tuple[str, int], None] = {}
    for population, agents in islice(sorted(seen.agents.items()), _POPULATIONS):
        ids = sorted(agents)
        places = {(2 * at + 1) * len(ids) // (2 * _AGENTS) for at in range(_AGENTS)}
        chosen |= {(population, ids[at]): None for at in sorted(places)}
    for population, agent in also:
        if agent in seen.agents.get(population, ()):
            chosen[population, agent] = None
            break
    accepted = accepted_of(folder)
    for population, agent in chosen:
        turns = _turns(folder, population, agent, accepted)
        if turns:
            yield Talk(population, agent, turns)


def _turns(
    folder: Path, population: str, agent: int, accepted: dict[int, dict[int, str]]
) -> list[Message]:
    """Return a conversation, with what the system said first."""
    journal = journal_of(folder)
    chats = [
        chat
        for step in steps_of(journal)
        for head, chat in chats_of(folder, step, agent, accepted.get(step, {}))
        if head.population == population
    ]
    texts = pick_texts(journal, {text for chat in chats for _, _, text in chat.asked.turns})
    found: list[Message] = []
    for role, name, text in chats[0].asked.turns if chats else ():
        if role == "system":
            found.append(Message(text_of(text, texts), role, name))
    said: list[Message] = []
    for chat in chats:
        add_turns(said, chat, texts)
        if not isinstance(chat, Entry):
            said.append(Message(f"{chat.kind}: {chat.message}", "error"))
    return found + said
