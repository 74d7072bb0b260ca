"""The lock of a run directory: one live run writes it; the lock of a dead one is nobody's."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from daskagents.errors import FolderError

#: Seconds that a look at a lock may take.
_LOOKED_AT = 0.1


class Lock:
    """Holds a run directory as long as this process lives, or until it is let go.

    The operating system keeps it, so that it ends with the process, however that ends. Who holds
    it stands in the file, for people.

    Parameters
    ----------
    folder
        The run directory.

    Raises
    ------
    FolderError
        If a live run holds it, with its process and machine.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "run.lock"
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise FolderError(f"{folder} cannot be written: {error.strerror}") from None
        try:
            _lock(self._file)
        except BlockingIOError:
            os.close(self._file)
            raise FolderError(
                f"{folder} is being written by another run{self._holder()}; wait until it ends, or"
                " end it"
            ) from None
        except OSError as error:  # a file system that knows no locks
            os.close(self._file)
            raise FolderError(f"{self.path} cannot be locked: {error.strerror}") from None
        said = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%FT%T%z")}
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, json.dumps(said).encode(), 0)

    @staticmethod
    def held(folder: Path) -> bool:
        """Whether a live run holds a directory, as far as can be told from here."""
        try:
            file = os.open(folder / "run.lock", os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            os.close(file)
        return False

    def _holder(self) -> str:
        with suppress(OSError, ValueError, KeyError):
            held = json.loads(self.path.read_text(encoding="utf-8"))
            return f" (process {held['pid']} on {held['host']}, since {held['since']})"
        return ""

    def release(self) -> None:
        """Let another run have the folder."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _lock(file: int) -> None:
    """Lock a file, in spite of those who only look whether it is locked."""
    end = time.monotonic() + _LOOKED_AT
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return
