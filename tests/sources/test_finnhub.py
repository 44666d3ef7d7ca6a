"""The stream source finnhub: the messages to the venue, and the decode of valid and invalid frames."""

from __future__ import annotations

import json
import random
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from spotlightd import Feed, trades
from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.demo.recordings import read_recordings
from spotlightd.sources.finnhub import USUAL, finnhub
from spotlightd.sql import decode
from tests.sources.stream_engine import insert_frames, warehouse_in

pytestmark = pytest.mark.asyncio(loop_scope="module")

RECORDED = [recording.value for recording in read_recordings()]
GOOD: dict[str, Any] = {"c": ["1", "12"], "p": 164.0601, "s": "TSLA", "t": 1680286537580, "v": 5}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def warehouse(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ClickHouse]:
    async with warehouse_in(tmp_path_factory.mktemp("state")) as client:
        yield client


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def trade(*several: dict[str, Any]) -> bytes:
    return compact({"data": list(several), "type": "trade"})


def raw(**texts: str) -> bytes:
    """A frame of one trade with some of its fields written as given."""
    fields = {name: json.dumps(value, separators=(",", ":")) for name, value in GOOD.items()} | texts
    body = ",".join(f'"{name}":{text}' for name, text in fields.items())
    return f'{{"data":[{{{body}}}],"type":"trade"}}'.encode()


async def test_the_key_is_in_the_address_and_quoted() -> None:
    assert finnhub.address(Feed(key="a&b=c d/é")) == "wss://ws.finnhub.io?token=a%26b%3Dc%20d%2F%C3%A9"
    assert finnhub.key_required
    assert finnhub.hosts == ("ws.finnhub.io",)


async def test_it_subscribes_to_each_symbol() -> None:
    messages = finnhub.hello(Feed(symbols=("AAPL", "BINANCE:BTCUSDT")))
    assert [json.loads(message) for message in messages] == [
        {"type": "subscribe", "symbol": "AAPL"},
        {"type": "subscribe", "symbol": "BINANCE:BTCUSDT"},
    ]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (b'{"type":"error","msg":"Subscribing to too many symbols"}', "Subscribing to too many symbols"),
        (b'{"msg":"Invalid API key","type":"error"}', "Invalid API key"),
        (b'{"type":"error"}', "an error without a message"),
        (b'{"type":"ping"}', ""),
        (b'{"type":"error"', ""),
        (b'["error"]', ""),
        (b'{"type":"trade","data":[{"s":"error"}]}', ""),
        (trade(GOOD), ""),
        (b'{"type":"error"' + b"[" * 100_000, ""),
    ],
)
async def test_the_text_of_a_refusal_is_read(frame: bytes, message: str) -> None:
    assert finnhub.venue_error(frame) == message


RIGHT: dict[str, bytes] = {
    "as it comes": trade(GOOD),
    "without conditions": trade({key: GOOD[key] for key in "pstv"}),
    "conditions null": trade(GOOD | {"c": None}),
    "no conditions": trade(GOOD | {"c": []}),
    "one condition": trade(GOOD | {"c": ["1"]}),
    "whole price": trade(GOOD | {"p": 164}),
    "price 0": trade(GOOD | {"p": 0}),
    "price below 0": trade(GOOD | {"p": -37.63}),
    "volume 0": trade(GOOD | {"v": 0}),
    "small volume": raw(v="0.00008"),
    "small volume with an exponent": raw(v="8e-05"),
    "large with an exponent": raw(v="1.5E+7"),
    "forex": trade(GOOD | {"s": "OANDA:EUR_USD", "v": 0}),
    "spaces": json.dumps({"data": [GOOD], "type": "trade"}).encode(),
    "type first": compact({"type": "trade", "data": [GOOD]}),
    "lines": json.dumps({"data": [GOOD], "type": "trade"}, indent=1).encode(),
    "a field more": trade(GOOD | {"x": {"s": "no"}}),
    "symbol with a quote": trade(GOOD | {"s": 'A"B\\C'}),
    "symbol beyond ASCII": trade(GOOD | {"s": "ÄÖ日本"}),
    "symbol of digits": trade(GOOD | {"s": "0700.HK"}),
    "time 0": trade(GOOD | {"t": 0}),
    "time as a whole float": raw(t="1680286537580.0"),
    "several": trade(GOOD, GOOD, GOOD | {"p": 1}),
    "none": trade(),
    "ping": b'{"type":"ping"}',
    "error": b'{"type":"error","msg":"Subscribing to too many symbols"}',
    "news": compact({"type": "news", "data": [{"headline": "x", "s": "A", "p": 1, "t": 1, "v": 1}]}),
    "long price": raw(p="0.12345678901234567"),
    "very long whole price": raw(p="9007199254740993"),
}


