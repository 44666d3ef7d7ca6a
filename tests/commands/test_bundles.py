"""A bundle as people make and import it: real files of the demo, some of them archived, to an instance that is empty."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from spotlightd.clients.clickhouse import ddl
from spotlightd.model.partition import RetentionRule
from spotlightd.runtime.instance import open_instance
from spotlightd.settings.load import load_settings
from spotlightd.settings.settings import Settings
from spotlightd.sources.sec_ftd import sec_ftd
from tests.commands.test_commands import spotlightd

JANUARY = "/data/sec_ftd?settlement_date__gte=2021-01-01&settlement_date__lte=2021-01-31"
ALL = (
    "SELECT count() AS rows, sum(quantity) AS shares, sum(cityHash64(settlement_date, cusip, symbol, quantity, "
    "description, price, member, line)) AS hash FROM sec_ftd WHERE settlement_date < '2021-02-01'"
)


async def begin_older_state(settings: Settings) -> None:
    """As an earlier release began it with these settings: the table by year, of which some are due, and a rule in force."""
    async with open_instance(settings) as instance:
        await instance.warehouse.execute("DROP TABLE sec_ftd SYNC")
        await instance.warehouse.execute(ddl.create_table(ddl.by_year(sec_ftd), settings.warehouse.database))
        await instance.partitions.save_retention_rule(RetentionRule("sec_ftd", 30, 30))


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The demo's folder, whose rows were moved to the bucket: what to say to use it."""
    folder = tmp_path_factory.mktemp("archived")
    config = folder / "spotlightd.toml"
    config.write_text(
        f"""state_dir = "{folder / "state"}"\n[archive]\nhot_days = {{ sec_ftd = 30 }}\ngrace_seconds = 0.0\n"""
    )
    asyncio.run(begin_older_state(load_settings(config)))
    spotlightd("demo", "sec_ftd", "--once", "--json", "--state", str(folder / "state"))
    arguments = ("--config", str(config), "--json")
    spotlightd("archive", "run", *arguments)
    stages = [partition["stage"] for partition in spotlightd("archive", "status", *arguments)["partitions"]]
    assert "switched" in stages
    return arguments


@pytest.fixture(scope="module")
def bundle(archived: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("bundle") / "january.bundle.tar"
    arguments = ("--from", "2021-01-01", "--to", "2021-01-31", "--out", str(file))
    result = spotlightd("bundle", "sec_ftd", *arguments, *archived)
    assert (result["rows"], result["loads"], result["left_out"]) == (104_187, 2, [])
    assert result["bytes"] == file.stat().st_size
    assert list(file.parent.iterdir()) == [file]
    return file


@pytest.fixture(scope="module")
def other(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A colleague's folder, into which the bundle was imported."""
    state = str(tmp_path_factory.mktemp("other") / "state")
    result = spotlightd("import", str(bundle), "--state", state, "--json")
    assert (result["rows"], {load["came"] for load in result["loads"]}) == (104_187, {"imported"})
    return state


def test_the_status_of_the_archive_names_the_zone_of_its_times(archived: tuple[str, ...]) -> None:
    arguments = [sys.executable, "-m", "spotlightd", "archive", "status", *archived[:2]]
    output = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=True).stdout
    lines = [line for line in output.splitlines() if line.lstrip().startswith("sec_ftd")]
    assert lines
    assert all(re.search(r" \d{4}-\d\d-\d\d \d\d:\d\d UTC ", line) for line in lines), output


def test_archived_rows_are_the_same_at_the_other_instance_and_stand_in_its_documents(
    archived: tuple[str, ...], other: str
) -> None:
    assert spotlightd("query", ALL, "--state", other, "--json") == spotlightd("query", ALL, *archived)
    assert spotlightd("audit", "sec_ftd", "--state", other, "--json") == {
        "rows": 104_187,
        "same": 104_187,
        "faults": [],
    }
    result = spotlightd("query", "SELECT url, via FROM documents", "--state", other, "--json")
    assert all(one["url"].startswith("https://www.sec.gov/") and "bundle" in one["via"] for one in result)


def test_a_citation_of_one_instance_verifies_at_another(archived: tuple[str, ...], other: str, tmp_path: Path) -> None:
    result = spotlightd("cite", JANUARY, *archived)
    file = tmp_path / "january.json"
    file.write_text(json.dumps(result))
    verdict = spotlightd("verify", str(file), "--state", other, "--json")
    assert (verdict["outcome"], verdict["rows_found"]) == ("same", 104_187)


def test_a_second_import_imports_nothing(bundle: Path, other: str) -> None:
    result = spotlightd("import", str(bundle), "--state", other, "--json")
    assert (result["rows"], {load["came"] for load in result["loads"]}) == (0, {"here"})


def test_any_program_reads_the_rows_and_the_documents(bundle: Path, tmp_path: Path) -> None:
    with tarfile.open(bundle) as tar:
        tar.extractall(tmp_path, filter="data")
    tables = [pyarrow.parquet.read_table(path) for path in tmp_path.glob("rows/*/*/*.parquet")]
    assert sum(table.num_rows for table in tables) == 104_187
    assert "load_id" not in tables[0].column_names
    assert all(path.read_bytes()[:2] == b"PK" for path in tmp_path.glob("documents/*"))


@pytest.mark.parametrize(
    ("arguments", "status", "detail"),
    [
        (("bundle", "nothing"), 78, "no dataset is called 'nothing'"),
        (("bundle", "bars"), 78, "bars is computed from trades: bundle that"),
        (("bundle", "runs"), 78, "is a record of this instance"),
        (("bundle", "sec_ftd", "--from", "2021-02-01", "--to", "2021-01-01"), 78, "is after"),
        (("bundle", "sec_ftd", "--from", "2031-01-01"), 78, "has no rows between"),
        (("bundle", "sec_ftd", "--out", "/nowhere/at/all"), 78, "cannot be written to"),
        (("archive", "retry", "sec_ftd"), 78, "is not like 20260131-0"),
        (("archive", "retry", "sec_ftd", "--partition", "19990101-0"), 78, "has no archived partition 19990101-0"),
        (("archive", "run", "sec_ftd"), 78, "only `retry` names one"),
        (("import", "/nowhere/at/all"), 78, "cannot be read"),
        (("import", "spotlightd/demo/data/cnsfails202101a.zip"), 65, "is no bundle of spotlightd"),
    ],
)
def test_an_impossible_request_is_refused_with_a_remedy(
    archived: tuple[str, ...], arguments: tuple[str, ...], status: int, detail: str
) -> None:
    result: Any = spotlightd(*arguments, *archived, status=status)
    assert detail in result["detail"]
