from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from test_models_process import is_gone

ROOT = Path(__file__).parents[1]

TESTS = """
import pathlib, urllib.request

def test_two_servers(serve_model):
    first, second = serve_model(latency=0.01), serve_model(models=("other",))
    with urllib.request.urlopen(second.url + "/models") as answer:
        assert b"other" in answer.read()
    assert (first.stats().requests, second.stats().requests) == (0, 1)
    pathlib.Path("pids").write_text(f"{first.pid} {second.pid}")
"""


def test_servers_for_the_tests_of_others(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["daskagents.fixtures"]\n')
    (tmp_path / "test_mine.py").write_text(TESTS)
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "1 passed" in ended.stdout, ended.stdout
    assert all(is_gone(int(pid)) for pid in (tmp_path / "pids").read_text().split())
