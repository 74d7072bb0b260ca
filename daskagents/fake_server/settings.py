"""From what a test asks of the server to the script that the server reads; checked here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from daskagents.errors import UsageError
from daskagents.fake_server.script import FAULTS, Choice, Fault, LevelK, Script

#: What may be given for faults: how often each is to be, by name, or one by one.
Fails: TypeAlias = Mapping[int | str, float] | Sequence[Fault] | None


def script_of(old: Script | None = None, **settings: Any) -> Script:
    """Return a script.

    Parameters
    ----------
    old
        What settings have that are not given; None: the defaults.
    **settings
        As for `daskagents.testing.model_server`.

    Raises
    ------
    UsageError
        If a setting is none, or makes no sense.

    Examples
    --------
    >>> script_of(fail={"hang": 0.5}).faults[0].rate
    0.5
    """
    if "fail" in settings:
        settings["faults"] = _faults(settings.pop("fail"))
    try:
        script = msgspec.structs.replace(old or Script(), **settings)
        # Scripts are checked where they are read: read it here as the server will.
        script = msgspec.json.decode(msgspec.json.encode(script), type=Script)
    except (TypeError, msgspec.MsgspecError) as error:
        raise UsageError(f"a model server cannot be so: {error}") from None
    answer = script.answer
    shares = answer.levels if isinstance(answer, LevelK) else ()
    shares = tuple(answer.options.values()) if isinstance(answer, Choice) else shares
    if shares and not sum(shares):
        raise UsageError(f"answer={answer}: at least one share is above 0")
    return script


def _faults(fails: Fails) -> tuple[Fault, ...]:
    """Return faults, their names checked."""
    if isinstance(fails, Mapping):
        faults = tuple(_often(what, often) for what, often in fails.items())
    else:
        faults = tuple(fails or ())
    for fault in faults:
        what = str(fault.what)
        if what not in FAULTS and not (what.isdigit() and 300 <= int(what) <= 599):
            known = ", ".join(FAULTS)
            raise UsageError(f"a fault is a status from 300 to 599 or one of {known}; not {what}")
    return faults


def _often(what: int | str, often: float) -> Fault:
    """Return a fault that every how many-th chat has, or a share of them."""
    if isinstance(often, int) and often >= 1:
        return Fault(what=what, every=often)
    if isinstance(often, float) and 0 <= often <= 1:
        return Fault(what=what, rate=often)
    raise UsageError(
        f"fail={{{what!r}: {often}}}: a fault comes every how many-th time (1, 2, ...), or with a"
        " probability (a float from 0 to 1)"
    )
