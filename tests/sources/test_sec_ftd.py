from __future__ import annotations

import zipfile
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import pytest

from spotlightd import FormatError, Link, Reject, Rows
from spotlightd.parse import dates
from spotlightd.sources import sec_ftd
from spotlightd.workers.inline import parse_inline

FOLDERS = {
    "cnsp_sec_fails_2004q1.zip": "/files/data/fails-deliver-data/",
    "cnsp_sec_fails_2009q2.zip": "/files/data/frequently-requested-foia-document-fails-deliver-data/",
    "cnsfails200907a.zip": "/files/data/frequently-requested-foia-document-fails-deliver-data/",
    "cnsfails201706b.zip": "/files/data/fails-deliver-data/",
    "cnsfails201910a_0.zip": "/files/data/fails-deliver-data/",
    "cnsfails202002a.zip": "/files/node/add/data_distribution/",
    "cnsfails202308b_0.zip": "/files/data/other/fails-deliver-data/",
}


class Index:
    def __init__(self, page: str) -> None:
        self._page = page

    async def page(self, url: str, *, post: str | None = None) -> str:
        assert (url, post) == (sec_ftd.INDEX, None)
        return self._page


async def list_links(*addresses: str) -> list[Link]:
    page = "".join(f'<li><a href="{address}">file</a></li>' for address in addresses)
    return [link async for link in sec_ftd.discover(Index(page))]


async def test_file_names_decide_whatever_the_folder_is() -> None:
    links = await list_links(*(folder + name for name, folder in reversed(FOLDERS.items())))
    assert [(link.url, link.covers) for link in links] == [
        ("https://www.sec.gov" + folder + name, covers)
        for (name, folder), covers in zip(
            FOLDERS.items(),
            ["2004/q1", "2009/q2", "2009/07/a", "2017/06/b", "2019/10/a", "2020/02/a", "2023/08/b"],
            strict=True,
        )
    ]


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("cnsp_sec_fails_2004q1.zip", date(2004, 1, 1), date(2004, 3, 31)),
        ("cnsp_sec_fails_2008q4.zip", date(2008, 10, 1), date(2008, 12, 31)),
        ("cnsfails202101a.zip", date(2021, 1, 1), date(2021, 1, 14)),
        ("cnsfails202101b.zip", date(2021, 1, 15), date(2021, 1, 31)),
        ("cnsfails202402b.zip", date(2024, 2, 15), date(2024, 2, 29)),
        ("CNSFAILS202012B.ZIP", date(2020, 12, 15), date(2020, 12, 31)),
    ],
)
async def test_a_link_knows_the_days_that_it_reports(name: str, first: date, last: date) -> None:
    (link,) = await list_links("/files/" + name)
    assert (link.first, link.last) == (first, last)


async def test_of_a_file_posted_again_only_the_newest_is_there() -> None:
    for order in (["", "_0", "_1"], ["_1", "", "_0"], ["_0", "_1", ""]):
        links = await list_links(*(f"/files/cnsfails202101a{again}.zip" for again in order))
        assert [link.url.rsplit("/", 1)[1] for link in links] == ["cnsfails202101a_1.zip"]


async def test_what_is_no_file_of_fails_is_left_alone() -> None:
    others = ["/files/cnsfails202113a.zip", "/files/cnsfails202101c.zip", "/cnsfails202101a.zip.html", "/a.pdf"]
    assert await list_links(*others, "/files/xcnsfails202101a.zip", "/files/cnsp_sec_fails_2004q5.zip") == []


@pytest.mark.parametrize(
    ("day", "covers", "due"),
    [
        (date(2021, 2, 6), "2020/12/b", date(2021, 1, 23)),
        (date(2021, 2, 7), "2021/01/a", date(2021, 2, 7)),
        (date(2021, 2, 22), "2021/01/a", date(2021, 2, 7)),
        (date(2021, 2, 23), "2021/01/b", date(2021, 2, 23)),
        (date(2021, 3, 6), "2021/01/b", date(2021, 2, 23)),
        (date(2021, 3, 7), "2021/02/a", date(2021, 3, 7)),
        (date(2021, 1, 1), "2020/11/b", date(2020, 12, 23)),
    ],
)
def test_the_newest_slice_that_should_be_out(day: date, covers: str, due: date) -> None:
    expected = sec_ftd.expected(day)
    assert (expected.covers, expected.due) == (covers, due)


def test_what_is_expected_only_moves_on_and_is_never_due_in_the_future() -> None:
    days = [date(2020, 1, 1) + timedelta(days=n) for n in range(800)]
    expected = [sec_ftd.expected(day) for day in days]
    assert all(document.due <= day for document, day in zip(expected, days, strict=True))
    assert [document.covers for document in expected] == sorted(document.covers for document in expected)
    assert len({document.covers for document in expected}) == 54


def test_the_next_period_is_known() -> None:
    assert sec_ftd.source.next_due(date(2021, 2, 7)).covers == "2021/01/b"


HEADER = "SETTLEMENT DATE|CUSIP|SYMBOL|QUANTITY (FAILS)|DESCRIPTION|PRICE\n"
MARCH = f"{HEADER}20040331|000000F16|AAAA|90000|EXAMPLE CORP|.\n20040401|000000F16|AAAA|100000|EXAMPLE CORP|.\n"
APRIL = f"{HEADER}20040401|000000F16|AAAA|100000|EXAMPLE CORP|.\n20040402|000000F16|AAAA|110000|EXAMPLE CORP|.\n"


