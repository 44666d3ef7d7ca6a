"""Values and row addresses: a value that is written can be read back unchanged."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotlightd.datasets.system import runs
from spotlightd.model.dataset import Column
from spotlightd.query import key, values
from spotlightd.query.errors import HttpProblem
from spotlightd.query.values import canonical, to_text
from spotlightd.sources.sec_ftd import sec_ftd
from spotlightd.web import formatting, responses
from spotlightd.web.symbol import daily_chart

PLAIN = st.text(st.characters(codec="utf-8"), max_size=30)


@given(st.dates(date(1970, 1, 1), date(2149, 6, 6)), st.text("0123456789ABCDEFGHIJ", min_size=9, max_size=9), PLAIN)
def test_a_rows_key_survives_its_address(day: date, cusip: str, symbol: str) -> None:
    segment = key.join_key([day, cusip, symbol])
    assert "/" not in segment
    assert not segment.endswith(".json")
    assert key.split_key(sec_ftd, segment) == (day.isoformat(), cusip, symbol)


def test_a_rows_address_can_be_read_by_people() -> None:
    assert key.join_key([date(2021, 1, 27), "36467W109", "GME"]) == "2021-01-27,36467W109,GME"
    assert key.join_key([date(2021, 1, 27), "084670702", "BRK/B.x,~"]) == "2021-01-27,084670702,BRK~sB~dx~c~t"


@pytest.mark.parametrize("segment", ["", "2021-01-27", "2021-01-27,1,GME,x", "27.1.2021,36467W109,GME", "2021-01-27,1234567890,A",
                                     "2021-01-27,36467W109,~z"])  # fmt: skip
def test_an_address_that_no_row_can_have_is_not_found(segment: str) -> None:
    with pytest.raises(HttpProblem) as error:
        key.split_key(sec_ftd, segment)
    assert error.value.status == 404


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**13), max_value=10**13))
def test_a_decimal_that_was_written_is_read_back(number: Decimal) -> None:
    text = to_text(number)
    assert text
    assert Decimal(canonical(Column("p", "Decimal(18, 4)", ""), text)) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_that_was_written_is_read_back(number: float) -> None:
    text = to_text(number)
    assert text
    assert float(canonical(runs.column("seconds"), text)) == number


@given(st.datetimes(datetime(1900, 1, 1), datetime(2261, 1, 1)))  # noqa: DTZ001
def test_a_time_that_was_written_is_read_back_to_the_microsecond(moment: datetime) -> None:
    text = to_text(moment.replace(tzinfo=UTC))
    assert text
    assert canonical(runs.column("at"), text) == f"{moment:%Y-%m-%d %H:%M:%S.%f}"


@given(st.decimals(allow_nan=False, allow_infinity=False, places=8, min_value=-(10**20), max_value=10**20), PLAIN)
def test_json_keeps_every_digit_of_a_decimal_and_every_text(number: Decimal, text: str) -> None:
    value = json.loads(responses.to_json({"number": number, "text": text}), parse_float=Decimal, parse_int=Decimal)
    assert value == {"number": number, "text": text}


def test_nuls_and_controls_are_shown_as_signs() -> None:
    assert formatting.show_controls("A\0B\x1b[31m\x7f") == "A␀B␛[31m␡"


def test_numbers_are_grouped_and_prices_keep_their_digits() -> None:
    assert formatting.format_number(1_988_791_343) == "1,988,791,343"
    assert formatting.format_number(Decimal("40.6900")) == "40.69"
    assert formatting.format_number(Decimal("0.0001")) == "0.0001"
    assert formatting.format_number(Decimal("12.0000")) == "12.00"
    assert formatting.format_number(None) == "–"  # noqa: RUF001


@pytest.mark.parametrize(
    ("microsecond", "text"),
    [(0, "14:30:05 UTC"), (120_000, "14:30:05.120 UTC"), (120_001, "14:30:05.120001 UTC"), (1, "14:30:05.000001 UTC")],
)
def test_a_cell_shows_a_time_with_all_its_digits(microsecond: int, text: str) -> None:
    moment = datetime(2021, 1, 27, 14, 30, 5, microsecond, tzinfo=UTC)
    assert formatting.format_cell(moment) == f"2021-01-27 {text}"


def test_an_address_quotes_a_slash_inside_of_a_segment() -> None:
    assert values.format_address(("s", "BRK/B"), as_of="") == "/s/BRK%2FB"
    assert values.format_address(("s", "?#&"), [("q", "a b")]) == "/s/%3F%23%26?q=a+b"


@given(
    st.lists(
        st.tuples(st.dates(date(2000, 1, 1), date(2030, 1, 1)), st.floats(0, 1e15)),
        max_size=50,
        unique_by=lambda p: p[0],
    )
)
def test_a_drawing_stays_inside_of_its_frame(days: list[tuple[date, float]]) -> None:
    days.sort()
    drawing = daily_chart.draw_days(
        [day for day, _ in days], [value for _, value in days], lambda index: daily_chart.Point(str(index), "")
    )
    assert [bar.point.text for bar in drawing.bars] == [str(index) for index in range(len(days))]
    for bar in drawing.bars:
        assert bar.x >= daily_chart.LEFT - 0.1
        assert bar.x + bar.width <= daily_chart.WIDTH
        assert daily_chart.TOP - 0.1 <= bar.y <= drawing.base + 0.1


def test_more_days_than_pixels_become_one_outline() -> None:
    days = [date(2004, 3, 22) + timedelta(days=index) for index in range(5_000)]
    drawing = daily_chart.draw_days(
        days, [float(index) for index in range(5_000)], lambda _: pytest.fail("a bar has a text")
    )
    assert drawing.bars == ()
    assert 100 < drawing.outline.count("M") <= daily_chart.WIDTH
