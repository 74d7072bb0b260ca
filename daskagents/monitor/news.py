"""What the program that drives a run tells of it: what is run, each step, each round, the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daskagents.driver import Driver
    from daskagents.members import Step

#: Characters of a text, and entries of a list, that are told of a parameter.
_LONG, _MANY = 200, 50
_KEYS = ("workflow", "seed", "populations", "environments", "model", "budget", "shared", "started")


def tell_run(driver: Driver, rounds: Any) -> None:
    """Tell what is run, as it starts or goes on."""
    about = {key: driver.store.about.get(key) for key in _KEYS}
    about["populations"] = {
        name: {**of, "given": _given(driver.session.members.get(of["name"]))}
        for name, of in (about["populations"] or {}).items()
    }
    about["folder"] = "" if driver.store.temporary else str(driver.store.folder)
    about["reads"] = str(driver.store.folder)
    about["rounds"] = rounds if type(rounds) is int else None
    about["closed"] = driver.rounds.closed
    _tell(driver.session, {"run": plain(about)})


def _given(members: Any) -> list[str]:
    """Return the columns that were given with a population."""
    coords = [] if members is None else [str(name) for name in members.frame.coords]
    return [name for name in coords if name != members.dim]


def tell_step(session: Any, step: Step, number: int) -> None:
    """Tell that a step is asked for, in a round of this number."""
    every = len(step.members.handles)
    whole = step.indexes == list(range(every))
    said = {
        "number": step.number,
        "population": step.members.name,
        "method": step.name,
        "agents": step.addressed,
        "round": number,
        "blocks": every if whole else step.indexes,
    }
    _tell(session, {"step": said})


def tell_round(
    session: Any, number: int, own: Mapping[str, Any], values: Mapping[str, Any]
) -> None:
    """Tell that a round is closed, with what it took, and the numbers that were yielded."""
    said = {
        "number": number,
        "seconds": float(own["seconds"]),
        "n_failed": int(own["n_failed"]),
        "usage": {name: float(value) for name, value in own.items()},
        "values": {
            name: float(value)
            for name, value in list(values.items())[:_MANY]
            if getattr(value, "ndim", 0) == 0 and isinstance(_item(value), int | float)
        },
    }
    _tell(session, {"round": said})


def tell_apart(session: Any, blocks: Sequence[tuple[str, int]]) -> None:
    """Tell which blocks are run apart from now on."""
    _tell(session, {"apart": [list(block) for block in blocks]})


def tell_state(session: Any, state: str) -> None:
    """Tell that the run is running, paused, stopping, or how it has ended."""
    _tell(session, {"state": state})


def _tell(session: Any, message: dict[str, Any]) -> None:
    session.executor.tell(session.topic, message)


def _item(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def plain(value: Any) -> Any:
    """Return a value as msgpack knows it; long texts and lists are cut.

    Examples
    --------
    >>> plain({"rounds": 3, "who": ("a", "b"), 1: {2.5}})
    {'rounds': 3, 'who': ['a', 'b'], '1': '{2.5}'}
    """
    value = _item(value) if getattr(value, "ndim", None) == 0 else value
    if value is None or isinstance(value, bool | int | float):
        return value if not isinstance(value, int) or abs(value) < 2**63 else str(value)
    if isinstance(value, str):
        text = value if len(value) <= _LONG else value[: _LONG - 1] + "…"
        return text.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {plain(str(name)): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value[:_MANY]]
    return plain(repr(value))


__all__ = ["plain", "tell_apart", "tell_round", "tell_run", "tell_state", "tell_step"]
