"""A tab of a real browser on the page of the agents; what its console complains of fails a test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import daskagents as da

#: Milliseconds that something may take to appear on a machine that is busy.
PATIENCE = 30_000


class Tab:
    """One page, and what went wrong on it."""

    def __init__(self, page: Any) -> None:
        self.page, self.wrong = page, list[str]()
        page.set_default_timeout(PATIENCE)
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("dialog", self._dialog)

    def _note(self, message: Any) -> None:
        if message.type == "error":
            self.wrong.append(message.text)

    def _dialog(self, dialog: Any) -> None:
        self.wrong.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def _shown(self) -> str:
        """Return what the page says, and what went wrong on it."""
        texts = self.page.locator(".bk-clearfix, .slick-row").filter(visible=True)
        return " | ".join([*map(str, texts.all_inner_texts()), *self.wrong])[:3_000]

    def turn(self, name: str) -> None:
        """Open a view."""
        self.page.locator(".bk-tab").get_by_text(name, exact=True).first.click()

    def press(self, label: str) -> None:
        """Press a button."""
        self.page.get_by_role("button", name=label, exact=True).click()

    def see(self, text: str) -> None:
        """Wait until a text is there."""
        self.until(lambda: self.page.get_by_text(text).filter(visible=True).count())

    def fill(self, label: str, text: str) -> None:
        """Type into a field; it counts once the field is left."""
        field = self.page.get_by_label(label, exact=True).filter(visible=True).first
        field.fill(text)
        field.blur()

    def choose(self, label: str, what: str) -> None:
        """Choose from a list."""
        self.page.get_by_label(label, exact=True).filter(visible=True).first.select_option(
            label=what
        )

    def pick(self, row: int, text: str) -> None:
        """Click on a row of a table until a text is there: it may be drawn anew meanwhile."""
        shown = self.page.get_by_text(text).filter(visible=True)
        for _ in range(20):
            self.page.locator(".slick-row").nth(row).locator(".slick-cell").first.click()
            for _ in range(30):
                if shown.count():
                    return
                self.page.wait_for_timeout(100)
        raise AssertionError(self._shown())

    def rows(self) -> list[str]:
        """Return the texts of the rows of a table that are in sight."""
        return [str(text) for text in self.page.locator(".slick-row").all_inner_texts()]

    def until(self, condition: Callable[[], Any]) -> None:
        """Wait for a condition."""
        waited = 0
        while not condition():
            assert waited < PATIENCE, self._shown()
            self.page.wait_for_timeout(50)
            waited += 50


@contextmanager
def tab_of(browser: Any, dashboard: str) -> Iterator[Tab]:
    """Open the page of the agents of a cluster, given the link of its dashboard."""
    page = browser.new_page(viewport={"width": 1360, "height": 900})
    tab = Tab(page)
    try:
        link = dashboard.removesuffix("status") + "agents"
        tab.until(lambda: page.request.get(link).ok)  # the first run brings the page
        page.goto(link)
        yield tab
        assert tab.wrong == []
    finally:
        page.close()


class Running(threading.Thread):
    """A run in a thread of its own: `result`, or how it `failed`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(daemon=True)
        self._asked = args, options
        self.result: Any = None
        self.failed: BaseException | None = None
        self.start()

    def run(self) -> None:
        args, options = self._asked
        try:
            self.result = da.run(*args, **options)
        except BaseException as error:
            self.failed = error

    def end(self) -> Any:
        """Wait for its end; return the result."""
        self.join(120)
        assert not self.is_alive()
        if self.failed is not None:
            raise self.failed
        return self.result
