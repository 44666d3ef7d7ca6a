"""Commands on a state folder that the demo filled, in this process and without a daemon beside it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet
import pytest

from spotlightd.cli import build_parser, main
from spotlightd.commands.output import Out
from spotlightd.commands.receipts.verify import print_verdict
from spotlightd.query.citation import CitedDocument
from spotlightd.query.verify import Missing, Verdict

TRAILERS = {  # (first day, rows, shares) as each real file's last two lines have them
    "2021-01a": ("2021-01-04", 48_215, 1_988_791_343),
    "2021-01b": ("2021-01-15", 55_972, 3_603_902_460),
    "2021-02a": ("2021-02-01", 59_224, 3_242_854_991),
    "2021-02b": ("2021-02-16", 54_843, 4_088_130_057),
}
CORRECTION = ("2021-01-15", 55_972, 3_603_924_250)  # constructed
BY_HALF_MONTH = (
    "SELECT toString(min(settlement_date)) AS first, count() AS rows, sum(quantity) AS shares FROM sec_ftd "
    "GROUP BY toYYYYMM(settlement_date), toDayOfMonth(settlement_date) > 14 ORDER BY first"
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = tmp_path_factory.mktemp("demo") / "state"
    result = spotlightd("demo", "sec_ftd", "--once", "--json", "--state", str(state))
    assert (result["documents"], result["rows"]) == (5, 274_226)
    assert [refused["covers"] for refused in result["refused"]] == ["2021/02/b"]
    return state


def spotlightd(*arguments: str, status: int = 0) -> Any:
    """The JSON result of a command that runs in its own process."""
    done = subprocess.run(
        [sys.executable, "-m", "spotlightd", *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout) if done.stdout else None


def half_months(state: Path, *arguments: str) -> list[tuple[str, int, int]]:
    rows = spotlightd("query", BY_HALF_MONTH, *arguments, "--state", str(state), "--json")
    return [(row["first"], row["rows"], row["shares"]) for row in rows]


def test_each_half_month_has_the_count_and_the_sum_of_its_files_trailers(demo: Path) -> None:
    first, second, third, fourth = TRAILERS.values()
    assert half_months(demo) == [first, CORRECTION, third, fourth]
    at = spotlightd(
        "query", "SELECT toString(published_at) AS at FROM loads WHERE seq = 4", "--state", str(demo), "--json"
    )
    assert half_months(demo, "--as-of", at[0]["at"].replace(" ", "T") + "Z") == [first, second, third, fourth]


def test_a_second_demo_loads_nothing_twice(demo: Path) -> None:
    result = spotlightd("demo", "sec_ftd", "--once", "--json", "--state", str(demo))
    assert (result["documents"], result["unchanged"], result["rows"]) == (0, 4, 0)


def test_as_of_shows_what_was_known_before_the_correction(demo: Path) -> None:
    at = spotlightd(
        "query", "SELECT toString(published_at) AS at FROM loads WHERE seq = 3", "--state", str(demo), "--json"
    )
    sql = "SELECT quantity FROM sec_ftd WHERE symbol = 'GME' AND settlement_date = '2021-01-20'"
    before = spotlightd("query", sql, "--as-of", at[0]["at"].replace(" ", "T") + "Z", "--state", str(demo), "--json")
    assert (before, spotlightd("query", sql, "--state", str(demo), "--json")) == (
        [{"quantity": 1007562}],
        [{"quantity": 997562}],
    )


def test_every_row_is_read_again_from_the_line_that_it_points_to(demo: Path) -> None:
    result = spotlightd("audit", "--state", str(demo), "--json")
    assert result == {"rows": 218_254, "same": 218_254, "faults": []}


def test_every_message_about_swaps_is_read_again_from_the_line_that_it_points_to(tmp_path: Path) -> None:
    sources = ("dtcc_cftc_credits", "dtcc_cftc_forex", "dtcc_cftc_rates", "dtcc_sec_equities")
    loaded = spotlightd("demo", *sources, "--once", "--json", "--state", str(tmp_path))
    assert (loaded["documents"], loaded["refused"]) == (11, [])
    result = spotlightd("audit", "swaps", "--state", str(tmp_path), "--json")
    assert result == {"rows": 5_210, "same": 5_210, "faults": []}


def _rows(file: Path) -> int:
    readers: dict[str, Callable[[], Any]] = {
        ".csv": lambda: pyarrow.csv.read_csv(file).num_rows,
        ".ndjson": lambda: len(file.read_text().splitlines()),
        ".arrow": lambda: pyarrow.ipc.open_stream(file.read_bytes()).read_all().num_rows,
        ".parquet": lambda: pyarrow.parquet.read_table(file).num_rows,
    }
    return int(readers[file.suffix]())


def test_exports_hold_the_same_rows_in_every_format(demo: Path, tmp_path: Path) -> None:
    counts = {}
    for name in ("csv", "ndjson", "arrow", "parquet"):
        arguments = (
            "export",
            "sec_ftd",
            "--format",
            name,
            "--where",
            "symbol=GME",
            "--to",
            str(tmp_path / f"out.{name}"),
        )
        spotlightd(*arguments, "--state", str(demo), "--json")
        counts[name] = _rows(tmp_path / f"out.{name}")
    assert counts == dict.fromkeys(counts, 38)


def test_an_export_follows_no_link_that_was_planted(demo: Path, tmp_path: Path) -> None:
    mine, file = tmp_path / "mine", tmp_path / "out.csv"
    mine.write_text("mine")
    for planted in (file, tmp_path / "out.csv.part", tmp_path / ".out.csv.new"):
        planted.symlink_to(mine)
    arguments = ("export", "sec_ftd", "--where", "symbol=GME", "--to", str(file))
    spotlightd(*arguments, "--state", str(demo), "--json")
    assert (mine.read_text(), file.is_symlink(), _rows(file)) == ("mine", False, 38)
    refused = spotlightd(*arguments[:-1], "/dev/null", "--state", str(demo), "--json", status=74)
    assert refused["detail"] == "/dev/null cannot be written: it is not a file"


def test_an_export_has_the_types_of_the_explorers_download(demo: Path, tmp_path: Path) -> None:
    arguments = ("--where", "symbol=GME", "--state", str(demo), "--json", "--to")
    parquet, arrow = tmp_path / "out.parquet", tmp_path / "out.arrow"
    spotlightd("export", "sec_ftd", "--format", "parquet", *arguments, str(parquet))
    spotlightd("export", "sec_ftd", "--format", "arrow", *arguments, str(arrow))
    for schema in (pyarrow.parquet.read_schema(parquet), pyarrow.ipc.open_stream(arrow.read_bytes()).schema):
        assert (str(schema.field("cusip").type), str(schema.field("settlement_date").type)) == ("string", "date32[day]")


def test_a_citation_of_an_earlier_state_is_taken_from_its_address(demo: Path) -> None:
    at = spotlightd(
        "query", "SELECT toString(published_at) AS at FROM loads WHERE seq = 3", "--state", str(demo), "--json"
    )
    then = at[0]["at"].replace(" ", "T") + "Z"
    result = spotlightd("cite", f"/data/sec_ftd?symbol=GME&as_of={then}", "--state", str(demo), "--json")
    assert result["as_of"] == then
    assert result != spotlightd("cite", "/data/sec_ftd?symbol=GME", "--state", str(demo), "--json")


@pytest.mark.parametrize(("parsers", "advised"), [((), True), (("2",), False)])
def test_fetching_is_advised_only_for_documents_that_are_not_here(
    capsys: pytest.CaptureFixture[str], parsers: tuple[str, ...], advised: bool
) -> None:
    document = CitedDocument("1" * 64, "1", "sec_ftd", "https://www.sec.gov/x.zip", 5, "2" * 64)
    print_verdict(Out(), Verdict("missing documents", 5, missing=(Missing(document, parsers),)))
    output = capsys.readouterr().out
    assert ("--fetch" in output) is advised
    assert ("not here:" in output) is advised


def test_a_citation_is_the_same_on_another_instance_and_holds_nothing_local(demo: Path, tmp_path: Path) -> None:
    result = spotlightd("cite", "/data/sec_ftd?symbol=GME", "--state", str(demo), "--json")
    text = json.dumps(result)
    assert "load_id" not in text
    assert '"seq"' not in text
    file = tmp_path / "gme.json"
    file.write_text(text)
    other = tmp_path / "other"
    spotlightd("demo", "sec_ftd", "--once", "--json", "--state", str(other))
    assert spotlightd("verify", str(file), "--state", str(other), "--json")["outcome"] == "same"


def test_a_changed_citation_is_detected(demo: Path, tmp_path: Path) -> None:
    result = spotlightd("cite", "/data/sec_ftd?symbol=GME", "--state", str(demo), "--json")
    result["address"] = "/data/sec_ftd?symbol=AMC"
    file = tmp_path / "changed.json"
    file.write_text(json.dumps(result))
    assert spotlightd("verify", str(file), "--state", str(demo), "--json", status=1)["outcome"] == "differs"


def test_try_prints_the_rows_of_a_file_and_the_error_of_a_bad_one(tmp_path: Path) -> None:
    real = Path("spotlightd/demo/data/cnsfails202101a.zip").resolve()
    result = spotlightd("try", "sec_ftd", str(real), "--rows", "1", "--json")
    assert result["rows"] == {"sec_ftd": 48_215}
    assert result["shown"]["sec_ftd"][0]["cusip"] == "B38564108"
    bad = tmp_path / "cnsfails202101a.zip"
    bad.write_text("<html>not found</html>")
    assert "it is a web page" in spotlightd("try", "sec_ftd", str(bad), "--json", status=65)["detail"]


def test_a_new_source_loads_and_its_first_case_fails_until_it_is_written(tmp_path: Path) -> None:
    result = spotlightd("new-source", "finra_otc", "--folder", str(tmp_path), "--json")
    document = Path(result["case"]) / "document.txt"
    output = spotlightd("try", result["source"], str(document), "--json", status=65)["detail"]
    assert "parse is not written yet" in output
    assert (
        "exists already"
        in spotlightd("new-source", "finra_otc", "--folder", str(tmp_path), "--json", status=78)["detail"]
    )


@pytest.mark.parametrize(
    ("arguments", "detail"),
    [
        (("query", "DROP TABLE sec_ftd"), "query only reads"),
        (("query", "SELECT 1", "--as-of", "yesterday"), "is not a date like"),
        (("export", "nothing"), "no dataset is called 'nothing'"),
        (("export", "sec_ftd", "--where", "symbl=GME"), "symbol"),
        (("backfill", "nothing"), "no source is called 'nothing'"),
        (("backfill", "sec_ftd", "--from", "2021-02-01", "--to", "2021-01-01"), "is after"),
        (("verify", "missing.json"), "cannot be read"),
        (("cite", "/status"), "is no address of data"),
        (("cite", "http://[::1"), "is no address of data"),
        (("audit", "nothing"), "no dataset is called 'nothing'"),
    ],
)
def test_an_impossible_request_is_refused_with_a_remedy(demo: Path, arguments: tuple[str, ...], detail: str) -> None:
    assert detail in spotlightd(*arguments, "--state", str(demo), "--json", status=78)["detail"]


def test_a_reading_command_does_not_create_a_state_folder(tmp_path: Path) -> None:
    assert (
        "there is no state folder"
        in spotlightd("query", "SELECT 1", "--state", str(tmp_path / "x"), "--json", status=78)["detail"]
    )
    assert not (tmp_path / "x").exists()


def test_a_command_does_not_migrate_the_ledger_beside_a_daemon_of_another_release(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as ledger:
        ledger.execute("PRAGMA user_version = 3")
    (tmp_path / "daemon.json").write_text(json.dumps({"url": "http://127.0.0.1:1", "born": 7}))
    result = spotlightd("archive", "status", "--state", str(tmp_path), "--json", status=78)
    assert "was not written by this release" in result["detail"]
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as ledger:
        assert ledger.execute("PRAGMA user_version").fetchone() == (3,)


def test_every_command_helps_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = next(action for action in build_parser()._actions if isinstance(action.choices, dict)).choices or {}
    for name in arguments:
        with pytest.raises(SystemExit) as ended:
            main([str(name), "--help"])
        assert ended.value.code == 0
        assert f"spotlightd {name}" in capsys.readouterr().out.split("example:")[1]


def test_a_wrong_command_is_exit_2() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["quary"])
    assert ended.value.code == 2
