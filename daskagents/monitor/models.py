"""The view Models."""

from __future__ import annotations

from daskagents.monitor.page import Choice, html
from daskagents.monitor.plugin import MonitorPlugin


class View:
    """To come."""

    name = "Models"

    def __init__(self, plugin: MonitorPlugin, choice: Choice) -> None:
        self.plugin, self.choice = plugin, choice
        self.root = html()

    def update(self) -> None:
        """Show what there is now."""
