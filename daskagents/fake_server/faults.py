"""Which chat has which fault."""

from __future__ import annotations

from daskagents.fake_server.draws import draws
from daskagents.fake_server.script import Fault


class _Counted:
    """A fault, and how often it was up to it."""

    def __init__(self, fault: Fault, number: int) -> None:
        self.fault = fault
        self._purpose = f"fault {number}".encode()
        self._text = fault.text.encode()
        self._chats = 0

    def has(self, head: bytes, body: bytes, digest: bytes, asked: int, age: float) -> bool:
        """Whether a chat has this fault."""
        fault = self.fault
        if self._text and self._text not in body and self._text not in head:
            return False
        if fault.between is not None and not fault.between[0] <= age < fault.between[1]:
            return False
        if fault.tries is not None and asked > fault.tries:
            return False
        if fault.rate < 1 and next(draws(digest, self._purpose, asked)) >= fault.rate:
            return False
        self._chats += 1
        if self._chats % fault.every:
            return False
        return fault.first is None or self._chats <= fault.first * fault.every


class Faults:
    """All faults; the first that fits a chat is what it gets.

    Parameters
    ----------
    faults
        In order of precedence.
    now
        When they begin, in seconds.
    """

    def __init__(self, faults: tuple[Fault, ...], now: float) -> None:
        self._counted = [_Counted(fault, number) for number, fault in enumerate(faults)]
        self._began = now

    def next(self, head: bytes, body: bytes, digest: bytes, asked: int, now: float) -> Fault | None:
        """Return the fault of a chat.

        Parameters
        ----------
        head, body
            The request.
        digest
            Of its body.
        asked
            How often this body came, now included.
        now
            The time, in seconds.
        """
        age = now - self._began
        # All are asked: each counts the chats that fit it, whichever fault comes of it.
        having = [one.fault for one in self._counted if one.has(head, body, digest, asked, age)]
        return having[0] if having else None
