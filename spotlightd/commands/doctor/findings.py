"""What is wrong with an instance, from its `/status.json` and its settings. Pure.

Each finding says what is wrong and what to do. They are in order of harm: what is being lost for ever comes before what
only waits, and that before what is merely late.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any

from spotlightd.model.text import count
from spotlightd.settings.missing import list_missing
from spotlightd.settings.settings import Settings

DROPPED_SECONDS = 60.0  # a feed that has been away for longer does not only reconnect
FORECAST_SECONDS = 7 * 86_400
BACKUP_DAYS = 2


class Harm(IntEnum):
    """How bad a finding is. The worst is the lowest number."""

    LOSING = 1
    STOPPED = 2
    HELD = 3
    LATE = 4
    ADVICE = 5


HARMS: Mapping[Harm, str] = {
    Harm.LOSING: "data are being lost", Harm.STOPPED: "nothing is collected or shown", Harm.HELD: "a part waits",
    Harm.LATE: "late or refused", Harm.ADVICE: "worth a look",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, what to do about it, and the page that shows it."""

    harm: Harm
    problem: str
    remedy: str
    page: str = ""


def judge_status(status: Mapping[str, Any], now: datetime) -> list[Finding]:
    """The findings of a running daemon, from its `/status.json`; the worst first."""
    found = [
        *_judge_feeds(status["feeds"], now), *_judge_stores(status), *_judge_disks(status["disks"]),
        *_judge_flows(status["state"]["flows"]), *_judge_archive(status["archive"]),
        *_judge_sources(status["sources"]),
    ]  # fmt: skip
    return sorted(found, key=lambda finding: finding.harm)


def judge_settings(settings: Settings) -> Iterator[Finding]:
    """What a fresh installation still lacks."""
    for missing in list_missing(settings):
        yield Finding(Harm.ADVICE, missing.problem, missing.remedy)


def judge_backups(backups: Mapping[str, datetime], now: datetime) -> Iterator[Finding]:
    """Whether what is on this disk is anywhere else."""
    written = backups.get("written")
    if written is None:
        yield Finding(
            Harm.ADVICE, "there is no backup of this state: what this disk holds is nowhere else",
            "`spotlightd backup --to` a folder on another disk, each day; the role `backup` of ansible/ has a timer for it.",
        )  # fmt: skip
    elif now - written > timedelta(days=BACKUP_DAYS):
        yield Finding(
            Harm.LATE, f"the newest backup is of {written:%Y-%m-%d %H:%M} UTC",
            "Look why none was written since: `journalctl -u spotlightd-backup -n 50`.",
        )  # fmt: skip


def _judge_feeds(feeds: list[dict[str, Any]], now: datetime) -> Iterator[Finding]:
    for feed in feeds:
        name, gaps = feed["source"], feed["open_gaps"]
        whole = [gap for gap in gaps if not gap["symbol"]]
        if feed["state"] == "refused":
            yield Finding(
                Harm.LOSING, f"the venue refuses the feed {name}: {feed['detail']}",
                f"Correct streams.key_files.{name} or streams.symbols.{name}, then `systemctl restart spotlightd`.", "/live",
            )  # fmt: skip
        elif whole and now - _parse_time(whole[0]["since"]) > timedelta(seconds=DROPPED_SECONDS):
            yield Finding(
                Harm.LOSING, f"the feed {name} is not received since {whole[0]['since']}: {feed['detail']}",
                "It is tried again by itself. Look at this machine's network and at the venue's status page.", "/live",
            )  # fmt: skip
        for gap in (gap for gap in gaps if gap["symbol"]):
            yield Finding(
                Harm.LOSING, f"the feed {name} brings no {gap['symbol']}: {gap['detail']}",
                f"Correct the symbol in streams.symbols.{name}, or take it out.", "/live",
            )  # fmt: skip
        if feed["is_clock_off"]:
            yield Finding(
                Harm.ADVICE, f"the clock of {name} is {abs(feed['clock_offset_seconds']):.1f} s off this machine's",
                "Look whether this machine's clock is synchronised: `timedatectl`.", "/live",
            )  # fmt: skip


