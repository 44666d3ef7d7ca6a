from __future__ import annotations

from datetime import date, timedelta

import pytest

from spotlightd import Link
from spotlightd.sources import sec_ftd

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

    async def page(self, url: str) -> str:
        assert url == sec_ftd.INDEX
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