def long_digits(frame: bytes) -> bool:
    numbers = re.findall(rb":\s*-?([0-9.]+)", frame)
    return any(len(text.replace(b".", b"").lstrip(b"0")) > 15 for text in numbers)


def by_hand(frame: bytes) -> list[dict[str, Any]]:
    """The rows of a frame by other code than the engine's."""
    message = json.loads(frame)
    return [
        {
            "symbol": trade["s"],
            "venue": trade["s"].rpartition(":")[0].split(":")[0],
            "time": datetime.fromtimestamp(int(trade["t"]) // 1000, UTC).replace(
                microsecond=int(trade["t"]) % 1000 * 1000
            ),
            "price": float(trade["p"]),
            "volume": float(trade["v"]),
            "conditions": trade.get("c") or [],
            "long_digits": long_digits(frame),
            "frame_index": at,
        }
        for at, trade in enumerate(message["data"] if message["type"] == "trade" else [])
    ]


async def test_what_is_right_is_decoded_as_by_hand(warehouse: ClickHouse) -> None:
    frames = await insert_frames(finnhub, warehouse, list(RIGHT.values()))
    await frames.decode()
    assert await frames.rejected() == []
    rows = await frames.rows()
    wanted = [row | {"offset": at} for at, frame in enumerate(RIGHT.values()) for row in by_hand(frame)]
    assert rows == wanted
    assert await frames.wanted() == len(wanted)
    assert await frames.rejected() == []


