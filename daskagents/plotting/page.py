"""How pictures look: colours, a figure of their own, a title above and a caption below."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Literal

from daskagents.fonts import bold, showable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Colours of words and lines, and of what is beside the point.
INK, FAINT, GRID = "#22303c", "#8a97a3", "#e6eaee"
# Okabe and Ito (2008): told apart by people who do not see all colours, too.
COLORS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000",
)  # fmt: skip


def own_axes() -> Axes:
    """Return axes in a new figure, which belongs to no window."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    around = ConstrainedLayoutEngine(h_pad=0.12, w_pad=0.12)  # inches
    figure = Figure(figsize=(8, 4.5), dpi=160, facecolor="white", layout=around)
    return figure.add_subplot()


def dress(ax: Axes, grid: Literal["x", "y"]) -> None:
    """Leave away what says nothing, and draw a faint grid below all else."""
    ax.tick_params(length=0, colors=INK)
    ax.spines[:].set_visible(False)
    ax.grid(axis=grid, color=GRID, lw=0.8)
    ax.set_axisbelow(True)


def spelled(name: str) -> str:
    """Return the name of a variable as a picture writes it.

    Examples
    --------
    >>> spelled("last_guess")
    'last guess'

    """
    return showable(name.replace("_", " "))


def title_of(name: str) -> str:
    """Return the title of a picture.

    Examples
    --------
    >>> title_of("last_guess")
    'Last guess, round by round'

    """
    name = spelled(name)
    return f"{name[:1].upper()}{name[1:]}, round by round"


def write_around(ax: Axes, title: str, said: str, pad: float = 12) -> None:
    """Write a title above axes, and a caption below them, in as many lines as it needs there."""
    ax.set_title(title, loc="left", color=INK, fontsize=13, pad=pad, **bold(title))
    inches = ax.bbox.width / ax.figure.dpi
    ax.annotate(
        fill(said, max(24, int(16 * inches))), (0, 0), (0, -36), xycoords="axes fraction",
        textcoords="offset points", va="top", fontsize=8, color=FAINT,
    )  # fmt: skip


def short(text: str, most: int = 28) -> str:
    r"""Return a text as a legend shows it: one line, not too long.

    Examples
    --------
    >>> short("yes"), short("two\nlines and more", 12), short("_none")
    ('yes', 'two lines a…', ' _none')

    """
    line = showable(" ".join(text.split()))
    line = line if len(line) <= most else f"{line[: most - 1]}…"
    return f" {line}" if line.startswith("_") else line  # or the legend left it out
