"""The log: no secrets, context that ends with its block, and a copy of every event for a sink."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from spotlightd import log
from spotlightd.log_limit import LimitedRenderer
from spotlightd.secret import HIDDEN

SECRET = "h0nest-Secret.17"


@pytest.fixture(autouse=True)
def _reset_logging() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if type(handler).__name__ != "_LibraryHandler"]


@pytest.mark.parametrize(
    "text",
    [
        f"wss://ws.finnhub.io/?token={SECRET}",
        f"https://x.example/a?b=1&api_key={SECRET}&c=2",
        f"https://x.example/a?key={SECRET}",
        f"http://spotlightd:{SECRET}@127.0.0.1:8123/",
        f"Authorization: Basic {SECRET}",
        f"{{'X-Auth-Token': '{SECRET}', 'a': 1}}",
        f'{{"password": "{SECRET}"}}',
        f"password={SECRET}; retry",
        f"X-Amz-Signature={SECRET}",
    ],
)
def test_what_looks_like_a_secret_is_neither_printed_nor_forwarded(text: str) -> None:
    out, events = io.StringIO(), list[Any]()
    log.configure("info", "json", out)
    with log.forward_events(lambda event: events.append(dict(event))):
        log.logger().info("source failed", error=text, nested={"a": [text]}, api_key=SECRET, url=ValueError(text))
        logging.getLogger("aiohttp").warning("cannot connect to %s", text)
        try:
            int(text)
        except ValueError:
            log.logger().exception("flow failed")
    assert len(events) == 3
    assert len(out.getvalue().splitlines()) == 3
    assert SECRET not in out.getvalue()
    assert SECRET not in repr(events)
    assert HIDDEN in out.getvalue()


def test_a_long_text_is_read_for_secrets_in_no_time() -> None:
    text = "a-" * 200_000 + "password=x"
    assert log.hide_secrets(text).endswith(f"password={HIDDEN}")


def test_harmless_values_stay_as_they_are() -> None:
    values = {
        "rows": 3,
        "seconds": 0.5,
        "none": None,
        "yes": True,
        "text": "a keyboard, monkey=1",
        "path": "/s?symbol=GME",
    }
    assert log.hide_secrets(values) == values


async def test_context_is_in_all_lines_of_its_block_and_in_no_other() -> None:
    out = io.StringIO()
    log.configure("info", "json", out)

    async def log_in_task() -> None:
        log.logger().info("flow started")

    with log.log_context(run="r1", load_id=7):
        await asyncio.create_task(log_in_task())
        log.logger(source="sec_ftd").info("load published", load_id=8)
    log.logger().info("flow stopped")
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(line.get("run"), line.get("load_id")) for line in lines] == [("r1", 7), ("r1", 8), (None, None)]


def test_existing_loggers_are_forwarded_too_and_nothing_is_after_the_block() -> None:
    log.configure("info", "json", io.StringIO())
    early, events = log.logger(flow="watchdog"), list[str]()
    with log.forward_events(lambda event: events.append(event["event"])):
        early.info("flow started")
        early.debug("request served")
    early.info("flow stopped")
    assert events == ["flow started"]


def test_a_repeated_complaint_is_one_line_a_second_and_says_how_many_were_left_out() -> None:
    out, now, events = io.StringIO(), [100.0], list[Any]()
    log.configure("info", "json", out)
    (limit,) = [part for part in structlog.get_config()["processors"] if isinstance(part, LimitedRenderer)]
    limit.now = lambda: now[0]
    with log.forward_events(lambda event: events.append(event["event"])):
        for second in range(3):
            now[0] = 100.0 + second
            for _ in range(1_000):
                logging.getLogger("asyncio").error("socket.accept() out of system resource")
                log.logger().info("request refused", path="/nope", status=404)
    now[0] = 110.0
    log.logger().info("flow started")
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    printed = Counter(line["event"] for line in lines)
    assert printed == {"library warned": 3, "request refused": 3, "log events left out": 6, "flow started": 1}
    left_out = Counter[str]()
    for line in lines:
        left_out[line.get("of", "")] += line.get("events", 0)
    assert left_out["library warned asyncio error"] == left_out["request refused 404"] == 2_997
    assert Counter(events) == {"library warned": 3_000, "request refused": 3_000}


def test_different_complaints_do_not_hide_each_other() -> None:
    out = io.StringIO()
    log.configure("info", "json", out)
    log.logger().info("request refused", path="/a", status=404)
    log.logger().info("request refused", path="/b", status=421)
    logging.getLogger("asyncio").error("one")
    logging.getLogger("aiohttp.server").error("other")
    log.logger().warning("document failed", document="a")
    log.logger().warning("document failed", document="b")
    assert len(out.getvalue().splitlines()) == 6
