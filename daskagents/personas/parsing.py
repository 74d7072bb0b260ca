"""From a file, or a mapping, to a `Spec`: all problems are found before anything is sampled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from daskagents.errors import SpecError
from daskagents.personas import kinds as read
from daskagents.personas.conditions import read_conditions
from daskagents.personas.expressions import parse_expression
from daskagents.personas.kinds import BOUNDS, Context, Read
from daskagents.personas.nodes import Node, Problems, hint
from daskagents.personas.numbers import FAMILIES
from daskagents.personas.paper import from_paper, is_paper
from daskagents.personas.reading import node_of, read_file, read_text
from daskagents.personas.spec import Field, Spec
from daskagents.personas.templates import parse_template
from daskagents.personas.values import Kind, field_name, number

Reader = Callable[[Sequence[Node], Context], Read]

READERS: dict[str, Reader] = {
    "proportions": read.read_shares(adds_up=True),
    "weights": read.read_shares(adds_up=False),
    "joint": read.read_joint,
    "microdata": read.read_microdata,
    **{name: read.read_family(name) for name in FAMILIES},
    "constant": read.read_constant,
    "sequence": read.read_sequence,
    "expression": read.read_expression,
    "template": read.read_template,
    "name": read.read_names,
}
#: What may stand under `given`, and what may be rounded and bounded.
BRANCHED = {"proportions", "weights", "joint", *FAMILIES, "constant", "name"}
BOUNDED = {*FAMILIES, "expression"}
#: What makes several fields at once.
JOINT = {"joint", "microdata"}
TOP = ("size", "seed", "fields", "persona", "description")
#: Most people: what NumPy can draw hypergeometric numbers for.
MOST = 10**9


def load(path: str | Path) -> Spec:
    r"""Read a population from a YAML or JSON file; see ``docs/populations.md``.

    Parameters
    ----------
    path
        The file. Tables that it names are looked for in its folder.

    Raises
    ------
    SpecError
        With all that is wrong, and the line and column of each.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "people.yaml"
    ...     _ = path.write_text("size: 100\nfields:\n  age: {uniform: {min: 18, max: 95}}")
    ...     load(path)
    <Spec of 100 people; fields: age>
    """
    path = Path(path)
    problems = Problems(path.name)
    return _spec(read_file(path, problems), problems, path.parent)


def parse(given: Mapping[str, Any] | str, folder: str | Path | None = None) -> Spec:
    """Read a population from a mapping that is as a file would be, or from the text of one.

    Parameters
    ----------
    given
        With ``size`` and ``fields``, and perhaps ``seed`` and ``persona``; or YAML.
    folder
        Where tables are looked for that it names; by default the current one.

    Raises
    ------
    SpecError
        With all that is wrong.

    Examples
    --------
    >>> parse({"size": 10, "fields": {"x": {"proportions": {"a": 0.5, "b": 0.7}}}})
    Traceback (most recent call last):
        ...
    daskagents.errors.SpecError: the population has a problem:
      fields.x.proportions: the proportions add up to 1.2, not 1; make them add up to 1 (a third \
is 1/3), or write `weights`
    """
    problems = Problems()
    top = read_text(given, problems) if isinstance(given, str) else node_of(given)
    return _spec(top, problems, Path(folder) if folder is not None else None)


def _spec(top: Node, problems: Problems, folder: Path | None) -> Spec:
    """Read the top of a file, then each field in turn."""
    if not top.is_mapping:
        raise SpecError(
            f"{problems.source or 'the population'} is {top.said}, not a mapping with size, fields"
        )
    if is_paper(top):
        top = from_paper(top, problems)
    for key, _ in top.value:
        if key.value not in TOP:
            problems.add(key, f"unknown{hint(key.value, TOP)}")
    size = _whole(top, "size", None, problems)
    seed = _whole(top, "seed", 0, problems)
    fields = top.get("fields")
    made: list[Field] = []
    if fields is None or not fields.is_mapping or not fields.value:
        problems.add(fields or top, "give `fields`: a mapping with a field for each property")
    else:
        made = _Fields(fields, top.get("persona"), problems, folder).read()
    problems.raise_all()
    assert size is not None and seed is not None  # else there was a problem
    return Spec(size, seed, tuple(made), problems.source)


def _whole(top: Node, name: str, default: int | None, problems: Problems) -> int | None:
    """Read the size or the seed."""
    node = top.get(name)
    if node is None:
        if default is None:
            problems.add(top, f"give `{name}`: how many people there are")
        return default
    found = number(node, problems, whole=True)
    if found is None:
        return None
    if name == "size" and not 1 <= found <= MOST:
        problems.add(node, f"is {int(found)}; a population has 1 to {MOST:,} people")
        return None
    return int(found)


class _Fields:
    """Reads fields one after another; each may use those before it."""

    def __init__(
        self, node: Node, persona: Node | None, problems: Problems, folder: Path | None
    ) -> None:
        self.problems, self.folder = problems, folder
        self.rows = [(_names(key), key, value) for key, value in node.value]
        if persona is not None:
            key = Node("persona", persona.path, persona.place)
            body = Node([(Node("template"), persona)], persona.path, persona.place, is_mapping=True)
            self.rows.append((["persona"], key, body))
        #: All names, and what each refers to, so that a cycle can be told from a wrong order.
        self.refers = {name: _refers(value) for names, _, value in self.rows for name in names}
        self.cycles: list[set[str]] = []
        self.kinds: dict[str, Kind] = {}
        #: Names of fields that have problems: what uses them is not to blame.
        self.broken: set[str] = set()

    def read(self) -> list[Field]:
        """Return all fields that could be read."""
        found = []
        for names, key, node in self.rows:
            if not self._may_be_called(names, key):
                self.broken |= {*names}
                continue
            made = self._field(tuple(names), node)
            if made is None:
                self.broken |= {*names}
            else:
                found.append(made)
                self.kinds |= dict(zip(made.names, made.kinds, strict=True))
        return found

    def _may_be_called(self, names: Sequence[str], key: Node) -> bool:
        """Whether names can be used; what is wrong is noted."""
        before = len(self.problems.found)
        for name in names:
            with self.problems.caught(key):
                field_name(name)
                if name in self.kinds or name in self.broken or names.count(name) > 1:
                    raise SpecError(f"there is a field {name!r} already; rename one of them")
        return len(self.problems.found) == before

    def _field(self, names: tuple[str, ...], node: Node) -> Field | None:
        """Read one field."""
        if node.is_scalar and node.value is not None:  # `country: Utopia`
            node = Node([(Node("constant"), node)], node.path, node.place, is_mapping=True)
        kind = self._kind(names, node)
        if kind is None:
            return None
        body, given = node.get(kind), node.get("given")
        assert body is not None
        bounds = {str(key): child for key, child in node.items() if key in BOUNDS}
        context = Context(names, self.kinds, self.problems, self.folder, bounds)
        wanted = [] if given is None else _texts(given)
        known = self._known(names, node)
        if given is None:
            read = READERS[kind]([body], context) if known else None
            return None if read is None else Field(names, *read)
        cells = read_conditions(wanted, body, self.kinds, self.problems) if known else None
        if cells is None:  # what its branches say is looked at all the same
            for branch in _branches(body, len(wanted)) if kind != "name" else ():
                READERS[kind]([branch], context)
            return None
        read = READERS[kind](cells[1], context)
        return None if read is None else Field(names, *read, cells[0])

    def _kind(self, names: tuple[str, ...], node: Node) -> str | None:
        """Return how a field is made; its keys are checked."""
        if not node.is_mapping:
            self.problems.add(node, f"is {node.said}, not a mapping such as {{proportions: ...}}")
            return None
        found = [str(key) for key, _ in node.items() if key in READERS]
        if len(found) != 1:
            said = f"has {' and '.join(found)}; keep one" if found else "says not how it is made"
            other = [key for key, _ in node.items() if key not in (*BOUNDS, "given")]
            cure = hint(other[0], READERS) if other and not found else ""
            self.problems.add(node, f"{said}{cure or '; give one of ' + ', '.join(READERS)}")
            return None
        kind = found[0]
        for key, _ in node.value:
            if key.value == kind or (key.value == "given" and kind in BRANCHED):
                continue
            if key.value in BOUNDS and kind in BOUNDED:
                continue
            if key.value == "given" or key.value in BOUNDS:
                cure = "; write `a if b else c`" if kind == "expression" else ""
                self.problems.add(key, f"cannot stand with {kind}{cure}")
            else:
                known = [kind, *(["given"] if kind in BRANCHED else []), *BOUNDS]
                self.problems.add(key, f"unknown{hint(key.value, known)}")
            return None
        if (len(names) > 1) != (kind in JOINT) and kind != "microdata":
            said = f"{kind} makes one field" if kind not in JOINT else "joint makes several fields"
            self.problems.add(node, f"{said}, not {len(names)}")
            return None
        return kind

    def _known(self, names: tuple[str, ...], node: Node) -> bool:
        """Whether all fields that are referred to come earlier; what is wrong is noted."""
        given = node.get("given")
        if given is not None and not _texts(given):
            self.problems.add(given, f"is {given.said}; name a field, or a list of fields")
            return False
        if given is not None and len({*_texts(given)}) < len(_texts(given)):
            self.problems.add(given, "names a field twice")
            return False
        fine = True
        for name in self.refers[names[0]]:
            if name in self.kinds:
                continue
            fine = False
            if name in self.broken:
                continue
            at = given if given is not None and name in _texts(given) else node
            if name not in self.refers:
                known = [*self.kinds, *sorted(self.broken)]
                self.problems.add(at, f"there is no field {name!r}{hint(name, known)}")
            elif cycle := self._cycle(name, names[0]):
                if {*cycle} not in self.cycles:  # each is said once
                    self.problems.add(at, f"is a cycle: {' needs '.join([names[0], *cycle])}")
                self.cycles.append({*cycle})
            else:
                self.problems.add(at, f"{name!r} is a later field; move it above {names[0]!r}")
        return fine

    def _cycle(self, name: str, goal: str) -> list[str] | None:
        """Return the way by which a field needs another one, if it does."""
        waiting, seen = [[name]], {name}
        while waiting:
            way = waiting.pop(0)
            if way[-1] == goal:
                return way
            for following in self.refers.get(way[-1], ()):
                if following not in seen:
                    seen.add(following)
                    waiting.append([*way, following])
        return None


def _branches(node: Node, depth: int) -> Iterator[Node]:
    """Yield the branches of a field, below so many conditions, as far as there are any."""
    if not depth:
        yield node
    elif node.is_mapping:
        for _, child in node.value:
            yield from _branches(child, depth - 1)


def _names(key: Node) -> list[str]:
    """Return the names of a key, which for a joint table are several."""
    parts = [part.strip() for part in str(key.value).split(",")]
    return parts if all(parts) else [str(key.value)]


def _texts(node: Node) -> list[str]:
    """Return a text, or a list of texts, as a list; it is empty for anything else."""
    if isinstance(node.value, str):
        return [part.strip() for part in node.value.split(",")]
    if node.is_list and all(isinstance(part.value, str) for part in node.value):
        return [part.value for part in node.value]
    return []


def _refers(node: Node) -> tuple[str, ...]:
    """Return the names that a field refers to, as far as it can be read."""
    found: list[str] = []
    if (given := node.get("given")) is not None:
        found += _texts(given)
    for kind, parse_one in (("expression", parse_expression), ("template", parse_template)):
        body = node.get(kind)
        if body is not None and isinstance(body.value, str):
            try:
                found += parse_one(body.value).names
            except SpecError:
                continue  # it is said where the field is read
    names = node.get("name")
    for leaf in [names] if names is not None else []:
        sex = leaf.get("sex")
        if sex is not None and isinstance(sex.value, str):
            found.append(sex.value)
    return tuple(dict.fromkeys(found))
