from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from scripted import chat, took

from daskagents.errors import EndpointError, RefusalError
from daskagents.models.refusal import wait_of
from daskagents.usage import Usage


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        ("3", 3, 3),
        ("0.5", 0.5, 0.5),
        ("1e9", 600, 600),
        ("inf", 600, 600),
        ("nan", 0, 0),
        ("-3", 0, 0),
        ("soon", 0, 0),
        ("", 0, 0),
        (timedelta(seconds=100), 0, 100),
        (timedelta(days=100), 600, 600),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0, 0),
    ],
)
def test_retry_after_in_all_its_forms(asked: Any, least: float, most: float) -> None:
    if isinstance(asked, timedelta):
        asked = format_datetime(datetime.now(UTC) + asked, usegmt=True)
    assert least <= wait_of({"Retry-After": asked}) <= most
    assert wait_of({}) == 0


def test_retry_after_goes_with_the_error() -> None:
    for status in (429, 503):
        head = f"HTTP/1.1 {status} Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\n"
        error, _ = chat(head.encode() + b"busy")
        assert type(error) is EndpointError
        assert (error.status, error.passing, error.wait) == (status, True, 7.0)
        assert str(error).endswith(f"status {status}: busy")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"error": {"message": "so be it", "code": 3}}, "so be it"),
        ({"error": "so be it"}, "so be it"),
        ({"message": "so be it"}, "so be it"),
        ({"object": "error", "detail": "so be it"}, "so be it"),
        ({"detail": [{"loc": ["body"], "msg": "no"}]}, '[{"loc":["body"],"msg":"no"}]'),
        ("so be it", "so be it"),
        ("<html>so be it", "<html>so be it"),
        (["so be it"], '["so be it"]'),
        ({"error": None}, "null"),
    ],
)
def test_what_is_said_in_all_its_forms(body: Any, told: str) -> None:
    error, _ = chat((418, body))
    assert f"status 418: {told}" in str(error)


def test_nothing_is_said() -> None:
    error, _ = chat((418, ""))
    assert str(error).endswith("with status 418")


def test_long_refusals_are_shortened() -> None:
    error, _ = chat((418, "x" * 10_000))
    assert len(str(error)) < 600


@pytest.mark.parametrize(
    ("status", "cure"),
    [
        (401, "check the api_key that was passed, where the workers run"),
        (403, "check the api_key that was passed"),
        (404, "check model= and base_url=, which mostly ends in /v1"),
        (301, "it redirects to elsewhere: give that as base_url="),
    ],
)
def test_cures(status: int, cure: str) -> None:
    error, _ = chat((status, "no"))
    assert f"status {status}: no; {cure}" in str(error)


@pytest.mark.parametrize(
    "body",
    [
        {
            "error": {
                "code": "content_filter",
                "message": "by content management policy",
            }
        },
        {"error": {"message": "blocked: content_filter"}},
    ],
)
def test_a_filter_that_keeps_a_prompt_back(body: Any) -> None:
    error, _ = chat((400, body))
    assert type(error) is RefusalError
    assert not error.passing
    assert took(error) == Usage()
