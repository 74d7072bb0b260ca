"""Brings the page into Dask's dashboard: the only file that knows how that is made inside.

Dask documents no way to add a page. What is used of its inside: `template_variables`, which has the
entries of the navigation bar; `BokehApplication`; and `Scheduler.http_application`.
"""

from __future__ import annotations

import logging
import secrets
import weakref
from typing import Any

import dask

ROUTE, ENTRY = "/agents", "agents"
#: Where Dask's configuration has what its pages are made with.
_SETTINGS = "distributed.scheduler.dashboard.bokeh-application"

_log = logging.getLogger("daskagents")
_mounted: weakref.WeakSet[Any] = weakref.WeakSet()


def mount(scheduler: Any, plugin: Any) -> bool:
    """Add the page to the dashboard of a scheduler; return whether there is one to add it to.

    Parameters
    ----------
    scheduler
        The scheduler, in its own process.
    plugin
        What has heard of the runs.
    """
    if scheduler in _mounted:
        return True
    try:
        prefix = _prefix_of(scheduler)
    except ImportError:  # no bokeh, or one that Dask does not take
        return False
    if prefix is None:
        return False
    try:
        _add(scheduler, plugin, prefix)
    except Exception as error:  # a page less is no reason to stop a run
        _log.warning("the page of the agents could not be added to the dashboard: %r", error)
        return False
    _mounted.add(scheduler)
    return True


def _prefix_of(scheduler: Any) -> str | None:
    """Return what comes before the paths of Dask's own pages; None where it shows none."""
    from distributed.dashboard.core import DaskBokehTornado

    for application in scheduler.http_application.applications:
        if isinstance(application, DaskBokehTornado):
            return str(application.prefix)
    return None


def _add(scheduler: Any, plugin: Any, prefix: str) -> None:
    from distributed.dashboard.core import BokehApplication
    from distributed.dashboard.scheduler import template_variables
    from tornado.ioloop import IOLoop

    from daskagents.monitor.page import make_page

    variables = template_variables(scheduler)  # the very one that Dask's own pages have

    def document(server: Any, extra: dict[str, Any], doc: Any) -> None:
        from distributed.dashboard.components.scheduler import BOKEH_THEME, env

        doc.theme = BOKEH_THEME
        doc.template = env.get_template("simple.html")
        doc.template_variables.update(extra)
        doc.template_variables["active_page"] = ENTRY
        make_page(doc, plugin)

    # signed, so that no other page can make up a session of this one and steer by it
    signed = {f"{_SETTINGS}.sign_sessions": True, f"{_SETTINGS}.secret_key": secrets.token_bytes()}
    with dask.config.set(signed):
        application = BokehApplication(
            {ROUTE: document}, scheduler, prefix=prefix, template_variables=variables
        )
    scheduler.http_application.add_application(application)
    application.initialize(IOLoop.current())
    application.start()
    if ENTRY not in variables["pages"]:
        variables["pages"].insert(1, ENTRY)
