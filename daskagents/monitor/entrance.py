"""Where the page asks for the token, above what only those may do who have it."""

from __future__ import annotations

from bokeh.layouts import column, row
from bokeh.models import Button, PasswordInput

from daskagents.monitor import look
from daskagents.monitor.page import Choice, html, show


class Entrance:
    """A field for the token; nothing where there is leave already."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self._said = html(name="leave")
        self._token = PasswordInput(placeholder="token", width=220, name="token")
        self._enter = Button(label="Enter", width=80, name="enter")
        self._enter.on_click(self._offer)
        self._asks = row(self._token, self._enter)
        self.root = column(self._said, self._asks, sizing_mode="stretch_width")
        self.update()

    def _offer(self) -> None:
        given = self.choice.leave.offer(str(self._token.value))
        self._token.value = ""
        if given:
            self.update()
        else:
            show(self._said, '<p class="bad">This is not the token. Try again in a second.</p>')

    def update(self) -> None:
        """Hide it once there is leave."""
        leave = self.choice.leave
        if self.root.visible == leave.given:
            self.root.visible = not leave.given
        if self._asks.visible != leave.asks:
            self._asks.visible = leave.asks
        if not self._said.text or leave.given:
            show(self._said, look.note(leave.why) if leave.why else "")