def pack(folder: Path, name: str, text: str) -> Path:
    """A constructed zip with one text, under the publisher's name."""
    path = folder / name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("fails.txt", text)
    return path


def test_a_day_that_two_quarters_hold_is_one_balance(tmp_path: Path) -> None:
    """Constructed after public parsers, which report 2004-04-01 in the files of both quarters."""
    balances: Counter[tuple[str, str]] = Counter()
    rejects = []
    for number, text in ((1, MARCH), (2, APRIL)):
        path = pack(tmp_path, f"cnsp_sec_fails_2004q{number}.zip", text)
        quarter = dates.quarter(date(2004, 3 * number, 1))
        for item in parse_inline(sec_ftd.source, path, path.name, period=quarter):
            if isinstance(item, Rows):
                balances.update((str(row["settlement_date"]), row["symbol"]) for row in item.columns.to_pylist())
            else:
                rejects.append(item)
    assert balances == dict.fromkeys((("2004-03-31", "AAAA"), ("2004-04-01", "AAAA"), ("2004-04-02", "AAAA")), 1)
    reason = (
        "2004-04-01 is outside 2004-01-01 to 2004-03-31, the days of this document: it is loaded only from the document "
        "that reports its day"
    )
    assert rejects == [Reject(0, 3, "20040401|000000F16|AAAA|100000|EXAMPLE CORP|.", reason, of_other_slice=True)]


def test_a_file_under_the_name_of_the_other_half_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path, "cnsp_sec_fails_2004q1.zip", APRIL)
    with pytest.raises(FormatError, match="none of the 2 rows is of the days of this document") as refused:
        list(parse_inline(sec_ftd.source, path, path.name, period=dates.quarter(date(2004, 1, 1))))
    assert refused.value.line == 2


SMALL = [
    ("/files/data/cnsp_sec_fails_less_than_10000.zip", "2008q3 to 2009q2"),
    ("/files/data/fails_under10k_0.zip", "Archive"),
    ("/files/node/add/extra.zip", "Balances below\n 10,000 shares, <b>September 16, 2008</b> to June 30, 2009"),
    ("/f/a.zip", "Balances less than 10,000 shares"),
    ("/f/a.zip", "Fails with balances under ten thousand shares"),
    ("/f/a.zip", "&lt; 10,000 shares, Sept 16 2008 to June 30 2009"),
    ("/f/lt10000.zip", "x"),
    ("/f/fails_lt_10k_2008.zip", "September 2008 - June 2009"),
    ("/f/less-than-10000.txt", "Less than 10,000 shares"),
    ("/f/less_than_10_000.ZIP?v=2", "x"),
    ("/f/a.zip", "fewer&nbsp;than 10,000"),
    ("/f/smaller_than_10000_shares.zip", "x"),
    ("/f/a.zip", "not exceeding 9,999 shares"),
    ("/f/10000_or_less.zip", "x"),
    ("/f/cnsfails200809_less_than_10000.zip", "x"),
    ("/f/sub-10000.zip", "Supplemental fails data"),
    ("/f/a.zip", "balances of up to 10,000 shares"),
    ("/f/data/cnsfails-10000-2008.zip", "Fails to deliver data for 10,000 or fewer shares"),
]


@pytest.mark.parametrize(("address", "text"), SMALL)
async def test_the_file_of_small_balances_is_found_by_its_name_or_its_link(address: str, text: str) -> None:
    page = f'<a href="/files/cnsfails202101a.zip">first half</a> <a href="{address}">{text}</a> <a href="/x.zip">x</a>'
    links = [link async for link in sec_ftd.discover(Index(page))]
    assert [link.covers for link in links][1:] == ["2021/01/a"]
    assert links[0].covers.startswith("2008/below-10000/")
    assert (links[0].first, links[0].last) == (date(2008, 9, 16), date(2009, 6, 30))
    assert links[0].is_supplement


@pytest.mark.parametrize("text", ["Default 10000 shares", "more than 10,000 shares", "Balances of 10,000 shares"])
async def test_a_link_about_other_balances_is_no_file_of_small_ones(text: str) -> None:
    page = f'<a href="/files/cnsfails202101a.zip">first half</a> <a href="/f/a.zip">{text}</a>'
    assert [link.covers async for link in sec_ftd.discover(Index(page))] == ["2021/01/a"]


async def test_a_half_month_whose_link_speaks_of_small_balances_stays_a_half_month() -> None:
    page = '<a href="/files/cnsfails202101a.zip">also balances below 10,000 shares</a>'
    assert [link.covers async for link in sec_ftd.discover(Index(page))] == ["2021/01/a"]


def test_the_file_of_small_balances_is_read_like_the_files_of_its_time(tmp_path: Path) -> None:
    """Its rows add to those of the quarters; its trailers are checked only if it has them."""
    text = f"{HEADER}20080916|000000F16|AAAA|999|EXAMPLE CORP|1.00\n"
    plain = tmp_path / "less-than-10000.txt"
    plain.write_text(text)
    for path in (pack(tmp_path, "fails_under10k.zip", text), plain):
        (rows,) = parse_inline(sec_ftd.source, path, path.name)
        assert isinstance(rows, Rows)
        assert rows.columns["quantity"].to_pylist() == [999]


def test_the_notes_say_what_no_row_means_on_every_day() -> None:
    notes = " ".join(sec_ftd.sec_ftd.notes)
    for part in (
        "zero from 2009-07-01 on", "below 10,000 shares before 2008-09-16", "zero only if 2008/below-10000 is covered",
        "/status names no refused one",
    ):  # fmt: skip
        assert part in notes
