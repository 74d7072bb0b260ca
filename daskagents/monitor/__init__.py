"""Watching and steering runs: a page in the Dask dashboard, and what feeds it.

A run brings the page to any cluster that it touches. To have it there before the first run::

    dask scheduler --preload daskagents.monitor
"""

from __future__ import annotations

from typing import Any


async def dask_setup(scheduler: Any) -> None:
    """Bring the page to a scheduler as it starts; Dask calls this for ``--preload``."""
    from daskagents.monitor.plugin import MonitorPlugin

    plugin = MonitorPlugin()
    scheduler.add_plugin(plugin, name=plugin.name)
    await plugin.start(scheduler)
