"""What tests write need not reach the disk itself: none of them cuts the power.

Imported by the process of the tests and those of their workers; programs that tests start sync.
"""

from __future__ import annotations

import os


def leave(file: int) -> None:
    """Leave a file to the system; a closed one is an error all the same."""
    os.fstat(file)


os.fsync = leave  # type: ignore[assignment]
