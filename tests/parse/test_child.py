from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest

from spotlightd import Batch, Body, FormatError, Rows, StoreError
from spotlightd.model.source import Period
from spotlightd.parse import columns, zipped
from spotlightd.ports.parser import ParseResult
from spotlightd.settings.sources import ParserSettings
from spotlightd.sources import sec_ftd
from spotlightd.workers.inline import parse_inline
from spotlightd.workers.parser import ChildParser
from tests.parse import authors

PLACES = {name: str(Path(authors.__file__)) for name, value in vars(authors).items() if isinstance(value, Batch)}
LIMITS = ParserSettings()
FTD = Path(str(sec_ftd.__file__)).parent.parent / "demo" / "data" / "cnsfails202101a.zip"


@pytest.fixture
async def parser() -> AsyncIterator[ChildParser]:
    async with ChildParser(LIMITS, PLACES) as opened:
        yield opened


@pytest.fixture
def document(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "document"
        path.write_text(text)
        return path

    return write


async def read(parser: ChildParser, source: Batch, path: Path) -> tuple[dict[str, pa.Table], ParseResult]:
    async with parser.parse(source, path, "document.txt", load_id=9) as parsing:
        streams = [_join(parsing.columns(dataset.name)) for dataset in source.datasets]
        whole = await asyncio.gather(*streams)
        parsed = await parsing.result()
    names = [dataset.name for dataset in source.datasets]
    return {name: pa.ipc.open_stream(data).read_all() for name, data in zip(names, whole, strict=True)}, parsed


async def _join(stream: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in stream])


async def refusal(parser: ChildParser, source: Batch, path: Path) -> FormatError:
    async with parser.parse(source, path, "document.txt", load_id=9) as parsing:
        for dataset in source.datasets:
            async for _ in parsing.columns(dataset.name):
                pass
        with pytest.raises(FormatError) as refused:
            await parsing.result()
    return refused.value


def pid(parser: ChildParser) -> int:
    assert parser._child is not None
    return parser._child.process.pid


async def test_rows_come_as_arrow_streams_with_load_id_in_stored_order(
    parser: ChildParser, document: Callable[[str], Path]
) -> None:
    tables, parsed = await read(parser, authors.good, document("3"))
    assert parsed.rows == {"first": 4, "second": 2}
    assert parsed.lines == 7
    assert [(reject.line, reject.text, reject.reason) for reject in parsed.rejects] == [(4, "é\0\x01 text", "a reason")]
    for dataset in authors.good.datasets:
        assert tables[dataset.name].schema == columns.stored_schema(dataset)
        assert set(tables[dataset.name]["load_id"].to_pylist()) == {9}
    assert tables["first"]["line"].to_pylist() == [1, 2, 3, 5]


async def test_a_real_document_has_the_same_rows_in_the_child_and_in_this_process(parser: ChildParser) -> None:
    tables, parsed = await read(parser, sec_ftd.source, FTD)
    batches = [item.columns for item in parse_inline(sec_ftd.source, FTD, FTD.name) if isinstance(item, Rows)]
    inline = pa.Table.from_batches(batches)
    assert tables["sec_ftd"].drop_columns(["load_id"]).equals(inline)
    assert (parsed.rows, parsed.rejects, parsed.lines) == ({"sec_ftd": 48_215}, (), 48_215)


async def test_the_rule_for_rows_of_other_days_is_applied_in_the_child(parser: ChildParser) -> None:
    """All rows but those of the first day of a real half-month count as rows of other documents."""
    period = Period(date(2021, 1, 4), date(2021, 1, 4))
    async with parser.parse(sec_ftd.source, FTD, FTD.name, load_id=9, period=period) as parsing:
        await _join(parsing.columns("sec_ftd"))
        parsed = await parsing.result()
    assert parsed.rows == {"sec_ftd": 48_215 - len(parsed.rejects)}
    assert parsed.lines == 48_215
    assert all(reject.of_other_slice for reject in parsed.rejects)
    assert parsed.rejects[0].text.startswith("20210105|")


