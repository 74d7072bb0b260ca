"""What a run directory says as JSON, without what is removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from daskagents.afterwards.removal import Removal
from daskagents.events import line_of, read_events

#: What ``run.json`` says that is no text of anybody.
_PLAIN = frozenset(
    "format status started ended id seed checkpoint_every max_failed fsync versions shared rounds"
    " lives budget environments".split()
)
#: The same for events, failures and interventions.
_NAMES = frozenset(
    "step round population method agents who env pieces blocks attempts cls kinds block status life"
    " steps first number direct enter leave agent error environment made".split()
)
#: Digests, by which what was removed could be guessed and found right.
_DIGESTS = frozenset({"input", "table", "digest"})
_CLASS = frozenset({"module", "name"})
_SAID = frozenset({"message", "answer"})


def without_texts(about: Mapping[str, Any], removal: Removal) -> dict[str, Any]:
    """Return what ``run.json`` says."""
    found: dict[str, Any] = {}
    for key, value in about.items():
        if key in _PLAIN or value is None:
            found[key] = value
        elif key in _ABOUT:
            found[key] = _ABOUT[key](value, removal)
        else:
            found[key] = removal.walk("run.json", value)
    return found


def _workflow(value: Any, removal: Removal) -> Any:
    paths = {n: removal.text("run.json", value[n]) for n in ("file", "program") if n in value}
    parameters = removal.walk("parameters", value.get("parameters", {}))
    return {**value, **paths, "digest": "", "parameters": parameters}


def _program(value: Any, removal: Removal) -> Any:
    def refer(said: Any) -> Any:
        return removal.walk("run.json", said, removal.text, _CLASS)

    populations = {
        key: {
            **of,
            "name": removal.renamed(of.get("name")),
            "class": refer(of["class"]),
            "digest": "",
            "model": removal.walk("model", of.get("model"), keep=_CLASS),
        }
        for key, of in value.get("populations", {}).items()
    }
    worlds = {
        key: {**of, "tree": refer(of["tree"]), "digest": ""}
        for key, of in value.get("environments", {}).items()
    }
    files = {
        removal.text("run.json", path): {"digest": "", "copy": removal.text("program", of["copy"])}
        for path, of in value.get("files", {}).items()
    }
    arguments = {
        name: removal.walk("parameters", {name: node}, keep=_CLASS | {"population", "environment"})
        for name, node in value.get("arguments", {}).items()
    }
    return {
        **value,
        "workflow": refer(value["workflow"]),
        "arguments": {name: node.get(name) for name, node in arguments.items()},
        "populations": populations,
        "environments": worlds,
        "files": files,
    }


def _populations(value: Any, removal: Removal) -> Any:
    return {
        key: {
            **of,
            "name": removal.renamed(of.get("name")),
            "model": removal.free("model", of.get("model", "")),
        }
        for key, of in value.items()
    }


_ABOUT: dict[str, Callable[[Any, Removal], Any]] = {
    "workflow": _workflow,
    "program": _program,
    "populations": _populations,
    "usage": lambda value, removal: removal.walk("run.json", value, removal.text),
    "model": lambda value, removal: removal.free("model", value),
    "model_made_with": lambda value, removal: removal.walk("model", value, keep=_CLASS),
}


def copy_lines(source: Path, target: Path, removal: Removal) -> None:
    """Copy events, failures or interventions: a line of JSON each, with a checksum."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", encoding="utf-8") as file:
        for event in read_events(source):
            kind = event.pop("event")
            event.pop("crc", None)
            file.write(line_of(kind, dict(_fields(event, removal, source.stem)), str))


def _fields(event: Mapping[str, Any], removal: Removal, place: str) -> Iterator[tuple[str, Any]]:
    """Yield what is left of one line."""
    place = place if place in ("events", "interventions") else "failures"
    for key, value in event.items():
        if key == "population":
            yield key, removal.renamed(value)
        elif key in _NAMES:
            yield key, value
        elif key in _DIGESTS:
            yield key, ""
        elif key == "said":  # a value that the workflow read, of which nobody knows what it is
            removal.counts["values read"] += 1
        elif key == "where" and isinstance(value, str):
            yield key, removal.text(place, value)
        elif key in _SAID:
            yield key, removal.walk(place, value, removal.said)
        else:
            yield key, removal.walk(place, value)


def given_names(about: Mapping[str, Any]) -> list[str]:
    """Return the names that populations and named agents were given, and nothing else has."""
    program = about.get("program", {}).get("populations", {})
    dims = {of.get("dim", "") for of in program.values()}
    names = [of.get("name", "") for of in about.get("populations", {}).values()]
    return [name for name in names if name not in about.get("populations", {}) and name not in dims]


def names_in(about: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """Yield the names that a run cannot be read without."""
    yield from ("agent", "round", "failed", about.get("workflow", {}).get("name", ""))
    for key, of in about.get("populations", {}).items():
        yield from (key, of.get("name", ""), of.get("class", ""), of.get("module", ""))
        yield from of.get("fields", {})
    for key, of in about.get("program", {}).get("populations", {}).items():
        yield from (key, of.get("name") or "", of.get("dim", ""), *of.get("columns", ()))
    for key, of in about.get("environments", {}).items():
        yield from (key, of.get("class", ""), of.get("module", ""), *of.get("fields", {}))
    known: set[str] = set()
    for event in read_events(folder / "events.jsonl"):
        names = [event.get(key, "") for key in ("population", "method", "cls", "env")]
        names += [name for name, _ in event.get("kinds", ())]
        known |= set(names)
    yield from sorted(known)


__all__ = ["copy_lines", "given_names", "names_in", "without_texts"]
