"""DTCC's lists, computed addresses, damaged files, and each golden message read by two ways. Golden cases: tests/golden/dtcc_*."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from spotlightd import Batch, FormatError, Link, PublisherError, Reject, Rows, swaps
from spotlightd.model.provenance import Body
from spotlightd.parse import zipped
from spotlightd.runtime.catalog import load_catalog
from spotlightd.sources.dtcc import cftc_rates, cftc_until_2020, headers, repository, sec_equities
from spotlightd.workers.audit_child import encode_value
from spotlightd.workers.inline import parse_inline

GOLDEN = Path(__file__).parent.parent / "golden"
SOURCES = {source.name: source for source in load_catalog().sources if source.name.startswith("dtcc_")}
LISTS = "https://pddata.dtcc.com/ppd/api"
BUCKET = "https://kgc0418-tdw-data-0.s3.amazonaws.com"
DAY_NAMES = ("CFTC_CUMULATIVE_RATES_2026_11_26.zip", "CFTC_CUMULATIVE_RATES_2026_11_24.zip")


@dataclass(frozen=True, slots=True)
class Site:
    """The publisher's lists, by address."""

    pages: Mapping[str, str]

    async def page(self, url: str, *, post: str | None = None) -> str:
        assert post is None
        return self.pages[url]


def make_site(days: Any, slices: Any, regime: str = "CFTC", code: str = "IR") -> Site:
    def as_list(names: Any) -> str:
        entries = [{"fileName": name, "sliceId": 1} for name in names] if isinstance(names, list | tuple) else names
        return entries if isinstance(entries, str) else json.dumps(entries)

    return Site(
        {
            f"{LISTS}/cumulative/{regime}/{code}": as_list(days),
            f"{LISTS}/slice/{regime}/{code}": as_list(slices),
        }
    )


async def discover(source: Batch, site: Site) -> list[Link]:
    return [link async for link in source.discover(site)]


def test_each_asset_class_of_each_regime_has_a_source() -> None:
    assets = ("commodities", "credits", "equities", "forex", "rates")
    assert set(SOURCES) == {
        *(f"dtcc_cftc_{asset}" for asset in assets),
        *(f"dtcc_sec_{asset}" for asset in ("credits", "equities", "rates")),
        "dtcc_cftc_until_2020",
    }


async def test_listed_days_are_documents_and_the_other_days_of_two_years_are_probes() -> None:
    links = await discover(cftc_rates.source, make_site(DAY_NAMES, []))
    assert len(links) == len({link.url for link in links}) == 731
    assert links[0] == Link(
        f"{BUCKET}/cftc/eod/CFTC_CUMULATIVE_RATES_2026_11_26.zip", "2026/11/26", date(2026, 11, 26), date(2026, 11, 26)
    )
    assert [link.covers for link in links if not link.is_probe] == ["2026/11/26", "2026/11/24"]
    assert links[1].covers == "2026/11/25"
    assert links[-1].covers == "2024/11/26"


async def test_slices_are_requested_for_days_without_a_file_and_also_those_that_left_the_list() -> None:
    slices = [f"SEC_SLICE_EQUITIES_2026_11_{day}_{number}.zip" for day, number in ((26, 9), (27, 3), (27, 5))]
    site = make_site(["SEC_CUMULATIVE_EQUITIES_2026_11_26.zip"], slices, "SEC", "EQ")
    links = [link for link in await discover(sec_equities.source, site) if "/slices/" in link.url]
    assert [(link.covers, link.is_probe) for link in links] == [
        ("2026/11/27/s00001", True), ("2026/11/27/s00002", True), ("2026/11/27/s00003", False),
        ("2026/11/27/s00004", True), ("2026/11/27/s00005", False),
    ]  # fmt: skip
    assert links[2].url == f"{BUCKET}/sec/slices/SEC_SLICE_EQUITIES_2026_11_27_3.zip"


@pytest.mark.parametrize(
    ("days", "slices"),
    [
        ("<html>busy</html>", []),
        (DAY_NAMES, "<html>busy</html>"),
        ('{"message": "busy"}', []),
        ('["CFTC_CUMULATIVE_RATES_2026_11_26.zip"]', []),
        ([], []),
        (["SEC_CUMULATIVE_RATES_2026_11_26.zip"], []),
    ],
)
async def test_an_answer_that_is_no_list_of_files_fails_the_look(days: Any, slices: Any) -> None:
    with pytest.raises(PublisherError):
        await discover(cftc_rates.source, make_site(days, slices))