async def test_the_content_of_an_archive_is_digested_in_the_child_which_stays_warm(
    parser: ChildParser, document: Callable[[str], Path]
) -> None:
    before = pid(parser)
    assert await parser.content_digest(FTD, FTD.name) == zipped.content_digest(Body(FTD, FTD.name))
    assert await parser.content_digest(document("no archive"), "x") == ""
    assert (await read(parser, authors.good, document("1")))[1].lines == 5
    assert pid(parser) == before


async def test_a_dataset_without_rows_is_an_empty_stream(parser: ChildParser, document: Callable[[str], Path]) -> None:
    tables, parsed = await read(parser, authors.telling, document(""))
    assert [table.num_rows for table in tables.values()] == [0, 0]
    assert parsed.rows == {"first": 0, "second": 0}


async def test_the_child_stays_warm_after_a_document_read_to_its_end(
    parser: ChildParser, document: Callable[[str], Path]
) -> None:
    before = pid(parser)
    for _ in range(3):
        await read(parser, authors.good, document("1"))
    assert pid(parser) == before


async def test_a_refused_document_names_the_place_and_the_next_one_is_read(
    parser: ChildParser, document: Callable[[str], Path]
) -> None:
    refused = await refusal(parser, authors.refused, document(""))
    assert (str(refused), refused.member, refused.line) == ("document.txt is not what it should be", 4, 7)
    assert (await read(parser, authors.good, document("1")))[1].lines == 5


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (authors.buggy, "a bug in the source buggy: KeyError: 'b' (authors.py line "),
        (authors.missing_column, "TypeError: rows of first have columns too many or too few: line"),
        (authors.wrong_type, "TypeError: first.number is double, not uint64"),
        (authors.null, "TypeError: first.text has empty values, and is not Nullable"),
        (authors.stranger, "TypeError: rows of third, which the source does not declare"),
        (authors.writing, "a bug in the source writing: PermissionError: "),
        (authors.opening, "a bug in the source opening: OSError: [Errno 24] Too many open files"),
        (authors.leaving, "the parser's child process ended while reading it (status 3)"),
        (authors.crashing, "or crashed the parser (SIGSEGV)"),
    ],
    ids=lambda value: value.name if isinstance(value, Batch) else "",
)
async def test_a_bug_in_a_source_is_a_format_error_with_type_and_line(
    parser: ChildParser, document: Callable[[str], Path], source: Batch, message: str
) -> None:
    assert message in str(await refusal(parser, source, document("3")))
    assert (await read(parser, authors.good, document("1")))[1].lines == 5


async def test_output_that_a_source_prints_is_discarded(parser: ChildParser, document: Callable[[str], Path]) -> None:
    assert (await read(parser, authors.printing, document("")))[1].rows == {"first": 1, "second": 0}


async def test_the_child_has_no_environment_no_pandas_and_the_limits_it_should(
    parser: ChildParser, document: Callable[[str], Path]
) -> None:
    _, parsed = await read(parser, authors.telling, document(""))
    environment, pandas, *limits = [reject.text for reject in parsed.rejects]
    assert pandas == "False"
    assert all(name.startswith(("ARROW_", "MALLOC_", "OMP_", "OPENBLAS_", "LC_")) for name in eval(environment))  # noqa: S307
    assert limits == [str(LIMITS.memory_bytes), "64", "0", "0"]


async def test_a_document_that_takes_too_much_memory_is_refused_naming_the_limit(
    document: Callable[[str], Path],
) -> None:
    async with ChildParser(replace(LIMITS, memory_bytes=512 << 20), PLACES) as parser:
        refused = await refusal(parser, authors.hungry, document("1000"))
        assert str(refused) == "reading it takes more than 512 MiB of memory (parser.memory_bytes)"
        assert (await read(parser, authors.hungry, document("10")))[1].rows["first"] == 10


async def test_a_document_that_takes_too_much_processor_time_is_refused(document: Callable[[str], Path]) -> None:
    async with ChildParser(replace(LIMITS, cpu_seconds=0), PLACES) as parser:
        refused = await refusal(parser, authors.busy, document(""))
        assert str(refused) == "reading it takes more than 0 seconds of processor time (parser.cpu_seconds)"


