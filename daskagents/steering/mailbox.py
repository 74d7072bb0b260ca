"""Commands to a run by its directory: a file for each, and a file for its answer."""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from daskagents.errors import RunError

#: Seconds between two looks for an answer.
_LOOK = 0.05
_ANSWER = ".answer.json"


class Mailbox:
    """The folder of a run directory that commands are put into.

    Parameters
    ----------
    run
        The run directory.
    """

    def __init__(self, run: Path) -> None:
        self.folder = run / "control"

    def clear(self) -> None:
        """Throw away what was asked of a run that is gone."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def take(self) -> Iterator[tuple[dict[str, Any], Callable[[dict[str, Any]], None]]]:
        """Yield the commands that have come, each with what is to be called with its answer."""
        try:
            found = sorted(self.folder.glob("*.json"))
        except OSError:
            return
        for path in found:
            if path.name.endswith(_ANSWER):
                continue
            with suppress(OSError, ValueError):
                command = json.loads(path.read_text(encoding="utf-8"))
                path.unlink()
                yield command, lambda said, path=path: self._answer(path, said)  # type: ignore[misc]

    def _answer(self, path: Path, said: Mapping[str, Any]) -> None:
        with suppress(OSError):  # nobody waits any more
            _write(path.with_name(path.name.removesuffix(".json") + _ANSWER), said)

    def ask(
        self, command: Mapping[str, Any], timeout: float, alive: Callable[[], bool]
    ) -> dict[str, Any]:
        """Put a command in and wait for its answer.

        Raises
        ------
        RunError
            If none comes in time, or the run has ended.
        """
        own = f"{time.time_ns()}-{uuid.uuid4().hex[:8]}"
        path, answer = self.folder / f"{own}.json", self.folder / f"{own}{_ANSWER}"
        try:
            self.folder.mkdir(exist_ok=True)
            _write(path, command)
        except OSError as error:
            raise RunError(f"{self.folder} cannot be written: {error.strerror}") from None
        end = time.monotonic() + timeout
        try:
            while not answer.exists():
                if time.monotonic() > end:
                    raise RunError(
                        f"the run in {self.folder.parent} does not answer within {timeout:g} s;"
                        " its program may be busy or far away: ask by the address of its scheduler"
                    )
                if not alive() and not answer.exists():
                    raise RunError(f"the run in {self.folder.parent} has ended")
                time.sleep(_LOOK)
            found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
            return found
        finally:
            for each in (path, answer):
                with suppress(OSError):
                    each.unlink()


def _write(path: Path, said: Mapping[str, Any]) -> None:
    """Write a file that appears whole."""
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(json.dumps(said), encoding="utf-8")
    draft.replace(path)
