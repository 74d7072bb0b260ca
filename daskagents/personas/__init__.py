"""Populations of different people, made from a file that describes them.

::

    spec = personas.load("country.yaml")     # checked: all problems at once, with their places
    people = personas.sample(spec)           # an xr.Dataset over "agent"; all shares are exact
    players = da.Population(Player, people)
    print(personas.report(spec, people))     # asked for against achieved
    written = personas.write(people, model=model)   # backgrounds, checked against the rows
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from daskagents.errors import SpecError

if TYPE_CHECKING:
    from daskagents.personas.backgrounds import Backgrounds
    from daskagents.personas.fitting import Raked
    from daskagents.personas.parquet import read_people
    from daskagents.personas.parsing import load, parse
    from daskagents.personas.raking import rake
    from daskagents.personas.reporting import Report, report
    from daskagents.personas.sampling import sample
    from daskagents.personas.spec import Spec
    from daskagents.personas.writing import write

__all__ = [
    "Backgrounds",
    "Raked",
    "Report",
    "Spec",
    "SpecError",
    "load",
    "parse",
    "rake",
    "read_people",
    "report",
    "sample",
    "write",
]

#: Where names are that are imported when first used: SciPy and Arrow take their time.
_LATER = {
    "Backgrounds": "backgrounds",
    "Raked": "fitting",
    "Report": "reporting",
    "Spec": "spec",
    "load": "parsing",
    "parse": "parsing",
    "rake": "raking",
    "read_people": "parquet",
    "report": "reporting",
    "sample": "sampling",
    "write": "writing",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'daskagents.personas' has no attribute {name!r}")
    value = getattr(import_module(f"daskagents.personas.{_LATER[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
