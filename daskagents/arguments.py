"""Arguments of a workflow from what a command line says: populations and options."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from daskagents.agent import Agent
from daskagents.errors import UsageError
from daskagents.loading import Program, own
from daskagents.options import did_you_mean, hints_of, read
from daskagents.population import Population
from daskagents.reporting import tell
from daskagents.running import run

#: Agents of a population whose size nobody said.
AGENTS = 100

_RUN = frozenset(
    name for name, p in inspect.signature(run).parameters.items() if p.kind is p.KEYWORD_ONLY
)


def arguments(
    program: Program,
    options: Mapping[str, str],
    agents: int | None = None,
    people: Sequence[str] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """Make the arguments of a workflow from texts.

    A parameter that is annotated with an agent class, or ``Annotated[Population, AgentClass]``,
    gets a population of that class; so does one that has neither an annotation nor a default, if
    the file has one agent class. An option of its name chooses another class of the file, or a
    function of the file that returns a population: its parameters are options too, but for
    ``agents``, the number of agents. Every other parameter is an option.

    Parameters
    ----------
    program
        The workflow.
    options
        Values by name, as texts; they are read as the annotation of the parameter says, or as
        the type of its default. A float may be a fraction such as ``2/3``.
    agents
        Rows of each population; None for 100, what a function says by default, or all people of a
        file.
    people
        Files of people that populations are made of: ``"FILE"``, or ``"NAME=FILE"`` where the
        workflow takes several populations.
    seed
        Chooses the people, where a file has more than `agents`.

    Raises
    ------
    UsageError
        If there is no such parameter, or a value cannot be read or does not fit.

    """
    if agents is not None and agents < 1:
        raise UsageError(f"--agents {agents}: give 1 or more")
    parameters = inspect.signature(program.workflow).parameters
    chosen = {
        name: _maker(program, name, cls, options.get(name)) for name, cls in takes(program).items()
    }
    files = _files(program, people, list(chosen))
    readers = [program.workflow, *(m for m in chosen.values() if not isinstance(m, type))]
    _check_names(program, options, readers)
    found = read(program.workflow, options, skip=chosen)
    for name, maker in chosen.items():
        if name in files:
            found[name] = _of_people(name, maker, files[name], agents, seed)
        else:
            found[name] = _make(program, maker, options, agents)
    for name, p in parameters.items():
        if name not in found and p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD:
            raise UsageError(f"{program.workflow.__name__} needs {name}: add -p {name}=...")
    return found


def takes(program: Program) -> dict[str, type[Agent]]:
    """Return the parameters of a workflow that are populations, and the class of each.

    Raises
    ------
    UsageError
        If it cannot be said of which class.

    """
    parameters = inspect.signature(program.workflow).parameters
    classes = {name: _class_for(program, p) for name, p in parameters.items()}
    return {name: cls for name, cls in classes.items() if cls is not None}


def makers(program: Program) -> dict[str, Any]:
    """Return the classes and functions of a file that a population can be made by."""
    return own(program.module, lambda v: _is_agent_class(v) or _makes_population(v))


def _class_for(program: Program, parameter: inspect.Parameter) -> type[Agent] | None:
    """Return the class that a parameter is to be a population of; None where it is an option."""
    hint: Any = hints_of(program.workflow).get(parameter.name)
    if _is_agent_class(hint):
        return hint  # type: ignore[no-any-return]
    if typing.get_origin(hint) is typing.Annotated:
        return next((cls for cls in typing.get_args(hint) if _is_agent_class(cls)), None)
    bare = parameter.annotation is parameter.empty and parameter.default is parameter.empty
    if hint is not Population and not (bare and parameter.kind is parameter.POSITIONAL_OR_KEYWORD):
        return None
    classes = own(program.module, _is_agent_class)
    if len(classes) == 1:
        return next(iter(classes.values()))  # type: ignore[no-any-return]
    name = f"{program.workflow.__name__}({parameter.name})"
    if not classes:
        raise UsageError(f"{program.file}: there is no agent class for {name}")
    raise UsageError(
        f"{program.file}: {name} could be a population of {', '.join(classes)}; say which:"
        f" {parameter.name}: {next(iter(classes))}"
    )


def _is_agent_class(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Agent) and value is not Agent


def _maker(
    program: Program, parameter: str, default: type[Agent], chosen: str | None
) -> type[Agent] | Callable[..., Any]:
    """Return what makes the population of a parameter: a class, or a function of the file."""
    if chosen is None:
        return default
    choices = makers(program)
    choices.setdefault(default.__name__, default)
    if chosen not in choices:
        raise UsageError(
            f"{parameter}={chosen}: there is no such class or function in {program.file}; choose"
            f" one of {', '.join(choices)}{did_you_mean(chosen, choices)}"
        )
    return choices[chosen]  # type: ignore[no-any-return]


def _makes_population(value: Any) -> bool:
    if not inspect.isfunction(value) or inspect.isgeneratorfunction(value):
        return False
    return typing.get_type_hints(value).get("return") is Population


def _make(
    program: Program,
    maker: type[Agent] | Callable[..., Any],
    options: Mapping[str, str],
    agents: int | None,
) -> Any:
    """Make one population."""
    if isinstance(maker, type):
        return Population(maker, AGENTS if agents is None else agents)
    found = read(maker, options)
    if "agents" in (parameters := inspect.signature(maker).parameters):
        if agents is not None or parameters["agents"].default is inspect.Parameter.empty:
            found["agents"] = AGENTS if agents is None else agents
    elif agents is not None:
        raise UsageError(f"{maker.__name__} says itself how many agents there are; leave --agents")
    try:
        return maker(**found)
    except (ValueError, TypeError, OSError) as error:
        raise UsageError(f"{program.line_of(error)}{error}") from error


def _files(program: Program, people: Sequence[str], names: list[str]) -> dict[str, Path]:
    """Return the file of people for each parameter that has one."""
    found: dict[str, Path] = {}
    workflow = program.workflow.__name__
    for said in people:
        name, equals, path = said.partition("=")
        if not equals or (name not in names and Path(said).exists()):
            if len(names) != 1:
                takes = f"the populations {', '.join(names)}" if names else "no population"
                cure = f"; say which: --population {names[0]}={said}" if names else ""
                raise UsageError(f"--population {said}: {workflow} takes {takes}{cure}")
            name, path = names[0], said
        if name not in names:
            raise UsageError(
                f"--population {said}: {workflow} takes no population {name!r}; it takes"
                f" {', '.join(names) or 'none'}{did_you_mean(name, names)}"
            )
        if name in found:
            raise UsageError(f"--population {said}: {name} has a file already, {found[name]}")
        found[name] = Path(path).expanduser()
    return found


def _of_people(
    name: str, maker: type[Agent] | Callable[..., Any], path: Path, agents: int | None, seed: int
) -> Population:
    """Make a population of the people of a file, and say which of their columns it leaves out."""
    if not isinstance(maker, type):
        raise UsageError(
            f"--population {path}: {maker.__name__} makes its agents itself; choose a class with"
            f" -p {name}=..., or leave the file"
        )
    from daskagents.personas.people import population_in

    made, left = population_in(path, maker, agents, seed)
    if left:
        taken = ", ".join(made.table.columns)
        tell(f"{name}: {taken} of {path}; {maker.__name__} has no field for {', '.join(left)}")
    return made


def _check_names(
    program: Program,
    options: Mapping[str, str],
    readers: Iterable[Callable[..., Any]],
) -> None:
    """Refuse options that nothing reads."""
    known: dict[str, None] = {}
    for reader in readers:
        known |= dict.fromkeys(inspect.signature(reader).parameters)
    known.pop("agents", None)
    for name in options:
        if name in _RUN:
            raise UsageError(f"{name} is for the run itself: --{name.replace('_', '-')}, not -p")
        if name not in known:
            raise UsageError(
                f"{program.workflow.__name__} has no parameter {name!r}; it has"
                f" {', '.join(known)}{did_you_mean(name, known)}"
            )