def _judge_stores(status: Mapping[str, Any]) -> Iterator[Finding]:
    if status["error"]:
        yield Finding(
            Harm.STOPPED, status["error"],
            "The embedded engine is started again by itself. A separate server: look at its unit and its log.", "/status",
        )  # fmt: skip
    for table in status["state"]["engine"]["detached"]:
        yield Finding(Harm.HELD, table, "Restore the table from a backup, or `spotlightd rebuild` it.", "/status")


def _judge_disks(disks: Mapping[str, Any]) -> Iterator[Finding]:
    for file_system in disks["file_systems"]:
        name, level = file_system["name"], file_system["level"]
        if file_system["error"]:
            problem = f"the file system of {name} does not answer: {file_system['error']}"
            yield Finding(Harm.HELD, problem, "Bring it back, or look at its disk.", "/disk")
        if level >= 3:  # noqa: PLR2004  (nothing is inserted from here on)
            yield Finding(
                Harm.LOSING, f"the disk of {name} is so full that feeds will be shed: {file_system['detail']}",
                "Free space now. Never delete files below the state folder by hand.", "/disk",
            )  # fmt: skip
        elif level:
            harm = Harm.HELD if level > 1 else Harm.ADVICE
            remedy = "Let rows leave earlier (archive.hot_days), or make the disk larger."
            yield Finding(harm, f"the disk of {name} fills up: {file_system['detail']}", remedy, "/disk")
        elif (seconds := file_system["full_in_seconds"]) is not None and seconds < FORECAST_SECONDS:
            yield Finding(
                Harm.ADVICE, f"the disk of {name} is {file_system['forecast']}",
                "A long copy that ends is no reason for worry. If it goes on, make the disk larger.", "/disk",
            )  # fmt: skip


def _judge_flows(flows: list[dict[str, Any]]) -> Iterator[Finding]:
    for flow in flows:
        if flow["error"]:
            yield Finding(
                Harm.HELD, f"the flow `{flow['name']}` is {flow['state']}: {flow['error']}",
                "It goes on by itself when the reason is gone. Its log: /logs.", "/status",
            )  # fmt: skip


def _judge_archive(archive: Mapping[str, Any]) -> Iterator[Finding]:
    if archive["error"]:
        yield Finding(Harm.HELD, f"archiving waits: {archive['error']}", "Bring the bucket back.", "/archive")
    for partition in (partition for partition in archive["partitions"] if partition["stage"] == "held"):
        name = f"{partition['dataset']} --partition {partition['partition']}"
        yield Finding(
            Harm.HELD, f"partition {partition['partition']} of {partition['dataset']} is held: {partition['detail']}",
            f"Remove the cause, then `spotlightd archive retry {name}`.", "/archive",
        )  # fmt: skip
    for kind, check in archive["checks"].items():
        if not check["passed"]:
            yield Finding(
                Harm.HELD, f"the check of {kind} failed: {check['detail']}",
                "Do not delete anything. Restore what is missing from a second copy of the bucket.", "/archive",
            )  # fmt: skip
    for alarm in archive["shortened"]:
        yield Finding(
            Harm.ADVICE,
            f"a shorter retention waits: {alarm}",
            "If that was a mistake, set the old number again.",
            "/archive",
        )


def _judge_sources(sources: list[dict[str, Any]]) -> Iterator[Finding]:
    for source in (source for source in sources if not source["suspended"]):
        name = source["name"]
        if source["late"]:
            yield Finding(
                Harm.LATE, f"{name} is late: {source['due']} was due on {source['due_on']}",
                f"Look at {source['home']}. If the document is there: `spotlightd backfill {name}`.", "/status",
            )  # fmt: skip
        if source["last_error"]:
            yield Finding(
                Harm.LATE, f"the last check of {name} was {source['last_outcome']}: {source['last_error']}",
                "It is tried again by itself. If the publisher changed its pages, a new release is needed.", "/data/runs",
            )  # fmt: skip
        if source["refused"]:
            documents = count(source["refused"], "document is", "documents are")
            yield Finding(
                Harm.LATE, f"{documents} of {name} kept and not loaded: {source['refusal']}",
                "Read the reason. A new release of the source loads them from the kept bytes.", "/data/runs?outcome=refused",
            )  # fmt: skip


def _parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text)
