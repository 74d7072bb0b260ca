"""A paragraph on methods, for a paper: from what is known of a run, and from nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from daskagents.afterwards.facts import Facts, failures_by
from daskagents.afterwards.page import number

#: Models, endpoints and kinds of failures that are named.
_NAMED = 5


def methods(facts: Facts) -> str:
    """Return how a run was made, in sentences."""
    parts = (_run, _models, _usage, _failures, _retries, _outside, _ending)
    return " ".join(sentence for part in parts for sentence in part(facts))


def _run(facts: Facts) -> Iterator[str]:
    about = facts.about
    versions = dict(about.get("versions", {}))
    own, python = versions.pop("daskagents", "?"), versions.pop("python", "?")
    machine = versions.pop("machine", "")
    others = ", ".join(f"{name} {version}" for name, version in versions.items())
    kinds = Counter[str]()
    for of in about.get("populations", {}).values():
        kinds[_last(of.get("class", "?"))] += of.get("agents", 0)
    who = ", ".join(f"{n:,} {kind}" if len(kinds) > 1 else kind for kind, n in kinds.items())
    several = f" ({who})" if who else ""
    name = about.get("workflow", {}).get("name", "?")
    yield (
        f"The simulation ({name}) had {_many(facts.agents, 'agent')}{several} and ran for"
        f" {_many(facts.rounds, 'round')} {_when(about)}, with daskagents {own} ({others}, Python"
        f" {python}{f', {machine}' if machine else ''})."
    )
    if facts.results is not None and facts.rounds and "n_agents" in facts.results:
        there = int(facts.results["n_agents"].values[-1])
        yield f"Agents entered or left while it ran; {there:,} were there at its end."
    seed = about.get("seed")
    if seed is not None:
        yield f"All random numbers follow from the seed {seed}."


def _models(facts: Facts) -> Iterator[str]:
    rows = [row for row in facts.by_model if row[0]] or facts.by_model
    if not rows:
        yield (
            "No language model was asked."
            if not facts.usage.calls
            else ("The names of the models that answered are not recorded.")
        )
        return
    named = [
        f"{model or 'a model without a name'}{f' at {endpoint}' if endpoint else ''}"
        + (f" ({usage.calls:,} answers)" if len(rows) > 1 else "")
        for model, endpoint, usage in rows[:_NAMED]
    ]
    more = len(rows) - _NAMED
    named += [f"{more} more"] if more > 0 else []
    yield f"Agents were answered by {_and(named)}, as the servers named the models."
    sampling = [said for said in facts.seen.sampling if said]
    if not facts.seen.chats:
        return
    if sampling:
        some = "" if "" not in facts.seen.sampling else ", others without parameters"
        yield f"Answers were sampled with {'; or '.join(sampling[:_NAMED])}{some}."
    else:
        yield "No sampling parameters were sent, so those of the servers applied."


def _usage(facts: Facts) -> Iterator[str]:
    usage = facts.usage
    if not usage.calls:
        return
    cost = ""
    if usage.cost != usage.cost:
        cost = "; their price is not known"
    elif usage.cost:
        cost = f", and cost {number(usage.cost)} in the currency of the price table"
    cached = f", {usage.cached_tokens:,} of them from a cache" if usage.cached_tokens else ""
    yield (
        f"{_many(usage.calls, 'answer')} took {usage.prompt_tokens:,} prompt tokens{cached} and"
        f" {usage.completion_tokens:,} completion tokens{cost}."
    )


def _failures(facts: Facts) -> Iterator[str]:
    if not facts.replies:
        return
    share = 100 * facts.failed / facts.replies
    if not facts.failed:
        yield f"None of the {facts.replies:,} replies failed."
        return
    kinds = ""
    if facts.failures is not None and facts.failures.sizes["failure"]:
        found = failures_by(facts.failures, "error")
        kinds = f": {', '.join(f'{kind} {count:,}' for kind, count in found[:_NAMED])}"
    yield (
        f"{facts.failed:,} of {facts.replies:,} replies failed ({share:.2g} %{kinds}); an agent"
        " that fails keeps its state, and its reply is missing from all averages."
    )


def _retries(facts: Facts) -> Iterator[str]:
    usage, how = facts.usage, facts.seen.how
    if usage.retries:
        yield f"{_many(usage.retries, 'request')} failed in passing and were sent again."
    structured = sum(count for name, count in how.items() if name)
    if structured:
        of = "" if facts.seen.whole else f" among the first {facts.seen.chats:,}"
        yield (
            f"{_many(structured, 'answer')}{of} had to fit a schema; {how['repair']:,} did so only"
            " once the model had been shown its error."
        )


def _outside(facts: Facts) -> Iterator[str]:
    if facts.interventions:
        rounds = sorted({one.get("round", 0) + 1 for one in facts.interventions})
        yield (
            f"{_many(len(facts.interventions), 'intervention')} changed the run from outside, from"
            f" round {_and([str(number) for number in rounds])} on."
        )
    if facts.surveys:
        yield f"{_many(len(facts.surveys), 'survey')} asked copies of agents, apart from the run."


def _ending(facts: Facts) -> Iterator[str]:
    about = facts.about
    lives = about.get("lives") or ()
    if lives:
        yield (
            f"The run was resumed {_many(len(lives), 'time')}; answers that were there were not"
            " asked for again."
        )
    if about.get("replays"):
        yield "It is a replay: the answers come from the journal of another run."
    if facts.status != "done":
        said = {"running": "is under way, or was killed", "out of budget": "ended with its budget"}
        yield f"The run {said.get(facts.status, f'ended before its end ({facts.status})')}."


def _when(about: object) -> str:
    """Return on which days a run was made."""
    said = dict(about)  # type: ignore[call-overload]
    days = [str(said.get("started", ""))[:10]]
    days += [str(life.get("began", ""))[:10] for life in said.get("lives") or ()]
    days.append(str(said.get("ended") or days[-1])[:10])
    first, last = days[0], days[-1]
    if not first:
        return "at an unknown time"
    return f"on {first}" if first == last else f"from {first} to {last}"


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _and(words: list[str]) -> str:
    """Return words as a sentence has them.

    Examples
    --------
    >>> _and(["a", "b", "c"])
    'a, b and c'
    """
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _last(name: str) -> str:
    return Path(name).name.rpartition(".")[2]