async def test_the_files_until_2020_have_older_addresses_and_are_not_requested() -> None:
    links = await discover(cftc_until_2020.source, Site({}))
    first = links[0]
    assert first.url == "https://kgc0418-tdw-data2-0.s3.amazonaws.com/slices/CUMULATIVE_RATES_2020_11_30.zip"
    assert (first.covers, first.is_probe) == ("2020/11/30/rates", True)
    assert len({link.covers for link in links}) == len(links) == 5 * 2891
    assert cftc_until_2020.source.suspended


def test_a_file_is_late_on_the_second_day_after_its_own() -> None:
    expected = cftc_rates.source.expected(date(2026, 11, 28))
    assert (expected.covers, expected.due) == ("2026/11/26", date(2026, 11, 28))
    assert cftc_rates.source.next_due(date(2026, 11, 28)).covers == "2026/11/27"


def list_documents() -> Iterator[tuple[str, Path, str]]:
    for case in sorted(GOLDEN.glob("dtcc_*/*/expected.json")):
        expected = json.loads(case.read_text())
        document = case.parent / expected["document"]
        if "published" in expected:
            yield case.parent.parent.name, document, document.name


@pytest.mark.parametrize(("source", "document", "name"), list(list_documents()), ids=lambda value: str(value)[-40:])
def test_every_message_reads_the_same_field_by_field(source: str, document: Path, name: str) -> None:
    """Each real file, of large ones some messages of all places, by the code of an audit."""
    batch = SOURCES[source]
    assert batch.reread
    (member,) = zipped.members(Body(document, name))
    lines = b"".join(zipped.pieces(member)).decode("latin-1").split("\n")
    checked = 0
    for rows in parse_inline(batch, document, name):
        assert isinstance(rows, Rows)
        some = pa.array(range(0, rows.columns.num_rows, 1 + rows.columns.num_rows // 200))
        for row in rows.columns.take(some).to_pylist():
            row["other"] = dict(row["other"])
            read = batch.reread(lines[row["line"] - 1])
            assert {name: encode_value(row[name]) for name in read} == {
                name: encode_value(value) for name, value in read.items()
            }
            checked += 1
    assert checked


def test_an_audit_reads_text_beyond_latin_1() -> None:
    fields = {
        "Dissemination Identifier": "1",
        "Action type": "NEWT",
        "Asset Class": "IR",
        "Underlying Asset Name": "Škoda",
    }
    line = ",".join(fields.get(name, "") for name in headers.V4)
    assert cftc_rates.source.reread
    row = cftc_rates.source.reread(line.encode().decode("latin-1"))
    assert (row["underlier_name"], row["publisher"], row["regime"]) == ("Škoda", "DTCC", "CFTC")
    assert "report_date" not in row


# -- damaged files -----------------------------------------------------------------------------------------------------

NAME = "CFTC_SLICE_RATES_2026_11_27_7.zip"
FIELDS = {"Action type": "NEWT", "Asset Class": "IR", "Notional amount-Leg 1": '"1,000"'}


def message(number: int, **fields: str) -> str:
    values = {"Dissemination Identifier": str(number)} | FIELDS | fields
    return ",".join(values.get(name, "") for name in headers.V4)


def pack(text: str, *names: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names or ("x.csv",):
            archive.writestr(name, text)
    return packed.getvalue()


HEADER = ",".join(headers.V4)
TWO = "\n".join([HEADER, message(1), message(2), ""])


def parse(body: bytes, folder: Path) -> tuple[list[str], list[Reject]]:
    (folder / "body").write_bytes(body)
    items = list(parse_inline(cftc_rates.source, folder / "body", NAME))
    ids = [text for item in items if isinstance(item, Rows) for text in item.columns["message_id"].to_pylist()]
    return ids, [item for item in items if isinstance(item, Reject)]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (pack(TWO)[:-40], "cut off or damaged"),
        (pack(TWO)[: len(pack(TWO)) // 2], "cut off or damaged"),
        (b"<!DOCTYPE html><html>busy</html>", "it is a web page"),
        (b"", "it is empty"),
        (pack(TWO, "a.csv", "b.csv"), "holds 2 files"),
        (pack(TWO, "a.txt"), "where one CSV is expected"),
        (pack(""), "the text is empty"),
        (pack("\n\n"), "the text is empty"),
        (pack(f"{HEADER},Cleared\n"), "names 'Cleared' twice"),
        (pack(HEADER.replace("Action type", "Action")), "lacks 'Action type'"),
        (pack("a,b\n1,2\n"), "of no known version"),
        (pack(TWO).replace(b"x.csv", b"../.c"), "leaves the folder"),
    ],
)
def test_a_damaged_file_is_refused_with_its_reason(body: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=reason):
        parse(body, tmp_path)


def test_a_line_that_is_damaged_costs_no_other_line(tmp_path: Path) -> None:
    lines = [
        HEADER,
        message(1),
        '2,"open,',
        message(3),
        "4,5",
        "",
        message(6),
        message(7, **{"UPI FISN": '"N'}),
        message(8),
    ]
    ids, rejects = parse(pack("\n".join(lines)), tmp_path)
    assert ids == ["1", "3", "6", "8"]
    assert [(reject.line, reject.reason) for reject in sorted(rejects, key=lambda reject: reject.line)] == [
        (3, "a quote is not closed"), (5, "2 fields where the header has 110"), (8, "a quote is not closed"),
    ]  # fmt: skip
    assert rejects[0].text == '2,"open,'


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\r\n", "\n\n\n"])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n"])
def test_marks_and_blank_lines_around_the_text_mean_nothing(start: str, end: str, tmp_path: Path) -> None:
    separator = "\r\n" if "\r" in end else "\n"
    text = start + separator.join([HEADER, message(1), message(2)]) + end
    assert parse(pack(text), tmp_path) == (["1", "2"], [])


@pytest.mark.parametrize("many", [1, 3_000])
def test_what_becomes_of_a_line_does_not_depend_on_how_many_there_are(many: int, tmp_path: Path) -> None:
    """A small block and a large one are divided by different code."""
    good = [message(number) for number in range(many)]
    odd = {
        '"open': 1, f'{message(8)},"': 1, message(9, **{"UPI FISN": '"N'}): 1, message(9, **{"UPI FISN": 'N "or" Y'}): 0,
        message(9, **{"UPI FISN": '"N ""or"" Y"'}): 0,
    }  # fmt: skip
    for line, rejected in odd.items():
        for lines in ([*good, line], [line, *good], [*good, line, *good]):
            ids, rejects = parse(pack("\n".join([HEADER, *lines])), tmp_path)
            assert (len(ids), len(rejects)) == (len(lines) - rejected, rejected)


def test_identifiers_of_19_digits_stay_as_printed(tmp_path: Path) -> None:
    numbers = [9_007_199_254_740_993, 5_585_343_159_000_000_301, 9_223_372_036_854_775_809]
    text = "\n".join([HEADER, *map(message, numbers), ""])
    assert parse(pack(text), tmp_path) == ([str(number) for number in numbers], [])


def test_a_large_day_is_read_in_blocks_with_true_line_numbers(tmp_path: Path) -> None:
    text = "\n".join([HEADER, *(message(number) for number in range(2, 25_002)), ""])
    (tmp_path / "body").write_bytes(pack(text))
    blocks = [
        item.columns for item in parse_inline(cftc_rates.source, tmp_path / "body", NAME) if isinstance(item, Rows)
    ]
    assert len(blocks) > 1
    for block in blocks:
        assert block["message_id"].to_pylist() == [str(line) for line in block["line"].to_pylist()]
    assert sum(map(len, blocks)) == 25_000


def test_the_day_is_that_of_the_file_whatever_its_messages_say(tmp_path: Path) -> None:
    old = message(1, **{"Execution Timestamp": "2019-03-20T05:50:24Z", "Event timestamp": "2026-11-01T05:30:00Z"})
    (tmp_path / "body").write_bytes(pack(f"{HEADER}\n{old}"))
    (rows,) = parse_inline(cftc_rates.source, tmp_path / "body", NAME)
    assert isinstance(rows, Rows)
    assert rows.columns["report_date"].to_pylist() == [date(2026, 11, 27)]
    assert swaps.time == "report_date"


@pytest.mark.parametrize("name", ["CFTC_CUMULATIVE_RATES_2026_02_30.zip", "CFTC_CUMULATIVE_RATES.zip"])
def test_a_name_without_a_day_of_the_calendar_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(pack(TWO))
    with pytest.raises(FormatError, match="no day"):
        list(cftc_rates.source.parse(Body(tmp_path / "body", name)))


def test_a_day_and_its_slices_are_a_whole_and_its_parts() -> None:
    day = date(2026, 11, 27)
    assert (repository.cover(day), repository.cover(day, 42)) == ("2026/11/27", "2026/11/27/s00042")