WRONG: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it is no valid JSON"),
    "cut off": (trade(GOOD)[:-9], "it is no valid JSON"),
    "cut off in the trade": (trade(GOOD)[:30], "it is no valid JSON"),
    "not UTF-8": (trade(GOOD).replace(b"TSLA", b"TS\xffA"), "it is no valid JSON"),
    "something behind": (trade(GOOD) + b"x", "it is no valid JSON"),
    "a NUL behind": (trade(GOOD) + b"\0", "it is no valid JSON"),
    "two frames": (trade(GOOD) * 2, "it is no valid JSON"),
    "not a number": (raw(p="NaN"), "it is no valid JSON"),
    "infinite": (raw(p="1e400"), "it is no valid JSON"),
    "leading zero": (raw(p="007"), "it is no valid JSON"),
    "two points": (raw(p="1.2.3"), "it is no valid JSON"),
    "point at the end": (raw(v="1."), "it is no valid JSON"),
    "comma too many": (trade(GOOD).replace(b"}]", b"},]"), "it is no valid JSON"),
    "comma missing": (trade(GOOD, GOOD).replace(b"},{", b"}{"), "it is no valid JSON"),
    "comma missing in conditions": (raw(c='["1""12"]'), "it is no valid JSON"),
    "deep": (b'{"type":"trade","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "it is no valid JSON"),
    "deep and open": (b'{"type":"trade","data":' + b"[" * 1_000_000, "it is no valid JSON"),
    "a list": (compact([GOOD]), "it is no JSON object"),
    "a list like a frame": (compact(["trade", [[1, "A", 1, 1, []]]]), "it is no JSON object"),
    "a number": (b"7", "it is no JSON object"),
    "no type": (compact({"data": [GOOD]}), "it has no type, or one that is no text"),
    "type a number": (compact({"data": [GOOD], "type": 1}), "it has no type, or one that is no text"),
    "unknown type": (compact({"data": [GOOD], "type": "quote"}), "its type is unknown: quote"),
    "no data": (b'{"type":"trade"}', "it has no data, or data that is no list"),
    "data null": (b'{"data":null,"type":"trade"}', "it has no data, or data that is no list"),
    "data an object": (compact({"data": GOOD, "type": "trade"}), "it has no data, or data that is no list"),
    "data twice": (b'{"data":[],"data":[],"type":"trade"}', "it has a field twice"),
    "a trade is a list": (compact({"data": [[1, "A", 1, 1]], "type": "trade"}), "trade 1 is no object"),
    "a trade is null": (compact({"data": [GOOD, None], "type": "trade"}), "trade 2 is no object"),
    "price twice": (trade(GOOD).replace(b'"p"', b'"p":1,"p"'), "trade 1 has a field twice"),
    "no price": (trade({key: GOOD[key] for key in "stv"}), "trade 1 has no p"),
    "price null": (raw(p="null"), "trade 1 has no p"),
    "price quoted": (raw(p='"164.06"'), "trade 1 has no p"),
    "price quoted after a space": (raw(p=' "164.06"'), "trade 1 has no p"),
    "price true": (raw(p="true"), "trade 1 has no p"),
    "price a list": (raw(p="[1]"), "trade 1 has no p"),
    "price beyond all prices": (raw(p="85e19"), "trade 1 has no p, or one that is no number below 1e19"),
    "price of 30 digits": (raw(p="1" * 30), "trade 1 has no p"),
    "no symbol": (trade({key: GOOD[key] for key in "ptv"}), "trade 1 has no s"),
    "symbol empty": (raw(s='""'), "trade 1 has no s"),
    "symbol a number": (raw(s="5"), "trade 1 has no s"),
    "no time": (trade({key: GOOD[key] for key in "psv"}), "trade 1 has no t"),
    "time quoted": (raw(t='"1680286537580"'), "trade 1 has no t"),
    "fraction in the time": (raw(t="1680286537580.5"), "trade 1 has a t that is no whole number"),
    "time below 0": (raw(t="-1"), "trade 1 has a t outside of 1970 to 2286"),
    "time too late": (raw(t="10000000000000"), "trade 1 has a t outside of 1970 to 2286"),
    "time much too late": (raw(t="18446744073709551615"), "trade 1 has a t outside of 1970 to 2286"),
    "no volume": (trade({key: GOOD[key] for key in "pst"}), "trade 1 has no v"),
    "volume quoted": (raw(v='"5"'), "trade 1 has no v"),
    "volume below 0": (raw(v="-5"), "trade 1 has a v below 0"),
    "conditions a number": (raw(c="7"), "trade 1 has a c that is no list"),
    "conditions a text": (raw(c='"1"'), "trade 1 has a c that is no list"),
    "conditions an object": (raw(c='{"1":1}'), "trade 1 has a c that is no list"),
    "conditions of numbers": (raw(c='["1",12]'), "trade 1 has a c that is no list of texts"),
    "conditions of nulls": (raw(c="[null]"), "trade 1 has a c that is no list of texts"),
    "the second of three": (trade(GOOD, GOOD | {"p": "1"}, GOOD), "trade 2 has no p"),
    "too many": (trade(*[GOOD] * 65_536), "it has more than 65,535 trades"),
}


async def test_what_is_wrong_is_a_reject_with_its_reason_and_no_row(warehouse: ClickHouse) -> None:
    frames = await insert_frames(finnhub, warehouse, [frame for frame, _ in WRONG.values()])
    await frames.decode()
    assert await frames.rows() == []
    assert await frames.wanted() == 0
    rejects = {offset: (frame, reason) for _, _, offset, frame, reason in await frames.rejected()}
    assert set(rejects) == set(range(len(WRONG)))
    reasons = {name: rejects[offset][1] for offset, name in enumerate(WRONG)}
    assert {name: reasons[name] for name, (_, reason) in WRONG.items() if not reasons[name].startswith(reason)} == {}


