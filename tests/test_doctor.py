"""The doctor: what is wrong is said on one line each, with what to do."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections import namedtuple

import pytest

from daskagents import doctor
from daskagents.cli import main
from daskagents.doctor import Finding, examine
from daskagents.errors import UsageError


@pytest.fixture(autouse=True)
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_workers", lambda: "fine")


def found(what: str, url: str | None = None) -> Finding:
    return {finding.what: finding for finding in examine(url)}[what]


def test_everything_is_looked_at_once() -> None:
    looked = [finding.what for finding in examine()]
    assert len(looked) == len(set(looked)) == 8
    assert {"Python", "packages", "machine", "disk", "workers", "local model"} < set(looked)


def test_dask_and_distributed_of_two_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "1.0" if name == "dask" else real(name)
    )
    assert found("packages").state == "problem"
    assert "install dask and distributed of one version" in found("packages").said


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**40, 2**40, 2**20))
    assert found("disk").state == "warning" and "0.0 GiB free" in found("disk").said


@pytest.mark.parametrize("error", [RuntimeError("Nanny failed\nto start."), KeyError("x"), OSError])
def test_workers_that_do_not_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: type[Exception]
) -> None:
    def fail() -> str:
        raise error

    monkeypatch.setattr(doctor, "_workers", fail)
    assert found("workers").state == "problem"
    monkeypatch.setenv("COLUMNS", "30")
    assert main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8  # one each, however narrow the terminal
    assert [line.split()[0] for line in lines].count("problem") == 1


def test_a_model_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise UsageError("the weights are missing; run: daskagents install-model")

    monkeypatch.setattr(doctor, "check_installed", missing)
    assert found("local model") == Finding("local model", "warning", str_of(missing))


def str_of(fails: object) -> str:
    assert callable(fails)
    with pytest.raises(UsageError) as raised:
        fails()
    return str(raised.value)


def test_no_secret_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert found("OPENAI_API_KEY").said.startswith("is not set")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hush")
    assert main(["doctor", "--json", "--model", "http://me:hush@127.0.0.1:9/v1"]) == 1
    both = capsys.readouterr()
    assert "hush" not in both.out + both.err
    assert '"is set"' in both.out


def test_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daskagents.fonts.asian_fonts", lambda: ("Noto Sans CJK JP",))
    assert found("fonts").state == "ok" and "Noto Sans CJK JP" in found("fonts").said
    monkeypatch.setattr("daskagents.fonts.asian_fonts", lambda: ())
    assert found("fonts").state == "warning" and "install one" in found("fonts").said
