"""Trades as Finnhub's websocket sends them: stocks (`AAPL`), crypto (`BINANCE:BTCUSDT`), forex (`OANDA:EUR_USD`).

Known from frames that people made public (2020, 2023, 2024): a frame holds one trade or several. `t` is in milliseconds.
`c`, the conditions, is a list of codes, an empty list, null (crypto) or absent (2020). Prices may be whole numbers, and
volumes 0 or fractions. Trades have no number: two equal trades in one frame are both real, and the server has sent every
frame three times (Finnhub-API, issue 143), so equal trades are never dropped. Order is not by time.

Claimed by users, not tried here: one connection per key, about 50 symbols on the free plan, and connections that stay
open after the pings have stopped. The server pings about once a minute, also when no market is open. A connection
without any frame for one and a half minutes and another half minute counts as dead.

`decode` first compares each frame's text with a pattern. A frame that matches needs no further check: the pattern allows
numbers of at most 15 digits, whole times, and texts and lists of texts in their places, each field once. All other frames
are checked field by field, because the engine's JSON functions silently read a number in quotes, cut a fraction off a
time, and turn a missing field into 0. Numbers from 10^19 on are refused, because the engine then reports them as texts.
The pattern costs about a quarter of the rate (benchmarks/decode.py: 0.73 to 0.83 of a decode that checks nothing), the
code around it a twentieth.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from urllib.parse import quote

from spotlightd import Feed, Stream, find_named_symbols, trades

HOST = "ws.finnhub.io"
PING_APART_SECONDS = 60.0

_TEXT = "[ !#-[^-~]"  # plain characters that JSON writes without a backslash
_NUMBER = "(?:0(?:[.][0-9]{1,14})?|[1-9][0-9]{0,8}(?:[.][0-9]{1,6})?|[1-9][0-9]{9,14})(?:e-[0-9]{1,2})?"
_CODE = f'"{_TEXT}+"'
_CONDITIONS = f'"c":(?:null|[[](?:{_CODE}(?:,{_CODE})*)?[]]),'
_TIME = "(?:0|[1-9][0-9]{0,12})"
_TRADE = f'[{{](?:{_CONDITIONS})?"p":{_NUMBER},"s":"{_TEXT}+","t":{_TIME},"v":{_NUMBER}[}}]'
USUAL = f'^[{{]"data":[[](?:{_TRADE}(?:,{_TRADE})*)?[]],"type":"trade"[}}]$'
"""Matches only valid JSON with all fields in their types. It has no backslash and no quote, so it fits into SQL as it is."""
LONG = ":[ \t\r\n]*-?[0.]*[1-9](?:[.]?[0-9]){15}"
"""A number of more than 15 digits, without leading zeros. Times have 13."""

SHAPE = "Tuple(data Array(Tuple(p Float64, s String, t Int64, v Float64, c Array(String))))"
USUAL_SHAPE = SHAPE.replace("c Array(String)", "c String")
"""The list of conditions as text: splitting it is cheaper than an Array from JSONExtract."""
REJECT = '{"data":[{"p":0}]}'  # a rejected frame gives one row, of which only the reason is read
NUMBERS = "('Int64', 'UInt64', 'Double')"

# A change of one letter in these texts is another decode: their digest is in loads and citations. So the names inside
# the SQL stay as they were first written, plain or not.
TRADE_REASON = f"""multiIf(
    JSONType(one) != 'Object', 'is no object',
    length(arrayDistinct(JSONExtractKeys(one))) != length(JSONExtractKeys(one)), 'has a field twice',
    JSONType(one, 'p') NOT IN {NUMBERS}, 'has no p, or one that is no number below 1e19',
    JSONType(one, 's') != 'String' OR JSONExtractString(one, 's') = '', 'has no s, or one that is no text',
    JSONType(one, 't') NOT IN {NUMBERS}, 'has no t, or one that is no number',
    JSONExtractFloat(one, 't') != floor(JSONExtractFloat(one, 't')), 'has a t that is no whole number of milliseconds',
    JSONExtractFloat(one, 't') < 0 OR JSONExtractFloat(one, 't') >= 1e13, 'has a t outside of 1970 to 2286',
    JSONType(one, 'v') NOT IN {NUMBERS}, 'has no v, or one that is no number below 1e19',
    JSONExtractFloat(one, 'v') < 0, 'has a v below 0',
    JSONType(one, 'c') NOT IN ('Null', 'Array'), 'has a c that is no list',
    arrayExists(code -> JSONType(code) != 'String', JSONExtractArrayRaw(one, 'c')), 'has a c that is no list of texts',
    '')"""

REASON = f"""multiIf(
    NOT isValidJSON(frame), 'it is no valid JSON',
    JSONType(frame) != 'Object', 'it is no JSON object',
    length(arrayDistinct(JSONExtractKeys(frame))) != length(JSONExtractKeys(frame)), 'it has a field twice',
    JSONType(frame, 'type') != 'String', 'it has no type, or one that is no text',
    JSONExtractString(frame, 'type') IN ('ping', 'error', 'news'), '',
    JSONExtractString(frame, 'type') != 'trade', concat('its type is unknown: ', left(JSONExtractString(frame, 'type'), 100)),
    JSONType(frame, 'data') != 'Array', 'it has no data, or data that is no list',
    JSONLength(frame, 'data') > 65535, 'it has more than 65,535 trades',
    arrayFirst(said -> said != '', arrayMap(
        (one, number) -> if({TRADE_REASON} AS said_of_one = '', '', concat('trade ', toString(number), ' ', said_of_one)),
        JSONExtractArrayRaw(frame, 'data'), arrayEnumerate(JSONExtractArrayRaw(frame, 'data')))))"""

TRADES = f"multiIf(usual, frame, reject != '', '{REJECT}', JSONExtractString(frame, 'type') = 'trade', frame, '')"
CODES = "trade.c"
USUAL_CODES = """if(length(trade.c) > 2, splitByString('","', substring(trade.c, 3, length(trade.c) - 4)), [])"""
"""The conditions of a list of plain, non-empty texts."""


def _make_select(usual: str, reason: str, trades_json: str, shape: str, codes: str) -> str:
    return f"""SELECT
    trade.s AS symbol,
    if(position(symbol, ':') = 0, '', substringIndex(symbol, ':', 1)) AS venue,
    fromUnixTimestamp64Milli(trade.t, 'UTC') AS time,
    received,
    now64(6, 'UTC') AS ingested,
    trade.p AS price,
    trade.v AS volume,
    '' AS side,
    '' AS trade_id,
    {codes} AS conditions,
    'trade' AS type,
    long_digits,
    epoch, partition, offset, at - 1 AS frame_index,
    reject