async def test_processor_time_is_counted_for_each_document_anew(document: Callable[[str], Path]) -> None:
    async with ChildParser(replace(LIMITS, cpu_seconds=1), PLACES) as parser:
        before, until = pid(parser), time.monotonic() + 60
        while psutil.Process(pid(parser)).cpu_times().user < 2 and time.monotonic() < until:
            await read(parser, authors.good, document("200000"))
        assert pid(parser) == before


async def test_a_document_that_takes_too_long_is_refused(document: Callable[[str], Path]) -> None:
    async with ChildParser(replace(LIMITS, wall_seconds=0.3), PLACES) as parser:
        refused = await refusal(parser, authors.sleepy, document(""))
        assert str(refused) == "reading it took more than 0.3 seconds (parser.wall_seconds)"


async def test_leaving_early_ends_the_child_at_once(parser: ChildParser, document: Callable[[str], Path]) -> None:
    child = psutil.Process(pid(parser))
    async with parser.parse(authors.endless, document(""), "x", load_id=1) as parsing:
        async for _ in parsing.columns("first"):
            break
    assert not child.is_running()
    assert (await read(parser, authors.good, document("1")))[1].lines == 5


async def test_a_cancelled_reader_ends_the_child(parser: ChildParser, document: Callable[[str], Path]) -> None:
    child = psutil.Process(pid(parser))
    started = asyncio.Event()

    async def reader() -> None:
        async with parser.parse(authors.endless, document(""), "x", load_id=1) as parsing:
            async for _ in parsing.columns("first"):
                started.set()

    task = asyncio.create_task(reader())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not child.is_running()
    assert (await read(parser, authors.good, document("1")))[1].lines == 5


async def test_documents_are_read_one_after_the_other(parser: ChildParser, document: Callable[[str], Path]) -> None:
    path = document("20")
    results = await asyncio.gather(*(read(parser, authors.good, path) for _ in range(5)))
    assert [parsed.lines for _, parsed in results] == [24] * 5


async def test_a_slow_reader_slows_the_child_and_the_daemon_stays_small(
    parser: ChildParser, document: Callable[[str], Path]
) -> None:
    before = psutil.Process().memory_info().rss
    async with parser.parse(authors.endless, document(""), "x", load_id=1) as parsing:
        stream = aiter(parsing.columns("first"))
        for _ in range(5):
            await anext(stream)
            await _until_asleep(psutil.Process(pid(parser)))
        assert psutil.Process().memory_info().rss - before < 40 << 20


async def _until_asleep(child: psutil.Process) -> None:
    """Until the child takes no processor time any more, because its pipe is full."""
    until = time.monotonic() + 30
    used = -1.0
    while (now := sum(child.cpu_times()[:2])) != used and time.monotonic() < until:
        used = now
        await asyncio.sleep(0.2)
    assert now == used


async def test_a_large_document_goes_through_in_small_pieces(
    parser: ChildParser, document: Callable[[str], Path]
) -> None:
    longest = total = 0
    before = psutil.Process().memory_info().rss
    async with parser.parse(authors.wide, document("200"), "x", load_id=1) as parsing:
        async for piece in parsing.columns("first"):
            longest, total = max(longest, len(piece)), total + len(piece)
        assert [len(piece) > 0 async for piece in parsing.columns("second")]
        assert (await parsing.result()).rows == {"first": 2_000_000, "second": 1}
    assert total > 200 << 20
    assert longest <= 1 << 18
    assert psutil.Process().memory_info().rss - before < 60 << 20


async def test_the_event_loop_is_never_blocked(parser: ChildParser, document: Callable[[str], Path]) -> None:
    gaps: list[float] = []

    async def tick() -> None:
        while True:
            started = time.monotonic()
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic() - started)

    ticking = asyncio.create_task(tick())
    await read(parser, authors.wide, document("100"))
    ticking.cancel()
    assert max(gaps) < 2


