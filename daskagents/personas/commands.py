"""``daskagents personas``: populations from files, from a shell."""

from __future__ import annotations

import typer

#: Commands of other modules add themselves here, at the end of this one.
app = typer.Typer(no_args_is_help=True)


@app.callback()
def _root() -> None:
    """Make populations of people from a file, and check them."""
