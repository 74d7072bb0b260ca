"""The pictures of a report: drawn by the package, and embedded in the page."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any

import xarray as xr

from daskagents.afterwards.page import Html, paragraph, picture
from daskagents.plotting import distributions, numeric, quantiles
from daskagents.plotting.lines import lines
from daskagents.plotting.variables import textual

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Variables that are drawn: of numbers, of texts, and of those with a value per round.
NUMBERS, TEXTS, VALUES = 6, 4, 12
#: Bytes up to which a picture is embedded as SVG; a larger one as PNG.
_LARGE = 300_000


def replies(results: xr.Dataset) -> Iterator[Html]:
    """Yield pictures of what agents replied, round by round."""
    numbers, texts = numeric(results), textual(results)
    for name in numbers[:NUMBERS]:
        if results.sizes["round"] > 1:
            said = f"median and quantiles of {name} over the rounds"
            yield picture(embed(_flat(quantiles(results, name))), said)
        yield picture(embed(distributions(results, name)), f"histograms of {name}, round by round")
    for name in texts[:TEXTS]:
        yield picture(embed(_flat(distributions(results, name))), f"shares of {name} by round")
    rest = [*numbers[NUMBERS:], *texts[TEXTS:]]
    if rest:
        yield paragraph(f"Not drawn: {', '.join(rest)}.", "faint")
    if not numbers and not texts:
        yield paragraph("There is no variable with a value for each round and agent.", "faint")


def values(results: xr.Dataset, names: list[str]) -> Iterator[Html]:
    """Yield a picture of values of which there is one a round."""
    if names and results.sizes["round"] > 1:
        shown = names[:VALUES]
        yield picture(embed(lines(results, shown)), f"{', '.join(shown)} over the rounds")


def _flat(figure: Figure) -> Figure:
    figure.set_size_inches(8, 3.4)
    return figure


def embed(figure: Figure) -> str:
    """Return a figure as a data URI: SVG, or PNG where that would be large."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "daskagents"}):
        data = _saved(figure, format="svg", metadata={"Date": None, "Creator": None})
    kind = "svg+xml"
    if len(data) > _LARGE:
        data, kind = _saved(figure, format="png", dpi=200), "png"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _saved(figure: Figure, **how: Any) -> bytes:
    file = BytesIO()
    figure.savefig(file, **how)
    return file.getvalue()
