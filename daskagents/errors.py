"""Every error of the package, in one tree.

::

    DaskAgentsError
    ├── UsageError(ValueError)            something was asked for wrongly; found before work starts
    │   ├── FieldError(TypeError)         a field of an agent class, or a value that does not fit it
    │   ├── TableError                    the table a population was given
    │   ├── SpecError                     what a file of a population says, all problems at once
    │   ├── WorkflowError(TypeError)      a workflow, its parameters or what it yields
    │   └── FolderError(OSError)          a run directory that cannot be used
    ├── ModelError(RuntimeError)          a model call that failed
    │   ├── EndpointError(ConnectionError)  an endpoint refuses the request, by its status
    │   │   ├── UnreachableError          nobody is there, or the connection was lost
    │   │   └── LateError(TimeoutError)   no connection, or no answer, in time
    │   ├── BudgetError                   it is a RunError, too: the budget of the run is spent
    │   └── AnswerError(ValueError)       an answer came and cannot be used
    │       ├── BrokenError               it was cut off, or is no chat completion
    │       ├── EmptyError                it has no choices, or no text
    │       └── RefusalError              the model would not answer, or a filter kept it back
    ├── ReplyError(ValueError)            what an agent replied has not the form of its class
    ├── AgentError(RuntimeError)          one named agent failed, and its message was asked for
    ├── LethalError(RuntimeError)         an agent killed the process that it ran in
    ├── GaveUpError(TimeoutError)         an agent did not wait for the answer of a chat
    └── RunError(RuntimeError)            a run had to stop
        ├── InboxError                    an agent got more messages than its inbox may hold
        ├── AdvanceError                  an environment could not make its next version
        ├── StoppedError                  somebody asked it to
        ├── NotStoredError                it needs a result of the past that is stored nowhere
        └── OlderError                    its last checkpoint is damaged, and not the one before
"""

from __future__ import annotations

import math
from typing import Self

from daskagents.usage import Usage


class DaskAgentsError(Exception):
    """The root of all errors that daskagents raises on purpose."""


class UsageError(DaskAgentsError, ValueError):
    """Something was asked for wrongly; nothing has been started."""


class FieldError(UsageError, TypeError):
    """A field of an agent class is declared wrongly, or a value does not fit it."""


class TableError(UsageError):
    """The table that a population was given does not fit its agent class."""


class SpecError(UsageError):
    """The file of a population is wrong, or cannot be read.

    Attributes
    ----------
    problems : tuple of str
        All that was found, each with the place in the file.
    """

    problems: tuple[str, ...] = ()


class WorkflowError(UsageError, TypeError):
    """A workflow is no generator, or its parameters or what it yields are wrong."""


class FolderError(UsageError, OSError):
    """A run directory cannot be made, holds another run, or holds none."""

    def __new__(cls, *args: object) -> Self:
        """Make one; with that of ValueError, workers could not send it."""
        return OSError.__new__(cls, *args)


class ModelError(DaskAgentsError, RuntimeError):
    """A model call failed.

    Attributes
    ----------
    usage : Usage
        What was answered all the same, and is to be paid.
    passing : bool
        Whether the same request may succeed later: a wrapper that tries again looks at this.
    wait : float
        Seconds that the endpoint asks to wait before.
    """

    usage: Usage = Usage()
    passing: bool = False
    wait: float = 0.0


class EndpointError(ModelError, ConnectionError):
    """An endpoint cannot be reached, or refuses the request; `status` is 0 without an answer."""

    status: int = 0
    endpoint: str = ""

    def __new__(cls, *args: object) -> Self:
        """Make one; with that of RuntimeError, workers could not send it."""
        return OSError.__new__(cls, *args)


class UnreachableError(EndpointError):
    """Nobody is there, or the connection was lost before the answer."""

    passing = True


class LateError(EndpointError, TimeoutError):
    """There was no connection, or no answer, within the time that a model gives an endpoint."""

    passing = True


class AnswerError(ModelError, ValueError):
    """A model answered, and the answer cannot be used."""

    usage = Usage(calls=1, cost=math.nan)


class BrokenError(AnswerError):
    """An answer was cut off, or is no chat completion."""

    passing = True


class EmptyError(AnswerError):
    """An answer has no choices, or no text."""

    passing = True


class RefusalError(AnswerError):
    """The model would not answer, or a filter kept its answer back."""


class ReplyError(DaskAgentsError, ValueError):
    """What an agent replied has not the form that its class replies in."""


class AgentError(DaskAgentsError, RuntimeError):
    """An agent failed: by `Agent.fail`, or a named one whose message was asked for."""


class LethalError(DaskAgentsError, RuntimeError):
    """An agent killed the process that it ran in, which was one of its block's own."""


class GaveUpError(DaskAgentsError, TimeoutError):
    """An agent did not wait for the answer of a chat; it hears so at once when it is replayed."""


class RunError(DaskAgentsError, RuntimeError):
    """A run had to stop before its workflow ended."""


class InboxError(RunError):
    """An agent got more messages than its inbox may hold."""


class AdvanceError(RunError):
    """An environment could not make its next version; the run stops at the last good one."""


class StoppedError(RunError):
    """Somebody has stopped a run: from a shell, a page, or Python; it can be gone on with."""


class NotStoredError(RunError):
    """A run that goes on needs a result of the past that is stored nowhere: it computes it again.

    A run takes care of this by itself.
    """


class OlderError(RunError):
    """A run goes on from an older checkpoint, for its last one is damaged.

    A run takes care of this by itself.
    """


class BudgetError(ModelError, RunError):
    """A model was not asked, for the budget of the run is spent; so the run stops."""
