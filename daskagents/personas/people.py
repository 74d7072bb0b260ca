"""People in files, as the command line takes them: described by distributions, or one by one."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from daskagents.agent import Agent
from daskagents.errors import UsageError
from daskagents.options import did_you_mean
from daskagents.population import Population
from daskagents.words import step_key

_SPECS, _PARQUET, _CSV = (".yaml", ".yml", ".json"), (".parquet", ".pq"), (".csv",)


def people_in(
    path: Path, n: int | None = None, seed: int = 0, texts: Collection[str] = ()
) -> xr.Dataset:
    """Return the people of a file: sampled, where it describes a population.

    Parameters
    ----------
    path
        A .yaml or .json file that describes a population, or a .parquet or .csv file of people.
    n
        How many; by default as many as the file says or has. Of a table some rows, by chance and in
        their order.
    seed
        Chooses these.
    texts
        Columns of a .csv file that are texts, whatever they look like.

    Raises
    ------
    UsageError
        If there is no such file, it cannot be read, or has fewer people.
    """
    if not path.is_file():
        near = did_you_mean(path.name, (p.name for p in path.parent.glob("*")))
        raise UsageError(f"{path}: there is no such file{near}")
    kind = path.suffix.lower()
    if kind in _SPECS:
        from daskagents.personas import load, sample

        return sample(load(path), n)
    if kind in _PARQUET:
        from daskagents.personas import read_people

        found = read_people(path)
    elif kind in _CSV:
        found = _read_csv(path, texts)
    else:
        known = ", ".join((*_SPECS, *_PARQUET, *_CSV))
        raise UsageError(f"{path}: give a file of people, one of {known}")
    size = found.sizes["agent"]
    if n is None or n == size:
        return found
    if n > size:
        raise UsageError(f"{path} has {size:,} people, and {n:,} are asked for")
    draw = np.random.Generator(np.random.Philox(step_key(seed, "people", 0)))
    rows = np.sort(draw.permutation(size)[:n])
    return found.isel(agent=rows).assign_coords(agent=np.arange(n))


def _read_csv(path: Path, texts: Collection[str]) -> xr.Dataset:
    try:
        # a country code NA is a text; only nothing is missing
        table = pd.read_csv(
            path, dtype=dict.fromkeys(texts, str), keep_default_na=False, na_values=[""]
        )
    except (ValueError, OSError, pd.errors.ParserError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    columns = {str(name): ("agent", table[name].to_numpy()) for name in table.columns}
    return xr.Dataset(columns, coords={"agent": np.arange(len(table))})


def population_in(
    path: Path, cls: type[Agent], n: int | None = None, seed: int = 0
) -> tuple[Population, list[str]]:
    """Make a population of the people of a file.

    Of their columns those count that are fields of the class.

    Returns
    -------
    population, list of str
        And the columns that were left out.

    Raises
    ------
    UsageError
        If no column is a field, a field without a default has none, or a value does not fit.
    """
    fields = {name: field for name, field in cls.__fields__.items() if not name.startswith("_")}
    texts = [name for name, field in fields.items() if field.label.startswith("str")]
    people = people_in(path, n, seed, texts)
    names = [str(name) for name in people.data_vars]
    taken = [name for name in names if name in fields]
    if not taken:
        example = names[0] if names else "age"
        raise UsageError(
            f"{path} has the columns {', '.join(names) or 'none'}, and {cls.__name__} the fields"
            f" {', '.join(fields) or 'none'}: none fits; declare one in the class, as"
            f" `{example}: {_annotation(people, example)}`"
        )
    try:
        made = Population(cls, people[taken])
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    return made, [name for name in names if name not in taken]


def _annotation(people: xr.Dataset, name: str) -> str:
    kinds: dict[str, str] = {
        "i": "int = 0",
        "u": "int = 0",
        "f": "float = 0.0",
        "b": "bool = False",
    }
    values: Any = people.get(name)
    return kinds.get(values.dtype.kind if values is not None else "", 'str = ""')
