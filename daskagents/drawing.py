"""The picture of a run that was made before."""

from __future__ import annotations

from pathlib import Path

from daskagents.errors import UsageError
from daskagents.opened import open_run
from daskagents.options import did_you_mean
from daskagents.plotting import distributions, means, numeric
from daskagents.plotting.variables import textual, variable_of


def draw(
    folder: Path,
    variable: str | None = None,
    *,
    kind: str | None = None,
    by: str | None = None,
    out: Path | None = None,
) -> Path:
    """Draw a variable of a run, and write the picture.

    Parameters
    ----------
    folder
        The directory of a run, finished or not.
    variable
        What to draw; None for the first variable that has numbers.
    kind
        ``"distributions"`` or ``"means"``; None for means if there are groups, else distributions.
    by
        A column: its groups are drawn apart.
    out
        The file, whose ending says of which kind it is; None for one in the run directory.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    UsageError
        If the folder holds no run, or one without rounds; if there is no such variable, column or
        kind; if the file cannot be written.

    """
    results = open_run(folder).results
    try:
        name = variable_of(results, variable)
    except UsageError as error:
        near = did_you_mean(variable or "", numeric(results) + textual(results))
        raise UsageError(f"{error}{near}") from None
    kind = kind or ("distributions" if by is None else "means")
    if kind == "means":
        figure, file = means(results, name, by=by), f"{name}-means.png"
    elif kind == "distributions":
        figure = distributions(results, name, by=by)
        file = f"{name}.png" if by is None else f"{name}-by-{by}.png"
    else:
        raise UsageError(f"--kind {kind}: it is distributions or means")
    picture = out or folder / file
    try:
        figure.savefig(picture)
    except (ValueError, OSError) as error:
        raise UsageError(f"{picture}: {error}") from None
    return picture
