"""What is made of a run once it is over: methods of `OpenRun`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

if TYPE_CHECKING:
    from daskagents.afterwards.redact import Redacted
    from daskagents.opened import OpenRun

# what these methods import takes longer than to open a run, so they import it themselves


class Ended:
    """Reports, tables and copies of a run; it may be under way, too, but for copies."""

    def report(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Write a report of the run: one HTML file that needs nothing else.

        It holds what was run, pictures of what was replied, costs, failures, a sample of
        conversations, and a paragraph on methods for a paper.

        Parameters
        ----------
        path
            The file; None for ``report.html`` in the run directory.

        Returns
        -------
        Path
            The file.
        """
        from daskagents.afterwards.report import write_report

        return write_report(cast("OpenRun", self), path)

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        population: str | None = None,
        rounds: slice | str | None = None,
    ) -> list[Path]:
        """Write the results as tables for pandas and R: a row for each round and agent.

        Parameters
        ----------
        path
            A file that ends with .parquet or .csv, or a folder for Parquet files. What has other
            dimensions than the first agents goes into files beside it: values per round into
            ``..._rounds``, other populations and groups under the names of their dimensions. What
            each column is stands in ``..._codebook.csv`` and ``..._codebook.md``.
        population
            One of several populations, by its name; None for all.
        rounds
            Which rounds, counted from 0: a slice, or a text such as ``"2:5"``; None for all.

        Returns
        -------
        list of Path
            The files.

        Raises
        ------
        UsageError
            If there are no rounds, no such population, or the path is none of these.
        """
        from daskagents.afterwards.export import export

        return export(cast("OpenRun", self), path, population=population, rounds=rounds)

    def redact(
        self,
        path: str | os.PathLike[str],
        *,
        fields: str | Iterable[str] = (),
        patterns: str | Iterable[str] = (),
        texts: Literal["all", "journal"] | None = None,
    ) -> Redacted:
        """Copy the run directory without some of its texts, for sharing; it is not changed itself.

        Parameters
        ----------
        path
            Where the copy is made: a new or empty folder.
        fields
            Names of fields, replies or parameters: their values go, and the same texts wherever
            they stand, in what agents were asked, answered and remember, too.
        patterns
            Regular expressions: what they find in any text goes.
        texts
            ``"journal"``: all that was said to models, by them, among agents and remembered;
            ``"all"``: all texts there are, those of fields, replies and the program too.

        Returns
        -------
        Redacted
            How many texts were removed where, what was not copied, and what is to be known.

        Raises
        ------
        UsageError
            If nothing is to be removed, there is no such field, or a pattern finds a name that the
            run cannot be read without.
        FolderError
            If `path` is not empty, or the run is under way.
        """
        from daskagents.afterwards.redact import redact

        return redact(cast("OpenRun", self), path, fields=fields, patterns=patterns, texts=texts)
