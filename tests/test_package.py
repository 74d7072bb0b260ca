"""The shape of the package: its public names, its layers, its sizes, its errors."""

from __future__ import annotations

import ast
import configparser
import graphlib
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import daskagents
from daskagents import errors, flags, session

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "daskagents"
SOURCES = sorted(
    chain.from_iterable(
        (ROOT / folder).rglob("*.py")
        for folder in ("daskagents", "workflows", "tests", "examples", "benchmarks")
    )
)
#: What a step is made of: it can be read, and run, with no cluster in mind.
CORE = ("step", "columns", "fields", "forms", "rng", "agent", "message", "models.base")
#: What knows of a cluster, or of a run as a whole.
ABOVE = {"plan", "tasks", "executors", "cluster", "population", "running", "session", "store"}


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def running_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes of a module but those that only a type checker sees."""
    for child in ast.iter_child_nodes(node):
        if not is_for_types(child):
            yield child
            yield from running_nodes(child)


def imports(name: str) -> set[str]:
    """Return the modules that a module of the package imports when it runs, lazily included."""
    found: set[str] = set()
    for node in running_nodes(parse(MODULES[name])):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} line {node.lineno}: write imports in full"
            assert node.module is not None
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = members & MODULES.keys()
            # `from daskagents import tasks` needs tasks; that the package runs first is no arrow.
            found |= modules if modules == members else modules | {node.module}
    return found - {name}


def reachable(name: str) -> set[str]:
    """Return all that a module imports, by way of others of the package too."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        new = imports(waiting.pop()) - found
        found |= new
        waiting.extend(new & MODULES.keys())
    return found


def all_modules() -> Iterator[ModuleType]:
    for info in pkgutil.walk_packages(daskagents.__path__, "daskagents."):
        if not info.name.endswith("__main__"):
            yield importlib.import_module(info.name)


def test_public_names_are_few_sorted_and_documented() -> None:
    names = list(daskagents.__all__)
    assert len(names) < 20
    assert names == sorted(set(names))
    for name in names:
        assert inspect.getdoc(getattr(daskagents, name)), f"{name} has no docstring"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 600


@pytest.mark.parametrize("name", CORE)
def test_the_core_knows_no_cluster(name: str) -> None:
    used = reachable(f"daskagents.{name}")
    assert not {module for module in used if module.split(".")[0] in {"dask", "distributed"}}
    assert not used & {f"daskagents.{module}" for module in ABOVE}


def test_a_plan_needs_no_client() -> None:
    assert not {name for name in imports("daskagents.plan") if name.startswith("distributed")}


def test_imports_point_one_way() -> None:
    inner = {name: imports(name) & MODULES.keys() - {"daskagents"} for name in MODULES}
    graphlib.TopologicalSorter(inner).prepare()  # CycleError names the modules of a cycle


@pytest.mark.parametrize("name", sorted(MODULES))
def test_nothing_is_pickled_into_a_file(name: str) -> None:
    for node in ast.walk(parse(MODULES[name])):
        if isinstance(node, ast.Attribute):
            words = ast.unparse(node)
            assert not re.search(r"pickle\.(dump|load|Pickler|Unpickler)$", words), words
        elif isinstance(node, ast.ImportFrom) and node.module in {"pickle", "cloudpickle"}:
            taken = {alias.name for alias in node.names}
            assert not taken & {"dump", "load", "Pickler", "Unpickler"}, node.lineno
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert ast.unparse(node.value) == "False", f"allow_pickle in line {node.lineno}"


def test_every_error_is_ours_and_in_the_tree() -> None:
    tree = errors.__doc__ or ""
    own = {
        found
        for module in all_modules()
        for found in vars(module).values()
        if inspect.isclass(found)
        and issubclass(found, BaseException)
        and found.__module__.startswith("daskagents")
    }
    assert own >= {errors.DaskAgentsError, errors.UsageError}
    for error in own:
        assert issubclass(error, errors.DaskAgentsError), error
        assert error.__module__ == "daskagents.errors", f"{error} belongs into errors.py"
        bases = [base.__name__ for base in error.__bases__ if base.__module__ == "builtins"]
        shown = f"{error.__name__}({', '.join(bases)})" if bases else error.__name__
        if error is errors.DaskAgentsError:
            shown = error.__name__
        assert re.search(rf"\b{re.escape(shown)}(\s|$)", tree), f"{shown} is not in the tree"


def test_one_version() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert setup["metadata"]["version"] == "attr: daskagents.__version__"
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == daskagents.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", daskagents.__version__)


def test_dask_and_distributed_have_one_floor() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options"]["install_requires"].split("\n")
    floors = dict(line.split(" >=") for line in lines if line)
    assert floors["dask"] == floors["distributed"]


def test_importing_the_package_waits_for_nothing_that_it_may_not_need() -> None:
    said = (
        "import sys, daskagents as da;"
        "print(sorted({'dask', 'distributed', 'xarray', 'zarr', 'pandas'} & set(sys.modules)));"
        "print(set(da.__all__) <= set(dir(da)), all(hasattr(da, n) for n in da.__all__))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", said], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ended.stdout == "[]\nTrue True\n"
    with pytest.raises(AttributeError, match="no attribute 'Populaton'"):
        _ = daskagents.Populaton  # type: ignore[attr-defined]


def test_help_and_completion_wait_for_nothing_that_a_run_needs() -> None:
    said = (
        "import sys, daskagents.cli, daskagents.completing;"
        "print(sorted({'dask', 'distributed', 'xarray', 'zarr', 'pandas', 'openai', 'pyarrow',"
        " 'matplotlib', 'faker'} & set(sys.modules)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", said], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ended.stdout == "[]\n"
    assert flags.MAX_FAILED == session.MAX_FAILED


def test_what_workers_import_is_little() -> None:
    said = (
        "import sys, daskagents.cluster, daskagents.rounds;"
        "print(sorted({'dask.array', 'xarray', 'pandas', 'scipy', 'openai'} & set(sys.modules)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", said], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ended.stdout == "[]\n"
