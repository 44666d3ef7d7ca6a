"""Sources of authors who make every mistake there is (all constructed); the parser's tests run them in the child."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from datetime import date

import pyarrow as pa

from spotlightd import (
    Batch,
    Body,
    Column,
    Dataset,
    Expected,
    FormatError,
    Link,
    OutsideRows,
    Pages,
    Reject,
    Rhythm,
    Rows,
)


def dataset(name: str) -> Dataset:
    columns = (
        Column("number", "UInt64", "a number"), Column("text", "String", "a text"), Column("day", "Date", "a day"),
    )  # fmt: skip
    rhythm = Rhythm("never", stale_days=1)
    return Dataset(name, name, "nobody", "constructed", columns, ("number",), ("number",), "day", rhythm)


FIRST, SECOND = dataset("first"), dataset("second")
DAY = date(2021, 1, 1)


async def discover(pages: Pages) -> AsyncIterator[Link]:
    yield Link(await pages.page(""), "x", date(2021, 1, 1), date(2021, 1, 1))


def source(name: str, parse: Callable[[Body], Iterator[Rows | Reject]]) -> Batch:
    return Batch(
        name=name,
        title=name,
        home="",
        datasets=(FIRST, SECOND),
        discover=discover,
        parse=parse,
        parser="1",
        hosts=(),
        cron="0 0 * * *",
        expected=lambda day: Expected("x", day),
        outside=OutsideRows.REFUSE,
    )


def rows(dataset: Dataset, count: int, text: str = "text", line: int = 1) -> Rows:
    columns = {
        "number": pa.array(range(count), pa.uint64()),
        "text": pa.array([text] * count),
        "day": pa.array([DAY] * count, pa.date32()),
        "member": pa.array([0] * count, pa.uint16()),
        "line": pa.array(range(line, line + count), pa.uint32()),
    }
    return Rows(dataset, pa.record_batch(list(columns.values()), list(columns)))


def good_parse(body: Body) -> Iterator[Rows | Reject]:
    count = int(body.path.read_text())
    yield rows(FIRST, count)
    yield Reject(0, count + 1, "é\0\x01 text", "a reason")
    yield rows(SECOND, 2)
    yield rows(FIRST, 1, line=count + 2)


def endless_parse(body: Body) -> Iterator[Rows | Reject]:
    del body
    while True:
        yield rows(FIRST, 10_000, "x" * 100)


def refused_parse(body: Body) -> Iterator[Rows | Reject]:
    yield rows(FIRST, 1)
    raise FormatError(f"{body.name} is not what it should be", member=4, line=7)


def hostile_parse(body: Body) -> Iterator[Rows | Reject]:
    """Writes what the document holds to each file that it can, as code that took over the child would; then it is silent."""
    for number in range(3, 20):
        with suppress(OSError):
            os.write(number, body.path.read_bytes())
    time.sleep(3_600)
    yield rows(FIRST, 1)


def threading_parse(body: Body) -> Iterator[Rows | Reject]:
    """Starts as many threads as the document says, and tells how many run."""
    can_end, count = threading.Event(), 0
    with suppress(RuntimeError):
        for _ in range(int(body.path.read_text())):
            threading.Thread(target=can_end.wait, daemon=True).start()
            count += 1
    can_end.set()
    yield Reject(0, 1, str(count), "threads")


def choosy_parse(body: Body) -> Iterator[Rows | Reject]:
    text = body.path.read_text()
    yield rows(FIRST, int(text) if text.isdigit() else 5)
    if not text.isdigit():
        raise FormatError(f"{body.name} is not what it should be")


def buggy_parse(body: Body) -> Iterator[Rows | Reject]:
    yield rows(FIRST, 1)
    yield rows(FIRST, int({"a": body.name}["b"]))


def missing_column_parse(body: Body) -> Iterator[Rows | Reject]:
    del body
    yield Rows(FIRST, rows(FIRST, 1).columns.drop_columns(["line"]))


def wrong_type_parse(body: Body) -> Iterator[Rows | Reject]:
    del body
    batch = rows(FIRST, 1).columns
    yield Rows(FIRST, batch.set_column(0, "number", pa.array([1.5])))


def null_parse(body: Body) -> Iterator[Rows | Reject]:
    del body
    batch = rows(FIRST, 1).columns
    yield Rows(FIRST, batch.set_column(1, "text", pa.array([None], pa.string())))


def stranger_parse(body: Body) -> Iterator[Rows | Reject]:
    del body
    yield rows(dataset("third"), 1)


def hungry_parse(body: Body) -> Iterator[Rows | Reject]:
    held = [bytes(1 << 20) for _ in range(int(body.path.read_text()))]
    yield rows(FIRST, len(held))


def busy_parse(body: Body) -> Iterator[Rows | Reject]:
    del body
    while True:
        pow(3, 100_000)


def sleepy_parse(body: Body) -> Iterator[Rows | Reject]:
    del body
    time.sleep(3_600)
    yield rows(FIRST, 1)


def crashing_parse(body: Body) -> Iterator[Rows | Reject]:
    ctypes.string_at(int(body.path.read_text()))
    yield rows(FIRST, 1)


def leaving_parse(body: Body) -> Iterator[Rows | Reject]:
    os._exit(int(body.path.read_text()))


def printing_parse(body: Body) -> Iterator[Rows | Reject]:
    print("not a frame", body.name)
    os.write(1, b"not a frame either")
    sys.stdout.flush()
    yield rows(FIRST, 1)


def writing_parse(body: Body) -> Iterator[Rows | Reject]:
    with body.path.with_name("written").open("wb") as file:
        file.write(b"x")
    yield rows(FIRST, 1)


def telling_parse(body: Body) -> Iterator[Rows | Reject]:
    """Tells about its surroundings, a line each."""
    del body
    limits = [resource.RLIMIT_AS, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE]
    lines = [
        repr(sorted(os.environ)),
        repr("pandas" in sys.modules),
        *(str(resource.getrlimit(limit)[0]) for limit in limits),
    ]
    for number, text in enumerate(lines, 1):
        yield Reject(0, number, text, str(os.getpid()))


def many_rejects_parse(body: Body) -> Iterator[Rows | Reject]:
    for number in range(int(body.path.read_text())):
        yield Reject(0, number + 1, "\x01" * 2_000, "why")


def opening_parse(body: Body) -> Iterator[Rows | Reject]:
    held = [body.path.open("rb") for _ in range(1_000)]
    yield rows(FIRST, len(held))


def wide_parse(body: Body) -> Iterator[Rows | Reject]:
    """Much into one dataset, a little into the other only at the end."""
    for _ in range(int(body.path.read_text())):
        yield rows(FIRST, 10_000, "x" * 100)
    yield rows(SECOND, 1)


good = source("good", good_parse)
endless = source("endless", endless_parse)
refused = source("refused", refused_parse)
hostile = source("hostile", hostile_parse)
threads = source("threads", threading_parse)
choosy = source("choosy", choosy_parse)
buggy = source("buggy", buggy_parse)
missing_column = source("missing_column", missing_column_parse)
wrong_type = source("wrong_type", wrong_type_parse)
null = source("null", null_parse)
stranger = source("stranger", stranger_parse)
hungry = source("hungry", hungry_parse)
busy = source("busy", busy_parse)
sleepy = source("sleepy", sleepy_parse)
crashing = source("crashing", crashing_parse)
leaving = source("leaving", leaving_parse)
printing = source("printing", printing_parse)
writing = source("writing", writing_parse)
telling = source("telling", telling_parse)
many_rejects = source("many_rejects", many_rejects_parse)
opening = source("opening", opening_parse)
wide = source("wide", wide_parse)
