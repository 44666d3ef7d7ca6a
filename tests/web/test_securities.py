"""Securities are made from the rows of other datasets: who had which symbol, how it was written, and who had it before."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.datasets.securities import INPUTS, derivation, securities
from spotlightd.datasets.short_halts import short_halts
from spotlightd.datasets.short_volume import short_volume
from spotlightd.datasets.trading_halts import trading_halts
from spotlightd.flows.derive.context import DeriveContext
from spotlightd.flows.derive.slices import SliceRunner
from spotlightd.flows.loads.publish import Publications
from spotlightd.query.search.identity import Identity, make_identity, make_key
from tests.web.test_search import read_case, search
from tests.web.world import FAILS, World, open_database, publish

AT = datetime(2021, 10, 6, 14, 0, tzinfo=UTC)
pytestmark = pytest.mark.asyncio(loop_scope="session")


def volume(day: date, facility: str, symbol: str, sold: int) -> tuple[Any, ...]:
    return (day, facility, symbol, Decimal(sold), None, Decimal(sold * 2), "Q")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shelf(world: World, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Constructed: the rows of the field cases, and what other publishers say of the same securities."""
    datasets = [*(source.dataset for source in INPUTS), securities]
    folder = tmp_path_factory.mktemp("securities")
    async with open_database(world, "securities", datasets) as shelf:
        day = date(2019, 1, 2)
        broken = (day, "29274F104", "ENIA", 7, "ENEL AM»RICAS S.A. SPONSORED A", None)
        await publish(shelf, FAILS, [*read_case("share_classes.txt"), *read_case("merger_days.txt"), broken])
        await publish(
            shelf,
            short_volume,
            [
                *(
                    volume(day, facility, "BRK/B", sold)
                    for facility, sold in (("CNMS", 700), ("FNSQ", 600), ("FNYX", 100))
                ),
                volume(day, "NYSE", "BRK B", 50),
                volume(day, "FNSQ", "MHGVY", 5),
                volume(day, "FNSQ", "NOCUSIP", 5),
            ],
        )
        await publish(shelf, short_halts, [(day, "BRK/B", "Berkshire Hathaway Inc", "N", AT, AT)])
        await publish(
            shelf,
            trading_halts,
            [
                (date(2021, 10, 6), "Nasdaq", "XERS", AT, "T1", "NASDAQ", "Xeris Pharmaceuticals", None, None, None, None),
                (date(2021, 10, 6), "NYSE", "XERS", AT, "News Pending", "Nasdaq", "Xeris", None, None, None, None),
            ],
        )  # fmt: skip
        async with SqliteLedger(folder / "ledger.sqlite") as ledger:
            context = DeriveContext(ledger, shelf.warehouse, Publications(ledger, shelf.warehouse))
            await SliceRunner(derivation, context).run_round()
        yield shelf


async def read_securities(world: World, **filters: str) -> list[dict[str, Any]]:
    status, text, _ = await world.get("/data/securities.json", params=filters)
    assert status == 200, text
    return list(json.loads(text)["rows"])


async def test_a_row_says_names_days_class_and_datasets(shelf: World) -> None:
    rows = await read_securities(shelf, symbol_key="BRKB")
    assert {(row["symbol"], row["cusip"]): row["datasets"] for row in rows} == {
        ("BRKB", "084670702"): ["sec_ftd"],
        ("BRK/B", ""): ["short_halts", "short_volume"],
        ("BRK B", ""): ["short_volume"],
    }
    slash = next(row for row in rows if row["symbol"] == "BRK/B")
    assert slash["share_class"] == "B"
    assert (slash["names"], slash["name"]) == (["Berkshire Hathaway Inc"], "Berkshire Hathaway Inc")
    assert (slash["first_seen"], slash["last_seen"], slash["days"]) == ("2019-01-02", "2019-01-02", 2)
    (forman,) = await read_securities(shelf, symbol="BFB")
    assert (forman["share_class"], forman["cusip"]) == ("B", "115637209")


async def test_former_symbols_and_other_cusips_are_named(shelf: World) -> None:
    rows = {(row["symbol"], row["cusip"]): row for row in await read_securities(shelf, symbol="XERS")}
    assert rows["XERS", "98422E103"]["former_symbols"] == ["XERSZZZZ"]
    assert rows["XERS", "98422E103"]["other_cusips"] == ["98422L107"]
    assert rows["XERS", ""]["other_cusips"] == ["98422E103", "98422L107"]
    (retired,) = await read_securities(shelf, symbol="XERSZZZZ")
    assert (retired["former_symbols"], retired["other_cusips"]) == ([], [])


