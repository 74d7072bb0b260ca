"""How frequent texts are, round by round."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from daskagents.plotting.counting import texts
from daskagents.plotting.page import COLORS, INK, dress, short, title_of, write_around
from daskagents.plotting.variables import Shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Texts that have a colour of their own; the rest share one.
MOST_TEXTS = 7
_REST = "#c9d1d8"


def draw_shares(ax: Axes, shown: Shown) -> None:
    """Draw the shares of the most frequent texts as stacked bars, one for each round."""
    counts = texts(shown.values)
    total = sum(counts, Counter[str]())
    rare = total.pop("", 0)
    known = [text for text, _ in total.most_common(MOST_TEXTS)]
    replied = np.array([max(1, count.total()) for count in counts])
    bottom, places = np.zeros(len(counts)), np.arange(len(counts))
    style: dict[str, Any] = {
        "width": 0.86,
        "edgecolor": "white",
        "linewidth": 0.6 if len(counts) <= 25 else 0.0,
    }
    bars = []
    for text, color in zip(known, COLORS, strict=False):
        share = np.array([count[text] for count in counts]) / replied
        bars.append((ax.bar(places, share, bottom=bottom, color=color, **style), short(text)))
        bottom += share
    others = len(total) - len(known)
    if others or rare:
        rest = np.array([count.total() for count in counts]) / replied - bottom
        label = f"{others:,}{'+' * (rare > 0)} other text{'s' * (others != 1)}"
        bars.append((ax.bar(places, rest.clip(0), bottom=bottom, color=_REST, **style), label))
    _dress(ax, shown)
    if bars:  # in the order of the stack
        handles, labels = zip(*bars[::-1], strict=True)
        ax.legend(
            handles, labels, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9
        )


def _dress(ax: Axes, shown: Shown) -> None:
    from matplotlib.ticker import PercentFormatter

    numbers = shown.numbers
    every = -(-len(numbers) // 15)
    ax.set_xticks(np.arange(len(numbers))[::every], [str(n) for n in numbers[::every]])
    middle, half = (len(numbers) - 1) / 2, max(len(numbers), 5) / 2 + 0.1
    ax.set(xlim=(middle - half, middle + half), ylim=(0, 1))
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.set_xlabel("round", color=INK)
    ax.set_ylabel("share of the replies", color=INK)
    write_around(ax, title_of(shown.name), shown.caption)
    dress(ax, "y")
