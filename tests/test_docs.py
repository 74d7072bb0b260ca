"""The README, the pages and the examples: what they show is so. Their doctests run as such."""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from distributed import LocalCluster

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
#: Words that each example prints: of its result, not of its heading.
SAID = {
    "ask_a_model": r"\n200 calls, [\d,]+ tokens\n",
    "debate": r"\n24 answers, asked for in [\d.]+ s",
    "market": r"\n  4 +\d\d\.\d\d  241\d  241\d\n",
    "opinions": r"\n  1\.00  phd +0\.99 +0\.98 ",
}


def run(folder: Path, *words: str | Path) -> str:
    """Run Python in a folder, with warnings as errors, and return what it printed."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    known = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI_")}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**known, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def fenced(text: str, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def programs() -> list[str]:
    """Return the blocks of the README that are whole programs, not prompts."""
    return [block for block in fenced(README, "python") if "__main__" in block]


def targets(page: Path) -> set[str]:
    """Return where a page links to in this repository, pictures included."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    return {link.partition("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples_say_something(example: Path, tmp_path: Path) -> None:
    assert re.search(SAID[example.stem], run(tmp_path, example))
    assert not list(tmp_path.iterdir())


def test_every_example_is_tested_and_named() -> None:
    assert {path.stem for path in EXAMPLES} == SAID.keys()
    for page in ("README.md", "docs/index.md"):
        named = {Path(target).name for target in targets(ROOT / page)}
        assert {path.name for path in EXAMPLES} <= named, page


def test_an_example_runs_by_path(tmp_path: Path) -> None:
    words = "-m daskagents run --sync --agents 600 -p people=crowd -p bubble=1 -p rounds=2".split()
    said = run(tmp_path, *words, ROOT / "examples" / "opinions.py")
    assert re.search(r"picture +runs/opinions-.*said\.png", said)


def test_the_readme_shows_two_commands() -> None:
    (section,) = re.findall(r"^## Two commands\n(.*?)^## ", README, re.MULTILINE | re.DOTALL)
    play, test = fenced(section, "bash")
    assert fenced(README, "bash") == [play, test]
    for command in (play, test):
        assert command.count("\n") == 1 and command.startswith("python3 -m venv .venv && ")
        assert "daskagents install-model" in command
    assert "run workflows/guess_average.py --model local" in play
    assert test.endswith("-m pytest -q -n 2 --dist loadfile\n")


def test_the_first_program_runs(tmp_path: Path) -> None:
    first = programs()[0]
    assert len([line for line in first.splitlines() if line.strip()]) == 15
    (tmp_path / "game.py").write_text(first.replace("1_000_000", "1_000"))
    winners = [float(word) for word in re.findall(r"\d+\.\d+", run(tmp_path, "game.py"))]
    assert len(winners) == 5 and 30 < winners[0] < 36
    assert winners[4] == pytest.approx(winners[0] * (2 / 3) ** 4)


def test_the_program_for_a_cluster_gives_the_same_numbers(
    cluster2: LocalCluster, tmp_path: Path
) -> None:
    program = programs()[1].replace("1_000_000", "10_000")
    printed = []
    for name, words in {"here": [], "there": [cluster2.scheduler_address]}.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "poll.py").write_text(program)
        printed.append(run(folder, "poll.py", *words))
        assert (folder / "runs" / "poll" / "run.json").is_file()
    assert printed[0] == printed[1] != ""


def test_the_commands_of_the_tutorial_show_what_it_says(tmp_path: Path) -> None:
    """Its one program is written down, and its commands follow each other in one folder."""
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    (program,) = [block for block in fenced(text, "python") if ">>>" not in block]
    (tmp_path / program.splitlines()[0].removeprefix("# ")).write_text(program, encoding="utf-8")
    commands = [part for block in fenced(text, "console") for part in block.split("$ ")[1:]]
    assert len(commands) >= 4
    same = doctest.OutputChecker().check_output
    for command in commands:
        first, _, shown = command.partition("\n")
        name, *words = shlex.split(first)
        printed = run(tmp_path, "-m", name, *words)
        assert same(shown, printed, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE), printed


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in targets(page):
        assert (page.parent / target).exists(), target


def test_every_page_can_be_found_from_the_readme() -> None:
    found, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        found.add(page)
        linked = {(page.parent / target).resolve() for target in targets(page)}
        waiting += [new for new in linked - found if new.suffix == ".md"]
    assert set(PAGES) <= found


def test_the_map_shows_every_module() -> None:
    text = (ROOT / "docs" / "map.md").read_text(encoding="utf-8")
    shown = re.findall(r"`([\w/]+\.py)`(?=[^|]*\| )", text)
    package = ROOT / "daskagents"
    modules = {path.relative_to(package).as_posix() for path in package.rglob("*.py")}
    assert len(shown) == len(set(shown))
    assert set(shown) == {name for name in modules if not name.endswith("__init__.py")}


def test_figures_of_speed_stand_with_their_command() -> None:
    speed = re.compile(r"\d\S*( million)? \w+(/s| a second| per second)\b|times faster")
    for page in PAGES:
        if "decisions" in page.parts:  # what was measured when a choice was made
            continue
        for paragraph in page.read_text(encoding="utf-8").split("\n\n"):
            found = speed.search(paragraph)
            assert not found or "python -m benchmarks" in paragraph, f"{page}: {found[0]}"