@pytest.mark.parametrize("text", ["BRK.B", "BRK-B", "BRK/B", "BRKB", "brk b", "084670702"])
async def test_spellings_of_several_publishers_are_one_hit(shelf: World, text: str) -> None:
    assert await search(shelf, text) == "/s/BRKB"


async def test_a_name_of_any_dataset_is_found_and_says_which_have_it(shelf: World) -> None:
    status, text, _ = await shelf.get("/search", params={"q": "berkshire hath"})
    assert status == 200
    assert re.search(r'<a href="/s/BRK%2FB">BRK/B</a>.*short_halts, short_volume</td>', text)
    assert await search(shelf, "NOCUSIP") == "/s/NOCUSIP"


async def test_accents_and_broken_letters_do_not_hide_a_name(shelf: World) -> None:
    for text in ("enel americas", "ENEL AMÉRICAS", "Enel AM»RICAS s.a."):
        assert await search(shelf, text) == "ENIA", text


@pytest.mark.parametrize("symbol", ["BRKB", "BRK%2FB", "BRK.B"])
async def test_the_page_of_a_symbol_has_the_rows_of_all_its_spellings(shelf: World, symbol: str) -> None:
    status, text, _ = await shelf.get(f"/s/{symbol}")
    assert status == 200
    assert 'id="p-sec_ftd"' in text
    assert 'id="p-short_volume"' in text
    assert "Also printed as" in text
    assert "700" in text
    assert "1,450" not in text, "a consolidated volume was added to its parts"


async def test_rows_of_several_facilities_are_told_apart(shelf: World) -> None:
    _, text, _ = await shelf.get("/s/BRK%2FB")
    assert "there are rows of several: facility" in text
    for facility, sold in (("CNMS", 700), ("FNSQ", 600), ("FNYX", 100)):
        assert re.search(
            rf"<a href=\"[^\"]*2019-01-02,{facility},BRK~sB\">2019-01-02</a> <small>\(facility {facility}\)</small>.*?{sold}",
            text,
        ), text


async def test_a_symbol_that_passed_to_another_cusip_says_so(shelf: World) -> None:
    _, text, _ = await shelf.get("/s/XERS")
    assert "2 CUSIPs</mark> had this symbol:" in text
    assert "98422L107 (EXAMPLE PHARMA) from <time>2021-10-06</time> to <time>2021-10-06</time>" in text
    assert '<a href="/s/XERSZZZZ">XERSZZZZ</a>' in text
    _, text, _ = await shelf.get("/s/MHGVY")
    assert "had this symbol, partly on the same days:" in text
    _, text, _ = await shelf.get("/s/BFB")
    assert "CUSIPs</mark>" not in text


async def test_the_first_page_leads_to_all_rows_of_what_has_no_documents(shelf: World) -> None:
    _, text, _ = await shelf.get("/")
    assert '<a href="/data/securities">' in text
    assert "/data/securities?_document" not in text
    assert "/data/short_volume?_document=" in text


async def test_halts_of_two_reporters_are_not_added_up(shelf: World) -> None:
    _, text, _ = await shelf.get("/s/XERS")
    assert "with its reporter" in text
    assert "Latest: 1 rows <small>(reporter" in text


def known(symbol: str, cusip: str, last: int = 5) -> tuple[Any, ...]:
    return (
        symbol,
        make_key(symbol),
        cusip,
        "",
        date(2021, 1, 4),
        date(2021, 1, last),
        1,
        ["sec_ftd" if cusip else "short_volume"],
    )


@pytest.mark.parametrize(
    ("rows", "spellings", "lookalikes"),
    [
        ([known("AB.C", ""), known("ABC", "000000001")], {"AB.C", "ABC"}, set[str]()),
        ([known("AB.C", "000000002"), known("ABC", "000000001")], {"ABC"}, {"AB.C"}),
        ([known("AB.C", "000000002"), known("AB C", "000000001"), known("ABC", "")], {"ABC"}, {"AB.C", "AB C"}),
        ([known("AB.C", "000000001"), known("ABC", "000000001"), known("ABC", "000000002")], {"AB.C", "ABC"}, set()),
    ],
)
async def test_spellings_with_different_cusips_are_not_one(
    rows: list[tuple[Any, ...]], spellings: set[str], lookalikes: set[str]
) -> None:
    identity = make_identity("ABC", rows)
    assert {sighting.symbol for sighting in identity.spellings} == spellings
    assert {sighting.symbol for sighting in identity.lookalikes} == lookalikes
    assert identity.symbol_in("trades") == "ABC"
    assert identity.symbol_in("short_volume") == ("AB.C" if rows[0][2] == "" else "ABC")


async def test_nothing_is_known_before_the_first_publication() -> None:
    assert make_identity("ABC", []) == Identity("ABC", (), (), (), ())
