"""What the rows of a block replied, on its way to columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskagents.columns import Column
from daskagents.errors import ReplyError
from daskagents.forms import Form, collect, columns_of, form_of


class Replied:
    """What the rows of a block replied, by name as it comes, where their form is known.

    Parameters
    ----------
    n
        Rows.
    form
        What each should reply; None where the first to reply shows it.
    where
        The class and method, for errors.

    """

    def __init__(self, n: int, form: Form | None, where: str) -> None:
        self.form, self.where = form, where
        several = form is not None and form.kinds and not form.single
        #: What is replied by name; None where replies are kept whole, in the one list.
        self.names = tuple(name for name, _ in form.kinds) if form and several else None
        self.columns: list[list[Any]] = [[None] * n for _ in self.names or ("",)]
        #: Replies that are no dict of these names, by row.
        self.odd: dict[int, Any] = {}

    def put(self, at: int, reply: Any) -> None:
        """Take the reply of one row."""
        if self.names is None:
            self.columns[0][at] = reply
        elif type(reply) is dict and reply.keys() == set(self.names):
            for column, name in zip(self.columns, self.names, strict=True):
                column[at] = reply[name]
        else:
            self.odd[at] = reply

    def item(self, at: int) -> Any:
        """Return the reply of one row, as it was or as a dict."""
        if self.names is None:
            return self.columns[0][at]
        if at in self.odd:
            return self.odd[at]
        return {name: values[at] for name, values in zip(self.names, self.columns, strict=True)}

    def find_form(self, rows: list[int]) -> dict[int, BaseException]:
        """Take the form from the first of these rows whose reply has one; return others' errors."""
        errors: dict[int, BaseException] = {}
        for at in rows:
            try:
                self.form = form_of(self.item(at), self.where)
                break
            except ReplyError as error:
                errors[at] = error
        return errors

    def collect(self, failed: NDArray[np.bool_]) -> tuple[dict[str, Column], dict[int, ReplyError]]:
        """Return a column per name, and the errors of replies that do not fit, by row."""
        if self.form is None:
            return {}, {}
        if self.names is not None and not self.odd and not failed.any():
            columns = columns_of(self.form, self.columns)
            if columns is not None:
                return columns, {}
        whole = [self.item(at) for at in range(len(failed))] if self.names else self.columns[0]
        return collect(self.form, whole, failed)
