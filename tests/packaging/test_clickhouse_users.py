"""What each user of the ClickHouse server may do, on the engine under the rendered configuration.

The server itself cannot be had where the tests run. The embedded engine reads the same users, grants, profiles and quotas;
what it does not have is the login. `spotlightd check` tries the rest on the box.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packaging.server_world import NOBODY, USERS, act_as, run_statements

DENIED, READONLY, OVER_QUOTA, TOO_LARGE, CONSTRAINT = 497, 164, 201, 307, 452
MADE = (
    "CREATE DATABASE spotlightd",
    "CREATE TABLE spotlightd.trades (price Float64) ENGINE = MergeTree ORDER BY price",
    "CREATE TABLE spotlightd.logs (line String) ENGINE = MergeTree ORDER BY line",
    "INSERT INTO spotlightd.trades SELECT number FROM numbers(10)",
    "CREATE DATABASE other",
    "CREATE TABLE other.secret (x Int8) ENGINE = MergeTree ORDER BY x",
)
READ = "SELECT count() FROM spotlightd.trades"
# What nobody but the daemon may do, and what nobody at all may do.
CHANGES = (
    "INSERT INTO spotlightd.trades SELECT 1",
    "CREATE TABLE spotlightd.mine (x Int8) ENGINE = Memory",
    "ALTER TABLE spotlightd.trades DELETE WHERE 1",
    "TRUNCATE TABLE spotlightd.trades",
    "DROP TABLE spotlightd.trades",
    "DROP DATABASE spotlightd",
)
NEVER = (
    "SELECT * FROM other.secret",
    "CREATE TABLE other.mine (x Int8) ENGINE = Memory",
    "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'x Int8')",
    "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "SELECT * FROM remote('127.0.0.1:1', 'system', 'one')",
    "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
    "SELECT name FROM system.users",
    "CREATE USER intruder",
    "GRANT SELECT ON *.* TO default",
    "SYSTEM SHUTDOWN",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("server")
    assert not [outcome for outcome in run_statements(folder, NOBODY, MADE) if isinstance(outcome, int)]
    return folder


@pytest.mark.parametrize("user", USERS)
def test_a_user_reads_the_database_and_reaches_nothing_else(folder: Path, user: str) -> None:
    outcomes = run_statements(folder, act_as(user), [READ, *NEVER])
    assert outcomes[0] == "10"
    assert set(outcomes[1:]) <= {DENIED, READONLY}, dict(zip(NEVER, outcomes[1:], strict=True))


@pytest.mark.parametrize("user", [user for user in USERS if user != "spotlightd"])
def test_only_the_daemon_changes_anything(folder: Path, user: str) -> None:
    outcomes = run_statements(folder, act_as(user), CHANGES)
    assert set(outcomes) <= {DENIED, READONLY}, dict(zip(CHANGES, outcomes, strict=True))


def test_the_guest_has_limits_that_a_query_cannot_raise(folder: Path) -> None:
    statements = [
        "SELECT line FROM spotlightd.logs",
        "SELECT 1 SETTINGS max_execution_time = 600",
        "SELECT 1 SETTINGS max_memory_usage = 0",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT a.number FROM numbers(2000000) AS a",
    ]
    outcomes = run_statements(folder, act_as("guest"), statements)
    assert outcomes == [DENIED, READONLY, READONLY, READONLY, 396], outcomes


def test_the_guest_has_a_quota(folder: Path) -> None:
    outcomes = run_statements(folder, act_as("guest"), [READ] * 70)
    assert outcomes[0] == "10"
    assert outcomes[-1] == OVER_QUOTA


def test_grafana_sets_the_time_of_a_query_and_no_other_limit(folder: Path) -> None:
    settings = ("max_execution_time = 30", "max_execution_time = 900", "max_memory_usage = 0", "readonly = 0")
    outcomes = run_statements(folder, act_as("grafana"), [f"{READ} SETTINGS {setting}" for setting in settings])
    assert outcomes == ["10", CONSTRAINT, CONSTRAINT, READONLY]


def test_a_reader_may_sort_and_may_not_wait_for_ever(folder: Path) -> None:
    statements = [
        f"{READ} SETTINGS max_threads = 1",
        f"{READ} SETTINGS max_execution_time = 6000",
        f"{READ} SETTINGS readonly = 0",
    ]
    assert run_statements(folder, act_as("explorer"), statements) == ["10", CONSTRAINT, READONLY]
