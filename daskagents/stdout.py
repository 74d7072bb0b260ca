"""Standard output, kept for what a program is to read."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

_OUT, _ERR = 1, 2


@contextmanager
def kept_stdout(keep: bool = True) -> Iterator[None]:
    """Within a with block, let all that is printed go to standard error.

    So does what processes print that are started within it, even after its end.

    Parameters
    ----------
    keep
        False does nothing.

    Examples
    --------
    >>> with kept_stdout():
    ...     print("workflows and agents may print too")

    """
    if not keep:
        yield
        return
    sys.stdout.flush()
    before = os.dup(_OUT)
    os.dup2(_ERR, _OUT)  # workers inherit the file, not Python's name for it
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(before, _OUT)
        os.close(before)
