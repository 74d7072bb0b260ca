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
    kind: str = "distributions",
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
        ``"distributions"`` or ``"means"``.
    by
        A column: means by its groups.
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
    if kind == "means" or by is not None:
        figure, file = means(results, name, by=by), f"{name}-means.png"
    elif kind == "distributions":
        figure, file = distributions(results, name), f"{name}.png"
    else:
        raise UsageError(f"--kind {kind}: it is distributions or means")
    picture = out or folder / file
    try:
        figure.savefig(picture)
    except (ValueError, OSError) as error:
        raise UsageError(f"{picture}: {error}") from None
    return picture
