"""ClickHouse over HTTP, embedded or server: the port `Warehouse` on clickhouse-connect's own async client.

Of the client's ways of reading only two never lose a late failure: a whole answer asked for with
`wait_end_of_query=1`, and the raw stream, whose connection breaks off. `query_arrow` and `query_arrow_stream` without
it returned fewer rows and no error in 5 of 6 trials, so nothing else is used here.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import clickhouse_connect
from clickhouse_connect.driver.exceptions import Error as ClientError
from clickhouse_connect.driver.summary import QuerySummary

from spotlightd.clients.clickhouse import ddl, schema, values
from spotlightd.clients.clickhouse.errors import TAIL_BYTES, late, named, told
from spotlightd.clients.clickhouse.values import bound
from spotlightd.errors import SettingsError, StoreError
from spotlightd.model.dataset import NAME, Dataset
from spotlightd.ports.warehouse import Answer, Format, Limits, Value
from spotlightd.settings.stores import WarehouseSettings
from spotlightd.sql.tiers import ArchivedPartitions

INSERT_SETTINGS = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "max_insert_threads": 1,
    "max_insert_block_size": 262_144,
    "min_insert_block_size_rows": 262_144,
    "min_insert_block_size_bytes": 268_402_944,
    "input_format_parallel_parsing": 0,
    "input_format_null_as_default": 0,
    "input_format_arrow_allow_missing_columns": 0,
}
"""Block settings stand still, because a repeat that is cut into other blocks is not recognised by its token and
doubles rows. Blocks are a quarter of the engine's own, so that it sorts and writes one while the next arrives: a
million rows that come within a second are in after 1.2 s instead of 1.5. Asynchronous inserts, the engine's default,
acknowledge what may still be lost. A null or a missing column is an error instead of a silent 0 or empty text.
"""

MOVE_SETTINGS = {
    "max_block_size": 65_409,
    "min_insert_block_size_rows": 4_000_000,
    "min_insert_block_size_bytes": 1 << 30,
}
"""Of an INSERT … SELECT that must be whole: a batch of the drain makes one block, and one block is all or nothing."""

QUERY_BYTES = 16 << 20  # a question to the whole archive names every file of it: the engine's own bound is some 400
BUSY = 202
END_SECONDS = 60.0
END_PAUSE_SECONDS = 0.02
GRACE_SECONDS = 5.0
PING_SECONDS = 5.0
CLOSE_SECONDS = 2.0
LARGE_BYTES = 1 << 18  # of an answer: read in a thread, so that the loop goes on


class ClickHouse:
    """The warehouse. Open it with `async with`; the database is made if it is missing."""

    def __init__(self, url: str, user: str, password: str, database: str, settings: WarehouseSettings) -> None:
        if database == "default" or not NAME.match(database):
            raise SettingsError(f"warehouse.database {database!r}: use lower case letters, digits and _, not `default`")
        self._url = urlsplit(url)
        self._user = user
        self._password = password
        self._database = database
        self._settings = settings
        self._streams = asyncio.Semaphore(settings.streams)
        self._open: Any = None

    async def __aenter__(self) -> Self:
        async with self._answered("opening the warehouse", self._settings.connect_seconds + GRACE_SECONDS):
            self._open = await clickhouse_connect.get_async_client(
                host=self._url.hostname,
                port=self._url.port,
                interface=self._url.scheme,
                username=self._user,
                password=self._password,
                connect_timeout=self._settings.connect_seconds,
                send_receive_timeout=self._settings.query_seconds + GRACE_SECONDS,
                compress=False,
                query_retries=0,
                show_clickhouse_errors="scrub",
                connector_limit_per_host=100,
            )
        try:
            await self.execute(f"CREATE DATABASE IF NOT EXISTS {self._database} ENGINE = Atomic")
        except BaseException:
            await self._open.close()
            raise
        self._open.database = self._database
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The client waits for statements that still run; after a moment their connections are cut."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._open.close()

    async def ping(self) -> None:
        """StoreError unless a query was answered within a few seconds."""
        async with self._answered("ping", PING_SECONDS):
            await self._open.raw_query("SELECT 1", fmt="TabSeparated")

    async def rows(
        self, sql: str, params: Mapping[str, Value] | None = None, *, limits: Limits | None = None
    ) -> Answer:
        """The whole answer, or StoreError: `raw_query` asks with `wait_end_of_query=1`."""
        async with self._answered("query", self._seconds(limits) + GRACE_SECONDS):
            found = await self._open.raw_query(
                sql,
                parameters=bound(params),
                settings=self._limited(limits) | values.READ_SETTINGS | {"wait_end_of_query": 1},
                fmt="ArrowStream",
            )
        return values.answer(found) if len(found) < LARGE_BYTES else await asyncio.to_thread(values.answer, found)

    @contextlib.asynccontextmanager
    async def stream(
        self, sql: str, format: Format, params: Mapping[str, Value] | None = None, *, limits: Limits | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The answer's bytes as they come; a late failure raises out of the iteration."""
        if self._streams.locked():
            raise StoreError("too many downloads at the same time: try again in a moment", code=BUSY)
        seconds = self._seconds(limits) + GRACE_SECONDS
        async with self._streams:
            async with self._answered("query", seconds):
                opened = await self._open.raw_stream(
                    sql, parameters=bound(params), settings=self._limited(limits) | _shaped(format), fmt=format
                )
            async with opened as chunks, contextlib.aclosing(self._watched(chunks, seconds)) as watched:
                yield watched

    async def execute(self, sql: str, params: Mapping[str, Value] | None = None, *, token: str = "") -> int:
        """A statement without an answer; how many rows it says that it wrote. Cancelled or too late, it is ended in the engine too."""
        query_id = token or str(uuid.uuid4())
        settings = self._limited(None) | INSERT_SETTINGS | {"query_id": query_id}
        if token:
            settings |= MOVE_SETTINGS | {"insert_deduplication_token": token}
        try:
            async with self._answered("statement", self._settings.query_seconds + GRACE_SECONDS):
                done = await self._open.command(sql, parameters=bound(params), settings=settings)
        except (asyncio.CancelledError, StoreError) as problem:
            if isinstance(problem, asyncio.CancelledError) or (problem.slow and not problem.code):
                await asyncio.shield(self._kill(query_id))
            raise
        return int(done.written_rows) if isinstance(done, QuerySummary) else 0

    async def ended(self, token: str) -> None:
        """Ends statements whose token begins so, if any still run, and waits until they are gone.

        In our own engine a statement carries it as `log_comment`, at a server as its query id.
        """
        mine = "(startsWith(query_id, {token:String}) OR startsWith(Settings['log_comment'], {token:String}))"
        until = asyncio.get_running_loop().time() + END_SECONDS
        while (await self.rows(f"SELECT count() FROM system.processes WHERE {mine}", {"token": token})).rows[0][0]:
            if asyncio.get_running_loop().time() > until:
                raise StoreError(f"the statement {token} still runs {END_SECONDS:g} s after it was told to end")
            await self.execute(f"KILL QUERY WHERE {mine} ASYNC", {"token": token})
            await asyncio.sleep(END_PAUSE_SECONDS)

    async def insert(self, dataset: Dataset, rows: Sequence[Sequence[Any]], *, token: str = "") -> None:
        """A few rows as one block. Sent as a stream, because the client repeats a whole body after a lost connection."""
        if not rows:
            return
        await self.insert_stream(dataset, _once(values.block(dataset, rows)), token=token)

    async def insert_stream(self, dataset: Dataset, blocks: AsyncIterator[bytes], *, token: str = "") -> int:
        """An Arrow IPC stream into the dataset's table; the number of rows written. What `blocks` raises goes through."""
        identity = token or str(uuid.uuid4())  # without one the engine drops a block that equals an older one
        broken: list[BaseException] = []
        try:
            async with self._answered("insert", self._settings.query_seconds + GRACE_SECONDS):
                summary = await self._open.raw_insert(
                    f"{self._database}.{dataset.name}",
                    column_names=[column.name for column in dataset.stored],
                    insert_block=_noted(blocks, broken),
                    settings=self._limited(None)
                    | INSERT_SETTINGS
                    | {"insert_deduplication_token": identity, "query_id": identity},
                    fmt="ArrowStream",
                )
        except StoreError as problem:
            raise (broken[0] if broken else problem) from None
        return int(summary.written_rows)

    async def ensure(self, dataset: Dataset, cold: ArchivedPartitions | None = None) -> None:
        """Make the table and its view if missing; see the port."""
        await schema.ensure(self, dataset, self._database, cold or ArchivedPartitions())

    async def show(self, dataset: Dataset, cold: ArchivedPartitions) -> None:
        """Make the unpinned view anew, if there is one; see the port."""
        if view := ddl.view(dataset, self._database, cold):
            await self.execute(view)

    async def seal(self, dataset: Dataset, sealed: Mapping[int, int]) -> None:
        """Rows that come from now on get these generations; see the port."""
        await schema.seal(self, dataset, sealed, self._database)

    def _seconds(self, limits: Limits | None) -> float:
        return limits.seconds if limits and limits.seconds else self._settings.query_seconds

    def _limited(self, limits: Limits | None) -> dict[str, Any]:
        """Settings that make the engine refuse, never shorten."""
        asked: dict[str, Any] = {
            "max_execution_time": self._seconds(limits),
            "timeout_overflow_mode": "throw",
            "max_query_size": QUERY_BYTES,
        }
        if limits and limits.result_rows:
            asked |= {"max_result_rows": limits.result_rows, "result_overflow_mode": "throw"}
        if limits and limits.memory_bytes:
            asked["max_memory_usage"] = limits.memory_bytes
        return asked

    @contextlib.asynccontextmanager
    async def _answered(self, what: str, seconds: float) -> AsyncIterator[None]:
        """Every failure of the client as a StoreError, within that time."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except ClientError as problem:
            raise told(problem, self._url.netloc) from None
        except TimeoutError:
            raise StoreError(f"{what}: the warehouse gave no answer within {seconds:g} s", slow=True) from None
        except (aiohttp.ClientError, OSError) as problem:
            raise StoreError(f"{what}: the connection to the warehouse broke off ({named(problem)})") from None

    async def _watched(self, chunks: Any, seconds: float) -> AsyncGenerator[bytes, None]:
        """The chunks; when they break off, the engine's own words about why, which it writes last."""
        tail = b""
        while True:
            try:
                async with asyncio.timeout(seconds):
                    chunk = await anext(chunks, None)
            except TimeoutError:
                raise StoreError(f"the warehouse sent nothing for {seconds:g} s", slow=True) from None
            except (ClientError, aiohttp.ClientError, OSError) as problem:
                raise late(tail, problem) from None
            if chunk is None:
                return
            tail = (tail + chunk[-TAIL_BYTES:])[-TAIL_BYTES:]
            yield chunk

    async def _kill(self, query_id: str) -> None:
        """Ask a server to end a statement that it would go on with; the engine of ours does so by itself."""
        with contextlib.suppress(StoreError):
            async with self._answered("kill", PING_SECONDS):
                await self._open.raw_query("KILL QUERY WHERE query_id = {id:String} ASYNC", parameters={"id": query_id})


async def _noted(blocks: AsyncIterator[bytes], broken: list[BaseException]) -> AsyncIterator[bytes]:
    """The blocks; what their maker raises is noted, because the client tells it as a lost connection."""
    try:
        async for block in blocks:
            yield block
    except (GeneratorExit, asyncio.CancelledError):
        raise
    except BaseException as problem:
        broken.append(problem)
        raise


async def _once(chunk: bytes) -> AsyncIterator[bytes]:
    yield chunk


def _shaped(format: Format) -> dict[str, Any]:
    """Settings of the streamed formats. Parquet is written by one thread in small row groups: first byte after 70 ms
    instead of 400, and flat memory instead of 340 MB more, for a file 40 % larger.
    """
    plain = {"http_write_exception_in_output_format": 0, "output_format_arrow_low_cardinality_as_dictionary": 0}
    if format == "Parquet":
        return plain | {"output_format_parquet_row_group_size": 100_000, "max_threads": 1}
    return plain
