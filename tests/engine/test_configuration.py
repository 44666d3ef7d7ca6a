"""The engine's configuration, and that the engine uses it."""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.engine.configuration import GIB, TABLES, Configuration, compute_size, config_xml, from_json
from spotlightd.errors import StoreError
from spotlightd.settings.stores import EngineSettings

from .world import constructed

CONFIGURATION = Configuration(
    folder="/state/a & b/engine", database="spotlightd", user="u", password="p", socket_number=3, parent_pid=1,
    memory_bytes=2 * GIB, query_memory_bytes=GIB, threads=2, readers=8, writers=2, download_slots=8, send_seconds=60.0,
    start_seconds=30.0,
)  # fmt: skip


def test_a_configuration_comes_out_of_the_pipe_as_it_went_in() -> None:
    assert from_json(CONFIGURATION.to_json()) == CONFIGURATION


def test_zeros_are_filled_in_for_the_machine() -> None:
    size = compute_size(EngineSettings())
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert size.memory_bytes == max(GIB, physical // 2)
    assert size.query_memory_bytes == size.memory_bytes // 3
    assert size.threads == len(os.sched_getaffinity(0))


def test_what_is_set_is_kept() -> None:
    size = compute_size(EngineSettings(memory_bytes=3 * GIB, query_memory_bytes=GIB, threads=7))
    assert (size.memory_bytes, size.query_memory_bytes, size.threads) == (3 * GIB, GIB, 7)


def test_clickhouses_file_is_xml_and_holds_no_secret() -> None:
    text = config_xml(replace(CONFIGURATION, password="very secret"))
    elements = {element.tag: element.text for element in ET.fromstring(text)}  # noqa: S314
    assert elements["tmp_path"] == "/state/a & b/engine/tmp/"
    assert elements["max_server_memory_usage"] == str(2 * GIB)
    assert "very secret" not in text


@pytest.mark.asyncio(loop_scope="session")
async def test_every_line_of_the_file_is_a_setting_that_the_engine_knows_and_took(warehouse: ClickHouse) -> None:
    rows = (await warehouse.rows("SELECT name, value FROM system.server_settings")).rows
    actual = dict(rows)
    configured = {element.tag: element.text for element in ET.fromstring(config_xml(CONFIGURATION))}  # noqa: S314
    assert set(configured) - set(actual) <= {"timezone", "merge_tree"}
    same = set(configured) - {"timezone", "tmp_path", "merge_tree"}
    assert {name: actual[name] for name in same} == {name: configured[name] for name in same}


@pytest.mark.asyncio(loop_scope="session")
async def test_merged_parts_are_removed_within_seconds_not_minutes(warehouse: ClickHouse) -> None:
    """A quiet feed leaves one or two a second: hundreds at once are removed by a hundred threads, whose memory stays."""
    rows = (
        await warehouse.rows("SELECT name, value FROM system.merge_tree_settings WHERE name LIKE '%cleanup_delay%'")
    ).rows
    assert dict(rows) == {name: str(value) for name, value in TABLES.items()}
    assert TABLES["max_cleanup_delay_period"] <= 10


@pytest.mark.asyncio(loop_scope="session")
async def test_the_engine_keeps_no_log_tables_of_its_own(warehouse: ClickHouse) -> None:
    """Log tables would grow without limit, uncounted and never archived. A newer engine that creates some fails here."""
    dataset = replace(constructed("worked"), by_load=False)
    await warehouse.ensure(dataset)
    for n in range(3):
        await warehouse.insert(dataset, [(n, "text")])
    await warehouse.execute("OPTIMIZE TABLE worked FINAL")
    await warehouse.execute("DELETE FROM worked WHERE n = 1")
    with pytest.raises(StoreError):
        await warehouse.rows("SELECT nothing FROM worked")
    await warehouse.execute("SYSTEM FLUSH LOGS")
    log_tables = "SELECT name FROM system.tables WHERE database = 'system' AND (engine LIKE '%MergeTree' OR name LIKE '%\\\\_log')"
    assert [row[0] for row in (await warehouse.rows(log_tables)).rows] in ([], ["user_query_log"])
    sql = "SELECT engine FROM system.tables WHERE database = 'system' AND name = 'user_query_log'"
    assert (await warehouse.rows(sql)).rows in ((), (("SystemUserQueryLog",),)), "a view of a log that is not kept"
    with pytest.raises(StoreError):
        await warehouse.rows("SELECT count() FROM system.query_log")


def test_a_servers_own_log_tables_are_off_or_have_a_lifetime() -> None:
    """No ClickHouse server is available here. So only this is tested: the file is well formed, and each table expires."""
    file = Path(__file__).parents[2] / "clickhouse-config" / "system-logs.xml"
    tables = list(ET.parse(file).getroot())  # noqa: S314
    names = {table.tag for table in tables}
    assert {"query_log", "part_log", "text_log", "trace_log", "metric_log", "asynchronous_metric_log"} <= names
    assert len(names) == len(tables)
    for table in tables:
        lifetime = table.findtext("ttl", "")
        assert table.get("remove") == "1" or re.fullmatch(r"event_date \+ INTERVAL \d+ DAY DELETE", lifetime), table.tag
        assert table.get("remove") == "1" or table.findtext("table") == table.tag
