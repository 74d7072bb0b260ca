"""What the agents of a block send while they reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskagents.errors import UsageError
from daskagents.fields import Field
from daskagents.mail import FIELDS, Mail, Posted, Wide, kind_of, make_mail

#: To whom a message is that is for all agents of the population.
EVERYONE = "everyone"


class Outbox:
    """Takes what agents send, and sorts it out when all have replied.

    Parameters
    ----------
    population
        How many agents there are; ids from there on are nobody's.
    fields
        The fields of their class, by which many may be addressed at once.
    gone
        Which agents have left, packed; None where none have.
    """

    def __init__(
        self, population: int, fields: Mapping[str, Field], gone: NDArray[np.uint8] | None = None
    ) -> None:
        self._n, self._fields, self._gone = population, fields, gone
        self._to: list[int] = []
        self._who: list[int] = []
        self._what: list[Any] = []
        self._wide: list[Wide] = []

    def post(self, sender: int, to: Any, content: Any) -> None:
        """Take a message of one agent.

        Parameters
        ----------
        sender
            Its id.
        to
            An id, several, ``{"field": value}``, or ``"everyone"``.
        content
            What is said.
        """
        if type(to) is int:
            self._to.append(to)
            self._who.append(sender)
            self._what.append(content)
            return
        if isinstance(to, str) and to == EVERYONE:
            self._wide.append(Wide(sender, None, FIELDS["any"].coerce(content)))
        elif isinstance(to, Mapping) and len(to) == 1:
            match = self._match(*next(iter(to.items())))
            self._wide.append(Wide(sender, match, FIELDS["any"].coerce(content)))
        elif isinstance(to, np.integer):
            self.post(sender, int(to), content)
        elif isinstance(to, list | tuple | range | set | frozenset | np.ndarray):
            many = sorted(to) if isinstance(to, set | frozenset) else list(to)
            if not all(isinstance(one, int | np.integer) and one is not True for one in many):
                raise UsageError(f"send to {to!r}: ids are ints")
            for one in many:
                self.post(sender, int(one), content)
        else:
            raise UsageError(
                f"send to {to!r}: give the id of an agent, several ids, {{'field': value}}, or"
                f" {EVERYONE!r}"
            )

    def post_block(self, senders: NDArray[np.int64], to: Any, content: Any, where: Any) -> None:
        """Take a message of each of many agents.

        Parameters
        ----------
        senders
            Their ids, shape (n,).
        to, content
            One for each, shape (n,), or one for all.
        where
            Which of them send; None for all.
        """
        n = len(senders)
        rows = np.arange(n) if where is None else np.flatnonzero(np.broadcast_to(where, (n,)))
        targets, contents = np.asarray(to), np.asarray(content)
        if targets.dtype.kind not in "iu" or targets.shape not in ((), (n,)):
            raise UsageError(f"send takes an id for each of {n} agents, an array of ints")
        if contents.ndim and contents.shape != (n,):
            raise UsageError(f"send takes a content for each of {n} agents, or one for all")
        self._to += np.broadcast_to(targets, (n,))[rows].tolist()
        self._who += senders[rows].tolist()
        self._what += contents[rows].tolist() if contents.ndim else [content] * len(rows)

    def _match(self, name: str, value: Any) -> tuple[str, Any]:
        if name not in self._fields or name.startswith("_"):
            known = ", ".join(field for field in self._fields if not field.startswith("_"))
            raise UsageError(f"send to {{{name!r}: {value!r}}}: the fields are {known}")
        return name, self._fields[name].coerce(value)

    def posted(self, failed: NDArray[np.int64]) -> Posted:
        """Return what was sent, in order of the senders; without that of agents that failed.

        Parameters
        ----------
        failed
            Their ids.
        """
        if not self._to and not self._wide:
            return Posted()
        to, who = np.array(self._to, np.int64), np.array(self._who, np.int64)
        keep = ~np.isin(who, failed)
        outside = (to < 0) | (to >= self._n)
        if self._gone is not None:
            there = np.unpackbits(self._gone, count=self._n) == 0
            outside |= ~there[np.where(outside, 0, to)]
        lost = np.flatnonzero(keep & outside)
        rows = np.flatnonzero(keep & ~outside)
        rows = rows[np.argsort(who[rows], kind="stable")]
        mail: Mail | None = None
        if len(rows):
            what = self._what
            if len(rows) < len(what) or (np.diff(rows) != 1).any():
                what = [what[at] for at in rows.tolist()]
            mail = make_mail(to[rows], who[rows], what)
        bad = set(failed.tolist())
        wide = sorted((w for w in self._wide if w.sender not in bad), key=lambda w: w.sender)
        example = (int(to[lost[0]]), int(who[lost[0]])) if len(lost) else (0, 0)
        return Posted(mail, tuple(wide), len(lost), example)

    def misfits(self) -> dict[int, BaseException]:
        """Coerce all that was sent; return why some cannot be, by the id of who sent it."""
        kind = kind_of(self._what)
        if not self._what or kind == "float":  # any float is one
            return {}
        self._what, wrong = FIELDS[kind].bulk(self._what)
        return {self._who[at]: error for at, error in wrong.items()}