FROM (
    SELECT epoch, partition, offset, received,
        {usual} AS usual,
        if(usual, '', {reason}) AS reject,
        NOT usual AND match(frame, '{LONG}') AS long_digits,
        {trades_json} AS told,
        JSONExtract(told, '{shape}').data AS data
    FROM {{frames}}
)
ARRAY JOIN data AS trade, arrayEnumerate(data) AS at"""


IS_USUAL = f"length(frame) < 1000000 AND match(frame, '{USUAL}')"
DECODE = _make_select(IS_USUAL, REASON, TRADES, SHAPE, CODES)
PING = '{"type":"ping"}'
FAST_DECODE = _make_select(
    f"({IS_USUAL}) OR frame = '{PING}'",
    "'it does not read as usual'",
    f"if(usual, frame, '{REJECT}')",
    USUAL_SHAPE,
    USUAL_CODES,
)


def address(feed: Feed) -> str:
    return f"wss://{HOST}?token={quote(feed.key, safe='')}"


def hello(feed: Feed) -> Iterator[str]:
    for symbol in feed.symbols:
        yield json.dumps({"type": "subscribe", "symbol": symbol})


def venue_error(value: bytes) -> str:
    """The message of an error frame, such as `Subscribing to too many symbols`. Other frames are mostly known by bytes."""
    if b'"error"' not in value[:64] and b'"error"' not in value[-64:]:
        return ""
    try:
        frame = json.loads(value)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(frame, dict) or frame.get("type") != "error":
        return ""
    return str(frame.get("msg") or "an error without a message")[:500]


def refused_symbols(text: str, symbols: Collection[str]) -> tuple[str, ...]:
    """`Invalid symbol OANDA:EUR_USD` refuses that symbol. `Invalid API key` refuses the key, and not the ticker `API`."""
    return find_named_symbols(re.sub(r"\bAPI (?=key|limit)", "", text), symbols)


finnhub = Stream(
    name="finnhub",
    title="Finnhub trades",
    home="https://finnhub.io/docs/api/websocket-trades",
    datasets=(trades,),
    address=address,
    hello=hello,
    decode=DECODE,
    fast_decode=FAST_DECODE,
    venue_error=venue_error,
    refused_symbols=refused_symbols,
    hosts=(HOST,),
    stale_seconds=PING_APART_SECONDS * 1.5 + 30.0,
    ping_seconds=20.0,
    max_frame_bytes=16 << 20,
    key_required=True,
)
