"""The results of a run as files for pandas and R, with a codebook."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from daskagents.afterwards.codebook import Written, write_codebook
from daskagents.afterwards.frames import Frame, frames_of
from daskagents.afterwards.meanings import Meanings
from daskagents.afterwards.writing import write_tables
from daskagents.errors import UsageError
from daskagents.options import did_you_mean
from daskagents.store import file_name

if TYPE_CHECKING:
    from daskagents.opened import OpenRun

_ENDS = (".parquet", ".csv")


def export(
    run: OpenRun,
    path: str | os.PathLike[str],
    *,
    population: str | None = None,
    rounds: slice | str | None = None,
) -> list[Path]:
    """Write the results of a run as tables; see `OpenRun.export`."""
    target = Path(path).expanduser()
    results = _rounds(run.results, rounds)
    frames = _chosen(frames_of(results), population, run.about)
    if not results.sizes.get("round") or not frames:
        raise UsageError(f"{run.folder} has no round in its results, so there is nothing to export")
    folder, stem, end = _place(target)
    written = []
    for at, frame in enumerate(frames):
        file = folder / f"{stem}{file_name(frame.name)}{end}"
        if at == 0 and frame.dims and target.suffix in _ENDS:
            file = target
        seen = write_tables(frame.tables(), frame.schema(), file)
        written.append(Written(file, frame, seen))
    more = write_codebook(written, Meanings(run.folder, run.about), folder, stem)
    return [*(one.path for one in written), *more]


def _place(target: Path) -> tuple[Path, str, str]:
    """Return in which folder the files are, and how their names begin and end."""
    if target.suffix in _ENDS and not target.is_dir():
        return target.parent, f"{target.stem}_", target.suffix
    if target.is_file() or (target.suffix and not target.is_dir()):
        raise UsageError(f"{target}: give a file that ends with .parquet or .csv, or a folder")
    return target, "", ".parquet"


def _rounds(results: xr.Dataset, wanted: slice | str | None) -> xr.Dataset:
    """Return some rounds: those of a slice, or of a text such as ``2:5``."""
    if wanted is None:
        return results
    if isinstance(wanted, str):
        try:
            parts = [int(part) if part.strip() else None for part in wanted.split(":")]
        except ValueError:
            parts = []
        if len(parts) not in (1, 2) or (None in parts and len(parts) == 1):
            raise UsageError(f"rounds {wanted!r}: give A:B, from round A on and before round B")
        (first,) = parts[:1]
        wanted = slice(first, parts[1]) if len(parts) == 2 else slice(first, (first or 0) + 1)
    return results.isel(round=wanted)


def _chosen(frames: list[Frame], population: str | None, about: Mapping[str, Any]) -> list[Frame]:
    """Return the tables of one population and of the rounds; all where none is named."""
    if population is None:
        return frames
    dims = {}
    for key, of in about.get("program", {}).get("populations", {}).items():
        dims[about.get("populations", {}).get(key, {}).get("name", key)] = of.get("dim", "")
    dim = dims.get(population, population)
    own = [frame for frame in frames if frame.dims == (dim,)]
    if not own:
        known = sorted({*dims, *(frame.dims[0] for frame in frames if len(frame.dims) == 1)})
        raise UsageError(
            f"there is no population {population!r} in the results"
            f" ({', '.join(known) or 'there are none'}){did_you_mean(population, known)}"
        )
    return [*own, *(frame for frame in frames if not frame.dims)]
