"""The loop over the rows of a block: code made for the fields and replies of a class, and run."""

from __future__ import annotations

from functools import cache
from sys import getrefcount
from typing import Any, Protocol


class RowLoop(Protocol):
    """Runs a `def` method for one agent after another."""

    def __call__(
        self,
        fresh: Any,
        method: Any,
        messages: Any,
        ids: list[int],
        rows: list[int],
        rng: Any,
        before: list[list[Any]],
        after: list[list[Any]],
        replies: list[list[Any]],
        odd: dict[int, Any],
        errors: dict[int, BaseException],
        note: Any,
        ledger: Any,
        envs: Any,
        inboxes: Any,
    ) -> None:
        """Fill `after` and `replies`, a list per field and name, and what went otherwise."""


# One object stands for all rows, one after another, which spares the making of an object for each.
# Where somebody has kept it (a cache, say), or it has got more than its fields, the next row gets
# another one.
_SOURCE = """\
def loop(
    fresh, method, messages, ids, rows, rng, before, after, replies, odd, errors, note, ledger,
    envs, inboxes,
):
    {afters} = after
    {replied} = replies
    agent = fresh()
    state = agent.__dict__
    alone, apart = getrefcount(agent), getrefcount(state)
    for at, message, number, row{values}{more} in zip(
        rng.each(), messages, ids, rows, *before, {each}strict=True
    ):
        agent.id, agent._row, agent.rng = number, row, rng
        {see}
        {load}
        try:
            reply = method(agent, message)
            {read}
        except Exception as error:
            errors[at] = error
            agent = fresh()
            state = agent.__dict__
            continue
        {keep}
        {take}
        if (
            len(state) != {width}
            or getrefcount(agent) != alone
            or getrefcount(state) != apart
        ):
            if len(state) != {width}:
                note(at, state)
            agent = fresh()
            state = agent.__dict__
"""

_TAKE_DICT = """\
if type(reply) is dict and len(reply) == {count}:
            try:
                {items}
            except KeyError:
                odd[at] = reply
        else:
            odd[at] = reply"""


_SEE = {"": "pass", "one": "ledger.at = at", "many": "ledger.at, agent.env = at, env"}


@cache
def row_loop(
    fields: tuple[str, ...],
    names: tuple[str, ...] | None,
    environment: str = "",
    *,
    mail: bool = False,
) -> RowLoop:
    """Return the loop for agents whose fields of numbers and bools are `fields`.

    Parameters
    ----------
    fields
        Fields that are read for every agent beforehand.
    names
        What is replied by name, each into a list of its own; None where replies are kept whole.
    environment
        Whether the agents see none (``""``), all the same (``"one"``) or each its own (``"many"``).
    mail
        Whether any has got messages.

    """
    width = len(fields)
    each = range(width)
    take = "r0[at] = reply"
    if names is not None:
        items = "; ".join(f"r{i}[at] = reply[{name!r}]" for i, name in enumerate(names))
        take = _TAKE_DICT.format(count=len(names), items=items)
    code = _SOURCE.format(
        afters=_targets("a", width),
        replied=_targets("r", 1 if names is None else len(names)),
        values="".join(f", v{i}" for i in each),
        load="; ".join(f"agent.{name} = v{i}" for i, name in enumerate(fields)) or "pass",
        read="; ".join(f"s{i} = state[{name!r}]" for i, name in enumerate(fields)) or "pass",
        keep="; ".join(f"a{i}[at] = s{i}" for i in each) or "pass",
        take=take,
        width=width,
        more=", env" * (environment == "many") + ", inbox" * mail,
        each="envs, " * (environment == "many") + "inboxes, " * mail,
        see=_SEE[environment] + "; agent.inbox = inbox" * mail,
    )
    scope: dict[str, Any] = {"getrefcount": getrefcount}
    exec(compile(code, "<the loop over rows>", "exec"), scope)
    return scope["loop"]  # type: ignore[no-any-return]


def _targets(letter: str, count: int) -> str:
    return "".join(f"{letter}{i}, " for i in range(count)) or "()"
