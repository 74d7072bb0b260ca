"""Keeps what all workers of one run share: a state machine without I/O, given the time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from daskagents.accounts.base import Account
from daskagents.accounts.places import Concurrency
from daskagents.accounts.purse import Purse
from daskagents.accounts.rate import Rate

_KINDS: dict[str, Callable[[Sequence[Any], float], Account[Any]]] = {
    "rate": Rate,
    "concurrency": Concurrency,
    "budget": Purse,
}


class Accounts:
    """The accounts of one run, each opened when it is first spoken of.

    What is said names the account's kind and terms, and the gate that speaks: a place within a
    worker process through which calls go. All sums that are said count from the beginning of that
    gate, so that nothing is lost or counted twice when a message is.

    Examples
    --------
    >>> accounts = Accounts()
    >>> said = {"kind": "rate", "terms": [600, None], "gate": "g", "have": [0, 0], "used": [0, 0]}
    >>> accounts.tell("vendor", "worker-1", {**said, "need": [1, 0], "want": [5, 0]}, now=0.0)
    {'granted': [5.0, 0.0], 'wait': 0.1}
    """

    def __init__(self) -> None:
        self._accounts: dict[str, Account[Any]] = {}

    def tell(self, name: str, who: str, said: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Tell an account something; return its answer.

        Parameters
        ----------
        name
            The account.
        who
            The process that speaks.
        said
            What it says.
        now
            Seconds, on a clock that never goes back.
        """
        account = self._accounts.get(name)
        if account is None:
            account = self._accounts[name] = _KINDS[said["kind"]](said["terms"], now)
        return account.hear(f"{who} {said['gate']}", said, now)

    def items(self) -> Iterable[tuple[str, Account[Any]]]:
        """Return the accounts by name."""
        return self._accounts.items()

    def lose(self, who: str, now: float) -> None:
        """Take back all that a process has which is no more."""
        for account in self._accounts.values():
            for holder in list(account.holders):
                if holder.startswith(f"{who} "):
                    account.lose(holder, now)
