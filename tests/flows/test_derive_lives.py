"""Lives of trades are those that all visible messages give, whatever came first, was repeated, corrected or withdrawn."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.datasets.swap_trades import lives, swap_roots, swap_steps, swap_trades
from spotlightd.datasets.swaps import swaps
from spotlightd.datasets.system import SYSTEM_DATASETS, hidden_rows
from spotlightd.flows.derive.chains.graph import Key, Place, find_places
from spotlightd.flows.derive.chains.runner import ChainRunner
from spotlightd.flows.derive.context import DeriveContext
from spotlightd.flows.loads.publish import Publications
from spotlightd.flows.loads.recovery import recover
from spotlightd.flows.loads.repeats import hide_repeated_keys
from spotlightd.model.source import Period
from spotlightd.sql.tiers import ArchivedPartitions, NoArchives
from spotlightd.sql.visibility import Snapshot, table_expression

from .world import CrashError, Fuse, Fused, crash_steps, source

DAY = date(2026, 7, 15)
NOON = datetime(2026, 7, 15, 12, tzinfo=UTC)
MESSAGES = replace(source(), name="constructed_swaps", datasets=(swaps,))
EMPTY = {"text": "", "list": [], "map": {}, "bool": False, "date": DAY, "integer": 0, "decimal": None, "time": None}


@dataclass(frozen=True, slots=True)
class Message:
    """What a life depends on. `hour` is that of its event."""

    id: str
    original: str = ""
    action: str = "NEW"
    hour: int = 0
    notional: int = 1
    printed: str = ""

    def row(self, load_id: int, day: date = DAY, line: int = 0) -> list[Any]:
        values = {
            "publisher": "DTCC", "regime": "CFTC", "report_date": day, "asset_class": "CR", "message_id": self.id,
            "original_id": self.original, "action": self.action, "action_printed": self.printed or self.action,
            "event_time": NOON + timedelta(hours=self.hour), "execution_time": NOON, "notional_1": Decimal(self.notional),
            "notional_currency_1": "USD", "load_id": load_id, "line": line,
        }  # fmt: skip
        return [values.get(column.name, _empty(column)) for column in swaps.stored]


def _empty(column: Any) -> Any:
    return None if column.is_nullable else EMPTY[column.kind]


@dataclass
class Tape:
    """A world of swap messages: publishes documents and computes lives."""

    warehouse: ClickHouse
    ledger: SqliteLedger
    publications: Publications
    visible: dict[str, tuple[Message, ...]] = field(default_factory=dict)

    def runner(self, step_rows: int = 1000) -> ChainRunner:
        return ChainRunner(lives, DeriveContext(self.ledger, self.warehouse, self.publications), step_rows)

    async def publish(self, covers: str, messages: Sequence[Message]) -> None:
        """A document with these messages, which replaces those of the same slice and its parts."""
        digest = hashlib.sha256(
            repr((covers, messages, len(self.visible), random.getrandbits(64))).encode()
        ).hexdigest()
        load = await self.ledger.begin_load(MESSAGES, digest, covers)
        await self.warehouse.insert(swaps, [message.row(load.load_id) for message in messages])
        await self.publications.publish(await self.ledger.mark_loaded(load.load_id, {"swaps": len(messages)}, ()))
        replaced = [other for other in self.visible if other == covers or other.startswith(covers + "/")]
        for other in replaced:
            del self.visible[other]
        self.visible[covers] = tuple(messages)

    async def publish_day(self, day: date, messages: Sequence[Message]) -> None:
        """The file of a day, compared with those of the days around it as a load does it."""
        load = await self.ledger.begin_load(
            MESSAGES, hashlib.sha256(repr(messages).encode()).hexdigest(), f"{day:%Y/%m/%d}"
        )
        await self.warehouse.insert(
            swaps, [message.row(load.load_id, day, line) for line, message in enumerate(messages)]
        )
        superseded = (await self.publications.find_superseded([load]))[load.load_id]
        await hide_repeated_keys(self.warehouse, ArchivedPartitions(), swaps, load, Period(day, day), superseded)
        await self.publications.publish(await self.ledger.mark_loaded(load.load_id, {"swaps": len(messages)}, ()))

    async def read(self, seq: int = 2**63) -> dict[str, dict[str, Any]]:
        sql = f"SELECT * FROM {table_expression(swap_trades, Snapshot(seq))}"
        rows = (await self.warehouse.rows(sql, {"seq": seq})).dicts()
        assert len({row["root_id"] for row in rows}) == len(rows), "a trade is there twice"
        return {row["root_id"]: row for row in rows}

    async def check(self) -> None:
        """The lives are those of the visible messages, as computed here from nothing."""
        rows = await self.read()
        expected = expect_lives([message for messages in self.visible.values() for message in messages])
        assert {
            root: {name: row[name] for name in expected[root]} for root, row in rows.items() if root in expected
        } == expected
        assert rows.keys() == expected.keys()
        links = (await self.warehouse.rows(
            f"SELECT message_id, root_id FROM {table_expression(swap_roots, Snapshot(2**63))}", {"seq": 2**63}
        )).rows  # fmt: skip
        steps = (await self.warehouse.rows(
            f"SELECT message_id, root_id FROM {table_expression(swap_steps, Snapshot(2**63))}", {"seq": 2**63}
        )).rows  # fmt: skip
        assert sorted(links) == sorted(steps)


def expect_lives(messages: Sequence[Message]) -> dict[str, dict[str, Any]]:
    """The rules once more, the slow way."""
    by_id = {message.id: message for message in messages}
    chains: dict[str, list[Message]] = {}
    roots = {message.id: find_root(message.id, by_id) for message in by_id.values()}
    for message in by_id.values():
        chains.setdefault(roots[message.id][0], []).append(message)
    return {root: expect_life(root, chain, roots) for root, chain in chains.items()}


def find_root(message: str, by_id: dict[str, Message]) -> tuple[str, int, bool]:
    """Root, depth and whether it is a circle."""
    path = [message]
    while path[-1] in by_id and by_id[path[-1]].original not in ("", path[-1]):
        following = by_id[path[-1]].original
        if following in path:
            least = min(path[path.index(following) :], key=lambda name: (len(name), name))
            walk, depth = message, 0
            while walk != least:
                walk, depth = by_id[walk].original, depth + 1
            return least, depth, True
        path.append(following)
    return path[-1], len(path) - 1, False


def expect_life(root: str, chain: list[Message], roots: dict[str, tuple[str, int, bool]]) -> dict[str, Any]:
    def order(message: Message) -> tuple[int, int, str]:
        return message.hour, len(message.id), message.id

    chain = sorted(chain, key=order)
    cancels = {message.original for message in chain if message.printed == "CANCEL" and message.original != message.id}
    in_force = [message for message in chain if message.printed != "CANCEL" and message.id not in cancels]
    setting = [message for message in in_force if message.action in ("NEW", "MODIFY", "TERMINATE", "ERROR", "REVIVE")]
    states = {"TERMINATE": "ended", "ERROR": "withdrawn"}
    last_state = states.get(setting[-1].action, "live") if setting else "live"
    last_state = last_state if in_force else "withdrawn"
    is_cyclic = any(roots[message.id][2] for message in chain)
    has_root = any(message.id == root for message in chain) and not is_cyclic
    current = (in_force or chain)[-1]
    return {
        "state": last_state if has_root else "root unknown", "last_state": last_state, "messages": len(chain),
        "changes": sum(message.action in ("MODIFY", "CORRECT") for message in chain),
        "first_notional": Decimal(chain[0].notional), "notional": Decimal(current.notional),
        "first_message": chain[0].id, "last_message": chain[-1].id, "message_in_force": current.id,
        "last_action": chain[-1].action, "last_event_at": NOON + timedelta(hours=chain[-1].hour),
        "depth": max(roots[message.id][1] for message in chain), "is_cyclic": is_cyclic,
    }  # fmt: skip


@pytest.fixture
async def tape(tmp_path: Path, warehouse: ClickHouse) -> Any:
    for dataset in (swaps, swap_trades, swap_roots, swap_steps):
        await warehouse.ensure(dataset)
    async with SqliteLedger(tmp_path / "ledger.sqlite") as ledger:
        yield Tape(warehouse, ledger, Publications(ledger, warehouse))


async def test_a_life_from_its_first_message_to_its_end(tape: Tape) -> None:
    await tape.publish("2026/07/15", [Message("1", notional=100), Message("9", "7", "MODIFY", 1, 5)])
    await tape.runner().run_round()
    await tape.check()
    before = int((await tape.warehouse.rows("SELECT max(seq) FROM loads")).rows[0][0])
    await tape.publish("2026/07/16", [Message("2", "1", "MODIFY", 5, 80), Message("3", "2", "TERMINATE", 9, 80)])
    await tape.runner().run_round()
    await tape.check()
    rows = await tape.read()
    assert (rows["1"]["state"], rows["1"]["changes"], rows["1"]["depth"]) == ("ended", 1, 2)
    assert (rows["7"]["state"], rows["7"]["last_state"]) == ("root unknown", "live")
    assert (await tape.read(before))["1"]["state"] == "live", "as of then"
    await tape.publish("2024/01/02", [Message("7", notional=9, hour=-9)])
    await tape.runner().run_round()
    await tape.check()
    assert (await tape.read())["7"]["state"] == "live", "the root came later"


CASES: dict[str, tuple[list[Message], str, int]] = {
    "an error withdraws the trade": (
        [Message("11"), Message("12", "11", "MODIFY", 1, 2), Message("13", "12", "ERROR", 2, 3)], "withdrawn", 3,
    ),
    "a revival": ([Message("21"), Message("22", "21", "ERROR", 0), Message("23", "21", "REVIVE", 2, 4)], "live", 4),
    "a corrected end": (
        [Message("31"), Message("32", "31", "TERMINATE", 1), Message("33", "32", "CORRECT", 2, 5)], "ended", 5,
    ),
    "a cancelled change": (
        [Message("41"), Message("42", "41", "MODIFY", 1, 2), Message("43", "42", "ERROR", 2, 9, "CANCEL")], "live", 1,
    ),
    "all cancelled": ([Message("51"), Message("52", "51", "ERROR", 2, 9, "CANCEL")], "withdrawn", 9),
    "cancelled and correct": (
        [Message("61"), Message("62", "61", "ERROR", 2, 9, "CANCEL"), Message("63", "61", "CORRECT", 3, 7)], "live", 7,
    ),
    "identifiers are numbers": ([Message("79"), Message("710", "79", "MODIFY", 0, 2)], "live", 2),
    "a message that points to itself": ([Message("81", "81", "MODIFY", 0, 3)], "live", 3),
}  # fmt: skip


async def test_the_state_follows_the_specification(tape: Tape) -> None:
    for number in (2, 1, 0):  # the last messages come first
        messages = [chain[number] for chain, *_ in CASES.values() if number < len(chain)]
        await tape.publish(f"2026/07/{number + 10}", messages)
        await tape.runner().run_round()
        await tape.check()
    rows = await tape.read()
    states = {name: (rows[chain[0].id]["state"], rows[chain[0].id]["notional"]) for name, (chain, *_) in CASES.items()}
    assert states == {name: (state, Decimal(notional)) for name, (_, state, notional) in CASES.items()}


async def test_a_days_file_replaces_its_slices_and_changes_nothing(tape: Tape) -> None:
    messages = [Message("1"), Message("2", "1", "MODIFY", 1, 2), Message("3"), Message("4", "3", "TERMINATE", 3)]
    for number, message in enumerate(messages):
        await tape.publish(f"2026/07/15/s{number}", [message])
    await tape.runner().run_round()
    rows = await tape.read()
    await tape.publish("2026/07/15", messages)
    written = "SELECT count() FROM swap_trades"
    before = (await tape.warehouse.rows(written)).rows
    await tape.runner().run_round()
    assert (await tape.warehouse.rows(written)).rows == before, "no new version of a trade that did not change"
    assert await tape.read() == rows


async def test_a_message_that_two_documents_have_counts_once_as_readers_see_it(tape: Tape) -> None:
    await tape.publish("2026/07/15", [Message("1", notional=1)])
    await tape.runner().run_round()
    hides = (
        await tape.ledger.begin_load(MESSAGES, "0" * 64, "2026/07/16")
    ).load_id + 1  # the load of the next document
    row = ("swaps", 1, 0, 0, hides, NOON)
    await tape.warehouse.insert(hidden_rows, [row])
    await tape.publish("2026/07/17", [Message("1", notional=2)])
    await tape.runner().run_round()
    (trade,) = (await tape.read()).values()
    assert (trade["messages"], trade["notional"]) == (1, 2)
    await tape.publish("2026/07/17", [Message("2", "1", "MODIFY", 1, 3)])
    await tape.runner().run_round()
    (trade,) = (await tape.read()).values()
    assert (trade["messages"], trade["first_notional"], trade["notional"]) == (2, 1, 3), "the first is visible again"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_a_message_that_the_files_of_two_days_have_is_one_step_of_its_trade(
    tape: Tape, order: tuple[int, int]
) -> None:
    """It reads as the later day has it, whichever file came first, and as the other has it when that file loses it."""
    days = [
        [Message("1"), Message("2", "1", "MODIFY", 1, 2)],
        [Message("2", "1", "MODIFY", 1, 20), Message("3", "1", "MODIFY", 2, 3)],
    ]
    for index in order:
        await tape.publish_day(DAY + timedelta(days=index), days[index])
        await tape.runner().run_round()
    (trade,) = (await tape.read()).values()
    assert (trade["messages"], trade["changes"], trade["notional"]) == (3, 2, 3)
    await tape.publish_day(DAY + timedelta(days=1), days[1][:1])
    await tape.runner().run_round()
    (trade,) = (await tape.read()).values()
    assert (trade["messages"], trade["changes"], trade["notional"]) == (2, 1, 20)
    await tape.publish_day(DAY + timedelta(days=1), [Message("4")])
    await tape.runner().run_round()
    rows = await tape.read()
    assert (rows["1"]["messages"], rows["1"]["changes"], rows["1"]["notional"]) == (2, 1, 2)
    await tape.runner().compute_again()
    assert await tape.read() == rows


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 4))])
async def test_any_order_splits_repeats_and_corrections_give_what_a_rebuild_gives(tape: Tape, seed: int) -> None:
    chance = random.Random(seed)
    messages = invent_messages(chance, 40)
    chance.shuffle(messages)
    slices: dict[str, list[Message]] = {}
    for message in messages:
        slices.setdefault(f"2026/07/{chance.randrange(10, 13)}/s{chance.randrange(3)}", []).append(message)
    events = list(slices.items())
    chance.shuffle(events)
    for covers, part in events:
        if covers.rpartition("/")[0] in tape.visible:
            continue  # a part that comes after its whole is not loaded
        await tape.publish(covers, part)
        if chance.random() < 0.3:
            await tape.publish(covers, part)  # again, as it was
        if chance.random() < 0.3:  # corrected: a message is gone, another has a new pointer or action
            gone, changed = part[:-1], part[-1]
            await tape.publish(covers, [*gone[1:], *invent_again(chance, changed, messages)])
        if chance.random() < 0.2:
            day = covers.rpartition("/")[0]
            whole = [item for name, items in tape.visible.items() if name.startswith(day) for item in items]
            await tape.publish(day, whole)
        if chance.random() < 0.5:
            await tape.runner(step_rows=chance.choice((5, 1000))).run_round()
            await tape.check()
    await tape.runner().run_round()
    await tape.check()
    incremental = await tape.read()
    await tape.runner(step_rows=7).compute_again()
    assert await tape.read() == incremental


@pytest.mark.slow
async def test_a_crash_at_each_step_loses_and_doubles_nothing(tape: Tape, tmp_path: Path) -> None:
    datasets = (*SYSTEM_DATASETS, swaps, swap_trades, swap_roots, swap_steps)
    for step in crash_steps():
        for dataset in datasets:
            await tape.warehouse.execute(f"TRUNCATE TABLE {dataset.name}")
        async with SqliteLedger(tmp_path / f"step-{step}.sqlite") as ledger:
            fresh = Tape(tape.warehouse, ledger, Publications(ledger, tape.warehouse))
            await fresh.publish(
                "2026/07/15", [Message("1"), Message("2", "1", "MODIFY", 1, 2), Message("9", "7", "MODIFY", 3)]
            )
            await fresh.runner().run_round()
            before = await fresh.read()
            await fresh.publish(
                "2026/07/15", [Message("1"), Message("9", "7", "MODIFY", 3), Message("7", "1", "CORRECT", 2, 4)]
            )
            await fresh.publish("2026/07/16", [Message("3", "1", "TERMINATE", 5, 5), Message("4")])
            fuse = Fuse(step)
            with suppress(CrashError, BaseExceptionGroup):
                warehouse, fused = Fused(tape.warehouse, fuse), Fused(ledger, fuse)
                context = DeriveContext(fused, warehouse, Publications(fused, warehouse))
                await ChainRunner(lives, context, step_rows=2).run_round()
            if fuse.steps < step:
                break
            seen = await fresh.read()
            assert seen == before or seen.keys() <= {"1", "4", "7"}
            restarted = Publications(ledger, tape.warehouse)
            await recover(ledger, tape.warehouse, restarted, datasets, NoArchives())
            again = replace(fresh, publications=restarted)
            await again.runner().run_round()
            await again.check()
            assert await again.runner().run_round() == 0
    assert step > 60


def invent_messages(chance: random.Random, count: int) -> list[Message]:
    actions = ("MODIFY", "CORRECT", "TERMINATE", "ERROR", "REVIVE", "OTHER")
    messages: list[Message] = []
    for number in range(count):
        name = str(number + 1)
        if chance.random() < 0.3 or not messages:
            messages.append(Message(name, hour=number // 2, notional=number))
            continue
        original = chance.choice(messages).id if chance.random() < 0.8 else str(chance.randrange(1, count + 20))
        printed = "CANCEL" if chance.random() < 0.1 else ""
        action = "ERROR" if printed else chance.choice(actions)
        messages.append(Message(name, original, action, chance.randrange(count // 2), number, printed))
    return messages


def invent_again(chance: random.Random, message: Message, messages: Sequence[Message]) -> list[Message]:
    if chance.random() < 0.3:
        return []
    if chance.random() < 0.5:
        return [replace(message, notional=message.notional + 1)]
    return [replace(message, original=chance.choice(messages).id)]


def test_places_of_chains_circles_and_known_messages() -> None:
    def keys(**pointers: str) -> dict[Key, Key]:
        return {(name[1:],): (to[1:],) for name, to in pointers.items()}

    places = find_places(keys(m3="m2", m2="m1"), {})
    assert places == {("3",): Place(("1",), 2), ("2",): Place(("1",), 1)}
    assert find_places(keys(m3="m2"), {("2",): Place(("1",), 4)}) == {("3",): Place(("1",), 5)}
    circle = find_places(keys(m10="m9", m9="m10", m11="m10"), {})
    assert circle == {
        ("9",): Place(("9",), 0, True), ("10",): Place(("9",), 1, True), ("11",): Place(("9",), 2, True),
    }  # fmt: skip
    long: dict[Key, Key] = {(str(number),): (str(number - 1),) for number in range(1, 50_000)}
    assert find_places(long, {})[("49999",)] == Place(("0",), 49_999)
