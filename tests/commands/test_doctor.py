"""`spotlightd doctor` without a daemon: what a fresh installation lacks, and why nothing is collected."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from spotlightd.cli import main
from spotlightd.commands.doctor.findings import judge_settings
from spotlightd.settings.settings import Settings
from spotlightd.settings.sources import PublisherSettings, StreamsSettings


def test_a_fresh_installation_is_told_what_it_lacks() -> None:
    assert len(list(judge_settings(Settings()))) == 2
    complete = replace(
        Settings(), publisher=PublisherSettings(contact="you@example.org"),
        streams=StreamsSettings(symbols={"finnhub": ["AAPL"]}, key_files={"finnhub": "/etc/key"}),
    )  # fmt: skip
    assert list(judge_settings(complete)) == []
    keyless = replace(complete, streams=StreamsSettings(symbols={"finnhub": ["AAPL"]}))
    assert [finding.problem for finding in judge_settings(keyless)] == ["the stream finnhub has symbols and no key"]


def test_without_a_daemon_it_says_so_and_what_keeps_one_from_starting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--json", "--state", str(tmp_path / "state")]) == 1
    first, *others = json.loads(capsys.readouterr().out)
    assert (first["harm"], first["problem"][:13]) == ("stopped", "no daemon run")
    assert "requires a contact address" in first["remedy"]
    assert {finding["harm"] for finding in others} == {"advice"}
