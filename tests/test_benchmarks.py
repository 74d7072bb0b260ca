import sys
from typing import Any

import pytest

from benchmarks import rivals
from benchmarks.__main__ import show
from benchmarks.measure import Row, spread


def test_a_row_compares_medians() -> None:
    row = Row("replies/s", [10.0, 30.0, 20.0], "1/s", "a loop", [5.0])
    assert row.ratio == 4
    assert spread(row.ours) == "20 (10 to 30)"
    assert Row("s", [1.0], "s").ratio is None


def test_what_is_not_installed_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mesa", None)  # as if there were none
    monkeypatch.setitem(sys.modules, "ray", None)
    here: Any = "sync"
    rows = list(rivals.rivals(here, 100, 10))
    assert [row.other for row in rows] == [
        "mesa is not installed: pip install mesa",
        "ray is not installed: pip install ray",
    ]
    assert all(row.ours[0] > 0 and row.ratio is None for row in rows)
    assert show(rows).row_count == 2
