"""Runs that are held: their steps do not begin, in this process, until the runs go on."""

from __future__ import annotations

import threading
from collections.abc import Callable

#: Seconds between two looks whether a run that is held has been stopped.
_LOOK = 0.2

_change = threading.Condition()
#: Of each run that is held, the last step that may begin.
_held: dict[str, int] = {}
#: The last step that has begun here, of each run.
_begun: dict[str, int] = {}


def hold(topic: str, last: int | None = None) -> int:
    """Let no step of a run begin after one; return the last that has begun here, or -1.

    Parameters
    ----------
    topic
        The run.
    last
        The last step that may begin; None for the last that has begun here.
    """
    with _change:
        begun = _begun.get(topic, -1)
        _held[topic] = begun if last is None else last
        _change.notify_all()
        return begun


def go_on(topic: str) -> None:
    """Let all steps of a run begin."""
    with _change:
        _held.pop(topic, None)
        _change.notify_all()


def wait(topic: str, step: int, leave: Callable[[], None], check: Callable[[], None]) -> None:
    """Wait until a step may begin.

    Parameters
    ----------
    topic, step
        Which.
    leave
        Called once if it has to wait: it takes up no place meanwhile.
    check
        Called now and then; it raises an error if there is nothing more to wait for.
    """
    left = False
    while True:
        with _change:
            last = _held.get(topic)
            if last is None or step <= last:
                _begun[topic] = max(step, _begun.get(topic, -1))
                return
            if left:
                _change.wait(_LOOK)
        if not left:
            left = True
            leave()
        check()