def numbers(seed: int, many: int) -> list[str]:
    """Numbers as JSON may write them: up to 15 digits with the point anywhere, prices, long ones, exponents."""
    pick = random.Random(seed)
    texts = [_pointed(pick) if at % 2 else _any(pick) for at in range(many)]
    return [text for text in texts if abs(float(text)) < 1e19]


def _pointed(pick: random.Random) -> str:
    digits = str(pick.randrange(10 ** pick.randint(1, 15)))
    at = pick.randint(0, 22)
    padded = digits.rjust(at + 1, "0")
    return f"{padded[: len(padded) - at]}.{padded[len(padded) - at :]}" if at else digits


def _any(pick: random.Random) -> str:
    whole = str(pick.randrange(10 ** pick.randint(1, 18)))
    after = f".{pick.randrange(10**18):018}"[: pick.randint(2, 19)] if pick.random() < 0.7 else ""
    exponent = f"{pick.choice('eE')}{pick.choice(['', '-', '+'])}{pick.randint(0, 40)}" if pick.random() < 0.3 else ""
    return f"{pick.choice(['', '', '-'])}{whole}{after}{exponent}"


async def test_a_number_is_the_double_that_python_reads(warehouse: ClickHouse) -> None:
    texts = numbers(seed=4, many=20_000)
    frames = await insert_frames(finnhub, warehouse, [raw(p=text) for text in texts])
    await frames.decode()
    rows = await frames.rows(("price", "long_digits"))
    assert [text for text, row in zip(texts, rows, strict=True) if row["price"] != float(text)] == []
    assert [text for text, row in zip(texts, rows, strict=True) if row["long_digits"] != _long(text)] == []


def _long(text: str) -> bool:
    return len(re.split("[eE]", text)[0].replace(".", "").lstrip("-0")) > 15


async def test_frames_as_the_venue_writes_them_take_the_fast_decode(warehouse: ClickHouse) -> None:
    several = (
        "as it comes", "without conditions", "conditions null", "no conditions", "whole price", "volume 0",
        "small volume", "small volume with an exponent", "forex", "symbol of digits", "several", "none",
    )  # fmt: skip
    frames = {f"f{at}": RIGHT[name].decode() for at, name in enumerate(several)}
    texts = ", ".join(f"match({{{name}:String}}, '{USUAL}')" for name in frames)
    (matches,) = (await warehouse.rows(f"SELECT {texts}", frames)).rows
    assert dict(zip(several, matches, strict=True)) == dict.fromkeys(several, 1)


async def test_the_fast_decode_gives_the_same_rows_and_is_certain_of_what_the_venue_sends(
    warehouse: ClickHouse,
) -> None:
    frames = [*RIGHT.values(), *(frame for frame, _ in WRONG.values()), *RECORDED]
    there = await insert_frames(finnhub, warehouse, frames)
    looked = decode.select_decoded(finnhub, decode.SPAN, fast=True)
    names = ", ".join(column.name for column in trades.columns if column.name not in {"ingested", "source"})
    rows = f"SELECT {names}, offset, frame_index FROM ({{}}) WHERE reject = '' ORDER BY offset, frame_index"
    unsure = {
        row[0] for row in (await warehouse.rows(f"SELECT offset FROM ({looked}) WHERE reject != ''", there.span)).rows
    }
    both = [
        [row for row in (await warehouse.rows(rows.format(text), there.span)).rows if row[-2] not in unsure]
        for text in (looked, decode.select_decoded(finnhub, decode.SPAN))
    ]
    assert both[0] == both[1] != []
    assert not unsure & set(range(len(frames) - len(RECORDED), len(frames)))
    assert set(range(len(RIGHT), len(RIGHT) + len(WRONG))) <= unsure


async def test_the_decode_has_the_digest_that_loads_and_citations_name() -> None:
    """A change of one letter of its SQL is another decode. Change this digest only together with its meaning."""
    assert finnhub.parser == "e6629fd789b894e5"
