"""A copy of a run directory without some of its texts, for sharing."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zarr

from daskagents.afterwards.collecting import Kept, texts_of_fields
from daskagents.afterwards.columns import copy_block, copy_version
from daskagents.afterwards.copied_journal import copy_journal
from daskagents.afterwards.copied_lines import copy_lines, given_names, names_in, without_texts
from daskagents.afterwards.copied_zarr import copy_zarr
from daskagents.afterwards.literals import SHORTEST
from daskagents.afterwards.removal import MARK, Removal, Texts
from daskagents.errors import FolderError, UsageError
from daskagents.lock import Lock
from daskagents.past import read_checkpoint, write_checkpoint
from daskagents.store import file_name, write_about
from daskagents.tasks import writing

if TYPE_CHECKING:
    from daskagents.opened import OpenRun

#: What is copied of a checkpoint's state as it is.
_STATE = frozenset({"owner", "dims", "dtype", "kinds", "axes", "coords"})


@dataclass(frozen=True)
class Redacted:
    """What was removed.

    Parameters
    ----------
    folder
        The copy.
    counts
        How many texts and values were removed, by place.
    left_out
        Files and folders that were not copied.
    notes
        What cannot be known, and what cannot be done with the copy.
    """

    folder: Path
    counts: Mapping[str, int]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.folder}: a copy with {sum(self.counts.values()):,} texts removed"]
        lines += [f"  {count:>9,}  {place}" for place, count in sorted(self.counts.items())]
        if self.left_out:
            lines.append(f"not copied: {', '.join(self.left_out)}")
        return "\n".join([*lines, *self.notes])


def redact(
    run: OpenRun,
    path: str | os.PathLike[str],
    *,
    fields: str | Iterable[str] = (),
    patterns: str | Iterable[str] = (),
    texts: Texts | None = None,
) -> Redacted:
    """Copy a run directory without some of its texts; see `OpenRun.redact`."""
    removal = _removal(fields, patterns, texts)
    source, target = run.folder, Path(path).expanduser().absolute()
    with _free(source, target):
        kept = Kept(source)
        if removal.fields:
            found = texts_of_fields(source, run.about, removal.fields, kept)
            if texts != "all":
                removal.literals.add(found)
        removal.rename(given_names(run.about))
        names = {*names_in(run.about, source), *_names_of_arrays(kept)}
        removal.check_names(sorted(names - removal.names.keys()))
        with writing(target):
            left = sorted(_copy(source, target, run.about, kept, removal))
    counts = {place: count for place, count in removal.counts.items() if count}
    return Redacted(target, counts, tuple(left), tuple(_notes(removal)))


def _removal(fields: Any, patterns: Any, texts: Any) -> Removal:
    """Return what is to be removed, checked."""
    fields = frozenset([fields] if isinstance(fields, str) else fields)
    given = [patterns] if isinstance(patterns, str) else list(patterns)
    if texts not in (None, "all", "journal"):
        raise UsageError(f"texts is {texts!r}; give 'all' or 'journal'")
    if not fields and not given and texts is None:
        raise UsageError(
            "say what to remove: fields by name (--field NAME), what a pattern finds (--pattern"
            " REGEX), or whole texts (--texts journal, --texts all)"
        )
    compiled = []
    for each in given:
        try:
            compiled.append(re.compile(each))
        except re.error as error:
            raise UsageError(f"the pattern {each!r} is no regular expression: {error}") from None
    return Removal(fields, compiled, texts)


@contextmanager
def _free(source: Path, target: Path) -> Iterator[None]:
    """Refuse a copy that would mix with something; remove what there is of it if it fails."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FolderError(f"{target} is not empty; choose an empty or new folder for the copy")
    if target.resolve().is_relative_to(source.resolve()):
        raise FolderError(f"{target} is within {source}; choose a folder elsewhere")
    _check_ended(source)
    there = target.exists()
    try:
        yield
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        if there:
            target.mkdir(exist_ok=True)
        raise


def _check_ended(source: Path) -> None:
    """Refuse a run that is under way: its files change while they are read."""
    if Lock.held(source):
        raise FolderError(f"{source} is being written by a run; wait until it ends, or end it")