async def test_thousands_of_rejects_come_through(parser: ChildParser, document: Callable[[str], Path]) -> None:
    _, parsed = await read(parser, authors.many_rejects, document("1234"))
    assert [reject.line for reject in parsed.rejects] == list(range(1, 1_235))
    assert {len(reject.text) for reject in parsed.rejects} == {2_000}


async def test_a_killed_child_is_a_refused_document_and_a_new_child(
    parser: ChildParser, document: Callable[[str], Path]
) -> None:
    async with parser.parse(authors.sleepy, document(""), "x", load_id=1) as parsing:
        os.kill(pid(parser), signal.SIGKILL)
        with pytest.raises(FormatError, match="ended while reading it"):
            await parsing.result()
    assert (await read(parser, authors.good, document("1")))[1].lines == 5


async def test_a_child_that_died_between_documents_is_replaced(
    parser: ChildParser, document: Callable[[str], Path]
) -> None:
    assert parser._child is not None
    parser._child.process.kill()
    await parser._child.process.wait()
    assert (await read(parser, authors.good, document("1")))[1].lines == 5


async def test_nonsense_from_the_child_is_a_refused_document(document: Callable[[str], Path], tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense.py"
    code = """
        def nonsense_parse(body):
            for number in range(3, 20):
                try:
                    os.write(number, b"\\xff" * 100)
                except OSError:
                    pass
            yield rows(FIRST, 1)
        nonsense = source("nonsense", nonsense_parse)
        """
    nonsense.write_text(Path(authors.__file__).read_text() + textwrap.dedent(code))
    source = replace(authors.good, name="nonsense")
    async with ChildParser(LIMITS, {**PLACES, "nonsense": str(nonsense)}) as parser:
        refused = await refusal(parser, source, document("1"))
        assert str(refused).startswith("the parser's child process sent no valid answer")
        assert (await read(parser, authors.good, document("1")))[1].lines == 5


async def test_a_missing_source_file_is_reported(parser: ChildParser, document: Callable[[str], Path]) -> None:
    source = replace(authors.good, name="gone")
    parser._places["gone"] = "/nowhere/gone.py"
    assert "source file /nowhere/gone.py cannot be loaded: FileNotFoundError" in str(
        await refusal(parser, source, document("1"))
    )
    parser._places["gone"] = PLACES["good"]
    assert str(await refusal(parser, source, document("1"))).endswith("has no source gone any more")


async def test_too_little_memory_to_start_is_the_operators_to_change() -> None:
    with pytest.raises(StoreError, match=r"is parser\.memory_bytes .* too small"):
        async with ChildParser(replace(LIMITS, memory_bytes=32 << 20)):
            pass


async def test_start_and_end_of_a_child_are_logged(document: Callable[[str], Path]) -> None:
    events: list[tuple[str, Any]] = []
    async with ChildParser(LIMITS, PLACES, lambda event, **fields: events.append((event, fields.get("why")))) as parser:
        await refusal(parser, authors.leaving, document("3"))
    assert events == [
        ("parser child started", None),
        ("parser child ended", "the parser's child process ended while reading it (status 3)"),
    ]


async def test_the_child_dies_with_its_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent("""
        import asyncio
        from spotlightd.settings.sources import ParserSettings
        from spotlightd.workers.parser import ChildParser
        async def main():
            async with ChildParser(ParserSettings()) as parser:
                print(parser._child.process.pid, flush=True)
                await asyncio.sleep(3600)
        asyncio.run(main())
        """)
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, str(script), stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    child = psutil.Process(int(await parent.stdout.readline()))
    parent.kill()
    await parent.wait()
    await asyncio.to_thread(psutil.wait_procs, [child], timeout=10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


async def test_no_descriptor_and_no_child_is_left_behind(document: Callable[[str], Path]) -> None:
    process = psutil.Process()
    before, children = process.num_fds(), process.children()
    for _ in range(3):
        async with ChildParser(LIMITS, PLACES) as parser:
            await refusal(parser, authors.refused, document(""))
            await read(parser, authors.good, document("1"))
    await asyncio.sleep(0)
    assert process.children() == children
    assert process.num_fds() <= before + 1
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


# -- groups ------------------------------------------------------------------------------------------------------------


async def read_group(
    parser: ChildParser, source: Batch, paths: list[Path]
) -> tuple[list[ParseResult | str], dict[str, pa.Table], str]:
    """The result or the error of each document, the rows of all, and why the group could not be finished."""
    outcomes = list[ParseResult | str]()
    async with parser.parse_group(source) as group:
        streams = {dataset.name: asyncio.create_task(_join(group.columns(dataset.name))) for dataset in source.datasets}
        try:
            for number, path in enumerate(paths, 1):
                try:
                    outcomes.append(await group.read(path, path.name, load_id=number))
                except FormatError as refused:
                    outcomes.append(str(refused))
            await group.finish()
        except FormatError:
            assert group.problem
        data = {name: await stream for name, stream in streams.items()}
        problem = group.problem
    tables = {} if problem else {name: pa.ipc.open_stream(data[name]).read_all() for name in data}
    return outcomes, tables, problem


def write_documents(folder: Path, *texts: str) -> list[Path]:
    paths = [folder / f"document-{number}" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    return paths


async def test_the_documents_of_a_group_share_a_stream_and_have_loads_of_their_own(
    parser: ChildParser, tmp_path: Path
) -> None:
    outcomes, tables, problem = await read_group(
        parser, authors.good, write_documents(tmp_path, "3", "1", "20000", "2")
    )
    assert not problem
    assert [outcome.rows["first"] for outcome in outcomes if isinstance(outcome, ParseResult)] == [4, 2, 20_001, 3]
    assert [outcome.rejects[0].line for outcome in outcomes if isinstance(outcome, ParseResult)] == [4, 2, 20_001, 3]
    counts = tables["first"].group_by("load_id").aggregate([("line", "count")]).to_pydict()
    assert dict(zip(counts["load_id"], counts["line_count"], strict=True)) == {1: 4, 2: 2, 3: 20_001, 4: 3}
    assert set(tables["second"]["load_id"].to_pylist()) == {1, 2, 3, 4}


async def test_a_refused_small_document_sends_no_row_of_its_own_and_the_others_theirs(
    parser: ChildParser, tmp_path: Path
) -> None:
    before = pid(parser)
    outcomes, tables, problem = await read_group(parser, authors.choosy, write_documents(tmp_path, "1", "no", "2"))
    assert not problem
    assert [outcome if isinstance(outcome, str) else outcome.rows for outcome in outcomes] == [
        {"first": 1, "second": 0}, "document-1 is not what it should be", {"first": 2, "second": 0},
    ]  # fmt: skip
    assert sorted(tables["first"]["load_id"].to_pylist()) == [1, 3, 3]
    assert pid(parser) == before


@pytest.mark.parametrize("source", [authors.leaving, authors.buggy], ids=["leaving", "buggy"])
async def test_a_document_that_ends_the_child_breaks_its_group(
    parser: ChildParser, tmp_path: Path, source: Batch
) -> None:
    _, _, problem = await read_group(parser, source, write_documents(tmp_path, "3", "3"))
    assert problem.startswith("the parser's child process ended while reading it (status ")
    assert (await read(parser, authors.good, write_documents(tmp_path, "1")[0]))[1].lines == 5


async def test_the_inbox_holds_one_document_of_the_group_at_a_time_and_none_after_it(
    parser: ChildParser, tmp_path: Path
) -> None:
    paths = write_documents(tmp_path, "1", "2")
    async with parser.parse_group(authors.good) as group:
        joined = [asyncio.create_task(_join(group.columns(dataset.name))) for dataset in authors.good.datasets]
        for path in paths:
            await group.read(path, path.name, load_id=1)
            assert [placed.name for placed in parser._inbox.iterdir()] == [path.name]
        await group.finish()
        await asyncio.gather(*joined)
    assert list(parser._inbox.iterdir()) == []
