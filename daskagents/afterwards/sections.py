"""The sections of a report: replies, rounds, costs, failures, what came from outside, talks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from daskagents.afterwards import pictures
from daskagents.afterwards.chats import MOST
from daskagents.afterwards.chats import talks as sample_of
from daskagents.afterwards.facts import Facts, failures_by
from daskagents.afterwards.page import Html, cut, facts, heading, number, paragraph, table, turn
from daskagents.usage import Usage

#: Characters of a text, turns of a conversation, failures and rounds that are shown.
_TEXT, _TURNS, _FAILURES, _ROUNDS = 1_000, 12, 10, 40
#: Variables with a text per round that are shown.
_SAID = 4
#: What the table of costs says of each model besides its answers.
_TAKEN = ("prompt_tokens", "cached_tokens", "completion_tokens", "retries", "cost")


def replies(known: Facts) -> Iterator[Html]:
    """Yield what agents replied."""
    if known.results is None or not known.rounds:
        yield paragraph("No round is written down yet.", "faint")
        return
    yield from pictures.replies(known.results)


def values(known: Facts) -> Iterator[Html]:
    """Yield what the workflow said of each round."""
    if known.results is None or not known.rounds:
        return
    names = known.values(own=False)
    yield from pictures.values(known.results, names)
    shown = [*names[:6], *(n for n in ("n_agents", "n_failed") if n in known.results)]
    yield from _rounds(known, [*shown, "seconds"])
    yield from _said(known)


def _said(known: Facts) -> Iterator[Html]:
    """Yield a table of texts of which there is one a round, such as what named agents said."""
    results = known.results
    assert results is not None
    texts = {
        str(name): values
        for name, values in results.data_vars.items()
        if values.dims == ("round",) and values.dtype.kind in "TU"
    }
    names = list(texts)[:_SAID]
    if names:
        places = _places(known)
        columns = [texts[name].values[places].tolist() for name in names]
        rows = zip((int(at) + 1 for at in places), *columns, strict=True)
        yield table(("round", *names), ([at, *(cut(t, 300) for t in said)] for at, *said in rows))


def _places(known: Facts) -> Any:
    """Return which rounds are shown: of many, as many as can be read."""
    return np.unique(np.linspace(0, known.rounds - 1, min(known.rounds, _ROUNDS)).astype(int))


def _rounds(known: Facts, names: list[str]) -> Iterator[Html]:
    """Yield a table of values per round: of many rounds, as many as can be read."""
    results = known.results
    assert results is not None
    names = [name for name in names if name in results]
    places = _places(known)
    columns = [results[name].values[places].astype(float).tolist() for name in names]
    rows = zip((int(place) + 1 for place in places), *columns, strict=True)
    if names:
        yield table(("round", *(name.replace("_", " ") for name in names)), rows)
    if len(places) < known.rounds:
        yield paragraph(f"{len(places)} of {known.rounds:,} rounds.", "faint")


def costs(known: Facts) -> Iterator[Html]:
    """Yield which models answered, and what it cost."""
    usage, seen = known.usage, known.seen
    if not usage.calls and not seen.chats:
        yield paragraph("No model was asked.")
        return
    head = ("model", "answers", *(name.replace("_", " ") for name in _TAKEN))
    rows = [(_named(model, endpoint), u.calls, *_taken(u)) for model, endpoint, u in known.by_model]
    total = ("all", usage.calls, *_taken(usage))
    yield table(head, [*rows, total] if len(rows) != 1 else rows)
    yield paragraph(
        "Costs are in the currency of the price table; empty where a price is not known."
        " Models are named as the servers named them.",
        "faint",
    )
    wanted = [(said or "nothing but the messages", n) for said, n in seen.wanted.most_common(8)]
    if wanted:
        yield heading("What was asked for besides the messages")
        yield table(("parameters", "chats"), [(cut(said, 300), count) for said, count in wanted])
    if not seen.whole:
        yield paragraph(f"Of the first {MOST:,} chats.", "faint")
    if known.results is not None and known.rounds:
        names = [
            n
            for n in ("calls", "prompt_tokens", "completion_tokens", "cost", "retries", "seconds")
            if _says(known.results, n)
        ]
        yield heading("Round by round")
        yield from pictures.values(known.results, names)
        yield from _rounds(known, names)


def _named(model: str, endpoint: str) -> str:
    return f"{model or '(answers that failed)'}{f' at {endpoint}' if endpoint else ''}"


def _taken(usage: Usage) -> list[Any]:
    return [getattr(usage, name) for name in _TAKEN]


def _says(results: xr.Dataset, name: str) -> bool:
    """Whether a run says something of itself that is not nothing."""
    return name in results and bool(np.nan_to_num(results[name].values).any())


def failures(known: Facts) -> Iterator[Html]:
    """Yield how many replies failed, and how."""
    failures = known.failures
    if not known.failed and (failures is None or not failures.sizes["failure"]):
        yield paragraph("No reply failed.")
        return
    share = f" of {known.replies:,} ({100 * known.failed / known.replies:.2g} %)"
    yield paragraph(f"{known.failed:,}{share if known.replies else ''} replies failed.")
    if failures is None or not failures.sizes["failure"]:
        return
    yield table(("error", "failures"), failures_by(failures, "error")[:12])
    by_round = failures_by(failures, "round")
    if len(by_round) > 1:
        shown = [(at + 1 if at >= 0 else None, count) for at, count in by_round[:_ROUNDS]]
        yield table(("round", "failures"), shown)
    yield heading("The first of them")
    first = failures.isel(failure=slice(_FAILURES))
    rows = zip(
        *(
            first[name].values.tolist()
            for name in ("round", "population", "agent", "error", "message", "where")
        ),
        strict=True,
    )
    lines = [
        (r + 1, f"{a} of {p}", f"{e}: {cut(m, 300)}", w.rpartition("/")[2])
        for r, p, a, e, m, w in rows
    ]
    yield table(("round", "agent", "error", "line"), lines)


def outside(known: Facts) -> Iterator[Html]:
    """Yield what was changed and asked from outside."""
    if known.interventions:
        head = ("round", "of", "who", "set", "message")
        yield heading("Interventions")
        yield table(head, map(_intervention, known.interventions))
    for name, survey in known.surveys:
        asked = survey.attrs.get("question", "")
        yield heading(f"Survey {name}")
        if asked:
            yield paragraph(cut(str(asked), _TEXT))
        yield paragraph(_asked(survey), "faint")
        yield facts({str(n): _answers(v) for n, v in survey.data_vars.items()})


def _asked(survey: xr.Dataset) -> str:
    """Say of a survey who was asked, and when."""
    about = survey.attrs
    count = max(survey.sizes.values(), default=0)
    said = [f"{count:,} agents" + (f" of {about['population']}" if "population" in about else "")]
    said += [f"after {about['round']} rounds"] if "round" in about else []
    said += [f"those with {about['where']}"] if about.get("where") else []
    return ", ".join(said)


def _intervention(one: dict[str, Any]) -> tuple[Any, ...]:
    who = one.get("where") or ""
    agents = one.get("agents")
    if agents is not None:
        who = f"{len(agents):,} agents"
    return (
        one.get("round", -1) + 1,
        one.get("environment") or one.get("population", ""),
        str(who or "all"),
        cut(str(one.get("set") or ""), 300),
        cut(str(one.get("message") or ""), 300),
    )


def _answers(values: xr.DataArray) -> str:
    """Return the answers to one question in short."""
    if values.dtype.kind == "b":
        return f"{int(values.sum()):,} of {values.size:,}"
    return summary(np.ravel(values.values)) if values.size else ""


def talks(known: Facts) -> Iterator[Html]:
    """Yield a sample of conversations."""
    if not known.seen.chats:
        return
    yield paragraph(
        "Agents evenly spread over those that asked a model, and one that failed, if any. Texts are"
        f" cut after {_TEXT:,} characters, conversations after {_TURNS} turns.",
        "faint",
    )
    also: list[tuple[str, int]] = []
    if known.failures is not None:
        pairs = zip(
            known.failures["population"].values, known.failures["agent"].values, strict=True
        )
        also = [(str(population), int(agent)) for population, agent in pairs]
    for talk in sample_of(known.folder, known.seen, also):
        yield heading(f"Agent {talk.agent} of {talk.population}")
        for each in talk.turns[:_TURNS]:
            role = "model" if each.role == "assistant" else each.role
            yield turn(each.role, each.name or role, cut(each.text, _TEXT))
        if len(talk.turns) > _TURNS:
            yield paragraph(f"and {len(talk.turns) - _TURNS:,} turns more", "faint")


def summary(values: Any) -> str:
    """Return a column of values in short."""
    if values.dtype.kind in "fiu":
        known = values[np.isfinite(values)]
        if not known.size:
            return ""
        span = f"{number(float(known.min()))} to {number(float(known.max()))}"
        return f"{span}, mean {number(float(known.mean()))}"
    words, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:5]
    shown = ", ".join(f"{cut(str(words[at]), 24) or '(none)'} {counts[at]:,}" for at in order)
    return f"{shown}, {len(words) - 5:,} more values" if len(words) > 5 else shown
