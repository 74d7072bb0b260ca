"""Files brought to the disk itself: what only the system remembers, a power failure takes."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path


def replace(draft: Path, path: Path, *, sync: bool) -> None:
    """Let a draft take the place of a file: after a power failure it is the one or the other."""
    if sync:  # else the name may be there before what it holds
        sync_file(draft)
    draft.replace(path)
    if sync:
        sync_file(path.parent)


def sync_file(path: Path) -> None:
    """Bring one file to the disk, or of a folder the names in it."""
    at = os.open(path, os.O_RDONLY)
    try:
        os.fsync(at)
    except OSError as error:
        if error.errno != errno.EINVAL:  # of a file system that has it not for folders
            raise
    finally:
        os.close(at)


def sync_tree(folder: Path, since: float = 0.0) -> None:
    """Bring what was written below a folder since a time to the disk, and the folder's own name."""
    for path in [*folder.rglob("*"), folder, folder.parent]:
        with suppress(FileNotFoundError):  # a draft that has its name by now
            if path.stat().st_mtime >= since:
                sync_file(path)
