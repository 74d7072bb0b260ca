"""Fonts for texts that matplotlib's own font cannot show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

#: Families that have Chinese, Japanese and Korean characters, the widest first.
_ASIAN = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans CJK TC",
    "Noto Sans CJK KR",
    "Source Han Sans",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "PingFang SC",
    "Hiragino Sans",
    "Apple SD Gothic Neo",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "SimHei",
    "IPAGothic",
    "IPAexGothic",
    "NanumGothic",
    "Droid Sans Fallback",
    "Arial Unicode MS",
)


@cache
def asian_fonts() -> tuple[str, ...]:
    """Return the font families of this system for Chinese, Japanese and Korean text."""
    from matplotlib.font_manager import fontManager

    known = {font.name for font in fontManager.ttflist}
    return tuple(name for name in _ASIAN if name in known)


@contextmanager
def any_text() -> Iterator[None]:
    """Within a with block, let pictures show text of any script that a font of the system has."""
    import matplotlib as mpl

    # by name: what a text is drawn with is looked up only when the picture is saved
    with mpl.rc_context({"font.family": [*mpl.rcParams["font.family"], *asian_fonts()]}):
        yield


def showable(text: str) -> str:
    r"""Return a text that a picture can show: characters that no font has are written as codes.

    matplotlib would draw the same box for each of them, and warn. Dollars are no formulas.

    Examples
    --------
    >>> showable("naïve"), showable("a \U000f0000")
    ('naïve', 'a \\U000f0000')

    """
    import matplotlib as mpl

    text = text.replace("$", r"\$")
    if text.isascii():
        return text
    known = _characters(tuple(mpl.rcParams["font.family"]))
    return "".join(
        c if c.isascii() or ord(c) in known else c.encode("unicode_escape").decode() for c in text
    )


def bold(text: str) -> dict[str, Any]:
    """Return what makes a text bold; one in another script stays as it is.

    Fonts for other scripts often have one weight, and matplotlib complains of each.
    """
    import matplotlib as mpl

    if not text.isascii():
        return {}
    families = [name for name in mpl.rcParams["font.family"] if name not in asian_fonts()]
    return {"fontweight": "bold", "fontfamily": families}


@cache
def _characters(families: tuple[str, ...]) -> frozenset[int]:
    """Return the characters that some font families have together."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    found: set[int] = set()
    for family in families:
        found |= get_font(findfont(FontProperties(family=[family]))).get_charmap().keys()
    return frozenset(found)