def _names_of_arrays(kept: Kept) -> Iterator[str]:
    """Yield the names of results and surveys, and of their arrays."""
    for path in kept.groups:
        yield path.stem
        yield from (name for name, _ in zarr.open_group(path, mode="r").arrays())


def _copy(
    source: Path, target: Path, about: Mapping[str, Any], kept: Kept, removal: Removal
) -> Iterator[str]:
    """Copy all that can be read without the run; yield what is left out."""
    target.mkdir(parents=True, exist_ok=True)
    copied = _copy_tables(source, target, about, kept, removal)
    for name in ("events.jsonl", "interventions.jsonl", "failures/*/*.jsonl"):
        for path in sorted(source.glob(name)):
            copy_lines(path, target / path.relative_to(source), removal)
            copied.add(path)
    for folder in (source, *sorted(source.glob("surveys/*"))):
        if (folder / "journal").is_dir() and (folder / "events.jsonl").exists():
            copy_journal(folder, target / folder.relative_to(source), removal)
            copied.add(folder / "journal")
    for path in sorted(source.glob("checkpoints/*/state.json")):
        checkpoint = read_checkpoint(path.parent)
        if checkpoint is not None:
            state = removal.walk("checkpoints", checkpoint.state, removal.text, _STATE)
            state = removal.renamed(state)
            (target / path.parent.relative_to(source)).mkdir(parents=True, exist_ok=True)
            write_checkpoint(target / path.parent.relative_to(source), state)
            copied.add(path)
    for path in sorted(source.glob("program/*")):
        copy = target / "program" / removal.text("program", path.name)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(removal.bytes("program", path.read_bytes()))
        copied.add(path)
    said = without_texts(about, removal)
    said["redacted"] = {
        "made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "fields": sorted(removal.fields),
        "patterns": len(removal.patterns),
        "texts": removal.texts,
        "removed": dict(removal.counts),
    }
    write_about(target, said)
    yield from _others(source, copied)


def _copy_tables(
    source: Path, target: Path, about: Mapping[str, Any], kept: Kept, removal: Removal
) -> set[Path]:
    """Copy blocks, versions and results; return what was copied."""
    fields = {file_name(of["name"]): of["fields"] for of in about.get("populations", {}).values()}
    worlds = {
        file_name(name): {tuple(json.loads(path)): label for path, label in of["fields"].items()}
        for name, of in about.get("environments", {}).items()
    }
    folders = {file_name(old): file_name(new) for old, new in removal.names.items()}
    for path in kept.blocks:
        labels, parts = fields.get(path.parent.name, {}), path.relative_to(source).parts
        copy = target.joinpath(*parts[:-2], folders.get(parts[-2], parts[-2]), parts[-1])
        copy_block(path, copy, labels, removal)
    for path in kept.versions:
        kinds = worlds.get(path.parent.name, {})
        copy_version(path, target / path.relative_to(source), kinds, removal)
    for path in kept.groups:
        copy_zarr(path, target / path.relative_to(source), removal, path.stem)
    return {*kept.blocks, *kept.versions, *kept.groups}


def _others(source: Path, copied: set[Path]) -> Iterator[str]:
    """Yield what of a run directory was not copied, each folder as a whole where that is so."""
    around = {parent for path in copied for parent in path.parents}

    def within(folder: Path) -> Iterator[str]:
        for path in sorted(folder.iterdir()):
            name = str(path.relative_to(source))
            if path in around:
                yield from within(path)
            elif path not in copied and name not in ("run.lock", "run.json"):
                yield name

    yield from within(source)


def _notes(removal: Removal) -> Iterator[str]:
    """Yield what the reader has to know."""
    if removal.fields and removal.texts != "all":
        yield (
            f"Values of these fields were removed where they are kept, and wherever their very"
            f" texts stand (of {SHORTEST} characters or more). What they were between checkpoints,"
            " numbers, and what was told in other words is not known: --texts journal or --texts"
            " all removes it too."
        )
    yield (
        "Numbers, names of populations, fields and models, dates and the times of answers stay."
        f" Each removed text is {MARK} now. The copy can be opened, reported and exported; it"
        " cannot be resumed or replayed."
    )
