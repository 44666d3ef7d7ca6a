"""SQL of the steps of a round of chains. Text only; `messages.py` names the parameters.

A *link* says which chain a message belongs to. Most messages point to one whose place is known, so the engine links them by
itself. The others are *tangled*: they point to each other, they were known before, or others point to them. Those are read,
placed by `graph.py` and written back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spotlightd.flows.derive.chains.messages import LOAD, Messages, version_columns

OFFSET = 10**17
"""Makes a number of 18 digits of any time that a DateTime64 holds."""

LINK = "message_id, root_id, original_id, event_at, depth, is_cyclic"


@dataclass(frozen=True, slots=True)
class LinkStatements:
    """Which messages are linked to which chain."""

    messages: Messages

    @property
    def tangled(self) -> str:
        """The new messages that must be placed: their pointer, what is known of it, and the digest of the message."""
        return f"SELECT * EXCEPT (is_tangled) FROM {self._placed} WHERE is_tangled"

    @property
    def create_placed(self) -> str:
        """What is known of the new messages, and whether they are tangled."""
        return self.messages.create("placed", self._select_placed)

    @property
    def _placed(self) -> str:
        return self.messages.scratch("placed")

    @property
    def gone(self) -> str:
        return f"SELECT *, {self.messages.digest('message_id')} AS digest FROM ({self.messages.gone})"

    @property
    def members(self) -> str:
        """The stored links of all chains that may change: of those whose root now points on, and of those that a message
        was in that changed or is gone.
        """
        messages = self.messages
        roots = f"SELECT {messages.key('message_id')} FROM ({messages.new}) WHERE pointer != ''"
        known = f"SELECT {messages.key('root_id')} FROM ({messages.links_of(self._touched)})"
        return (
            f"SELECT {messages.scope}, {LINK}, {messages.digest('message_id')} AS digest,"
            f" {messages.digest('root_id')} AS root_digest FROM ("
            + messages.stored(
                messages.chains.steps,
                f"(({messages.key('root_id')}) IN ({roots}) OR ({messages.key('root_id')}) IN ({known}))",
            )
            + ")"
        )

    @property
    def _touched(self) -> str:
        names = self.messages.key("message_id")
        return f"SELECT {names} FROM ({self.messages.new}) UNION ALL SELECT {names} FROM ({self.messages.gone})"

    @property
    def insert_simple(self) -> str:
        """Link the new messages that are not tangled."""
        messages = self.messages
        return (
            f"INSERT INTO {messages.chains.roots.name} ({messages.scope}, {LINK}, change, load_id)"
            f" SELECT {messages.scope}, message_id, if(target_root = '', pointer, target_root), pointer, at, target_depth + 1,"
            f" target_is_cyclic, 1, {{load_id:UInt64}} FROM {self._placed} WHERE NOT is_tangled AND pointer != ''"
        )

    @property
    def insert_steps(self) -> str:
        """The links by chain: the same rows in another order."""
        chains = self.messages.chains
        names = f"{self.messages.scope}, {LINK}, change, load_id"
        return f"INSERT INTO {chains.steps.name} ({names}) SELECT {names} FROM {chains.roots.name} WHERE {LOAD}"

    @property
    def _select_placed(self) -> str:
        messages, chains = self.messages, self.messages.chains
        names, targets = messages.key("message_id"), messages.key("pointer")
        new = messages.new
        pointing = f"SELECT {names} FROM ({new}) WHERE pointer != ''"
        pointed_to = f"SELECT {targets} FROM ({new}) WHERE pointer != ''"
        links = messages.links_of(f"SELECT {names} FROM ({new})")
        known = messages.links_of(pointed_to)
        unsettled = f"{pointing} UNION ALL {messages.gone} UNION ALL SELECT {messages.key('root_id')} FROM ({links})"
        rows = messages.stored(chains.dataset, f"({messages.key('root_id')}) IN (SELECT {names} FROM ({new}))")
        scope = messages.chains.scope
        new_names = ", ".join(f"n.{name} AS {name}" for name in scope)
        joined = {
            table: " AND ".join(
                [*(f"n.{name} = {table}.{name}" for name in scope), f"n.{own} = {table}.{other}"]
            )
            for table, own, other in (("l", "message_id", "message_id"), ("t", "pointer", "message_id"), ("r", "message_id", "root_id"))
        }  # fmt: skip
        end = f"({', '.join(scope)}, if(target_root = '', pointer, target_root))"
        return f"""
SELECT {messages.scope}, message_id, pointer, at, target_root, target_depth, target_is_cyclic, was_known,
    {messages.digest("message_id")} AS digest,
    was_known OR (is_root AND pointer != '') OR (pointer != '' AND (
        ({names}) IN ({pointed_to}) OR ({targets}) IN ({pointing} UNION ALL {messages.gone}) OR {end} IN ({unsettled})
    )) AS is_tangled
FROM (
    SELECT {new_names}, n.message_id AS message_id, n.pointer AS pointer, n.at AS at, t.root_id AS target_root,
        t.depth AS target_depth, t.is_cyclic AS target_is_cyclic, l.root_id != '' OR r.has_root AS was_known,
        r.root_id != '' AS is_root
    FROM ({new}) AS n
    LEFT ANY JOIN ({links}) AS l ON {joined["l"]}
    LEFT ANY JOIN ({known}) AS t ON {joined["t"]}
    LEFT ANY JOIN ({rows}) AS r ON {joined["r"]}
)"""


@dataclass(frozen=True, slots=True)
class RowStatements:
    """The rows of the chains. `slow` are digests of messages: their chains are put together from all of their messages."""

    messages: Messages
    slow: Sequence[int]

    @property
    def insert_withdrawn(self) -> str:
        """Withdraw the stored rows of all chains that a message was added to, moved in, or taken from."""
        messages, dataset = self.messages, self.messages.chains.dataset
        names, roots = messages.key("message_id"), messages.key("root_id")
        touched = (
            f"SELECT {names} FROM ({messages.new}) UNION ALL SELECT {names} FROM ({messages.gone})"
            f" UNION ALL SELECT {roots} FROM {messages.chains.roots.name} WHERE {LOAD}"
        )
        if messages.has_replaced:
            touched += f" UNION ALL SELECT {roots} FROM ({messages.links_of(f'SELECT {names} FROM ({messages.new})')})"
        stored = messages.stored(dataset, f"({roots}) IN ({touched})")
        columns = ", ".join(f"`{column.name}`" for column in version_columns(dataset))
        return (
            f"INSERT INTO {dataset.name} ({columns}, change, load_id) SELECT {columns}, -1, {{load_id:UInt64}}"
            f" FROM ({stored})"
        )

    @property
    def withdrawn(self) -> str:
        return f"SELECT * FROM {self.messages.chains.dataset.name} WHERE {LOAD} AND change = -1"

    @property
    def slow_roots(self) -> str:
        """The chains that are put together from all of their messages: those with a message that was known before or is
        gone, and those in which a message cancels another.
        """
        messages = self.messages
        scope, slow = messages.scope, list(self.slow)
        return f"""
SELECT {scope}, root FROM ({self._new}) WHERE is_cancel OR {messages.digest("message_id")} IN {slow}
UNION DISTINCT SELECT {scope}, root_id FROM ({messages.new_links})
    WHERE {messages.digest("message_id")} IN {slow}
UNION DISTINCT SELECT {scope}, root FROM ({self._former})
    WHERE has_cancel OR {messages.digest("root_id")} IN {slow}"""

    def create_pieces(self, *, without_slow: bool) -> str:
        """The new messages, and what was known of their chains before."""
        pieces = f"{self._piece_of_message(self._new)} UNION ALL {self._piece_of_row}"
        if without_slow:
            pieces = f"SELECT * FROM ({pieces}) WHERE ({self.messages.scope}, root) NOT IN ({self.slow_roots})"
        return self.messages.create("pieces", pieces)

    @property
    def create_slow_pieces(self) -> str:
        """All messages of the slow chains."""
        messages = self.messages
        scope, steps = messages.scope, messages.chains.steps
        roots = f"SELECT {scope}, root FROM ({self.slow_roots})"
        members = messages.stored(steps, f"({messages.key('root_id')}) IN ({roots})", with_load=True)
        keys = f"SELECT {messages.key('message_id')} FROM ({members}) UNION ALL {roots}"
        every = self._with_links(messages.visible(keys), members)
        cancelled = f"SELECT {scope}, pointer FROM ({every}) WHERE is_cancel"
        in_force = f"NOT is_cancel AND ({messages.key('message_id')}) NOT IN ({cancelled})"
        return messages.create("pieces", self._piece_of_message(every, in_force))

    @property
    def _new(self) -> str:
        return f"SELECT * FROM {self.messages.scratch('linked')}"

    @property
    def create_linked(self) -> str:
        """The new messages with their chains."""
        messages = self.messages
        links = messages.links_of(f"SELECT {messages.key('message_id')} FROM ({messages.new})", with_load=True)
        return messages.create("linked", self._with_links(messages.new, links))

    def _with_links(self, rows: str, links: str) -> str:
        same = self._same("m", "l", "message_id", "message_id")
        scope = ", ".join(f"m.{name} AS {name}" for name in self.messages.chains.scope)
        names = ("message_id", "pointer", "at", "action", "is_cancel", "executed", "first", "terms")
        return (
            f"SELECT {scope}, {', '.join(f'm.{name} AS {name}' for name in names)}, if(l.root_id = '', m.message_id, l.root_id)"
            f" AS root, l.depth AS depth, l.is_cyclic AS is_cyclic FROM ({rows}) AS m LEFT ANY JOIN ({links}) AS l ON {same}"
        )

    @property
    def _former(self) -> str:
        """The withdrawn rows, each with the root that its chain has now."""
        same = self._same("w", "l", "root_id", "message_id")
        return (
            "SELECT w.*, if(l.root_id = '', w.root_id, l.root_id) AS root, l.depth AS moved, l.is_cyclic AS moved_is_cyclic"
            f" FROM ({self.withdrawn}) AS w LEFT ANY JOIN ({self.messages.new_links}) AS l ON {same}"
        )

    def _same(self, left: str, right: str, name: str, other: str) -> str:
        scope = [f"{left}.{column} = {right}.{column}" for column in self.messages.chains.scope]
        return " AND ".join([*scope, f"{left}.{name} = {right}.{other}"])

    def _piece_of_message(self, rows: str, in_force: str = "1") -> str:
        """A message as the row of a chain that has only this one."""
        place = _place("at", "message_id")
        sets_state = "action IN ('NEW', 'MODIFY', 'TERMINATE', 'ERROR', 'REVIVE')"
        return f"""
SELECT {self.messages.scope}, root, {place} AS first_place, first, concat(toString({in_force}), first_place) AS place, terms,
    concat(toString({in_force} AND {sets_state}), first_place) AS state_place,
    if({sets_state}, action, '') AS state_action, first_place AS last_place, action AS last_action, executed,
    toUInt64(1) AS messages, toUInt64(action IN ('MODIFY', 'CORRECT')) AS changes, toUInt8(message_id = root) AS has_root,
    toUInt8(is_cancel) AS has_cancel, toUInt32(depth) AS depth, toUInt8(is_cyclic) AS is_cyclic
FROM ({rows})"""

    @property
    def _piece_of_row(self) -> str:
        """What was known of a chain before."""
        chains = self.messages.chains
        first, terms = ", ".join(chains.first), ", ".join(chains.now)
        return f"""
SELECT {self.messages.scope}, root, {_place("first_event_at", "first_message")}, tuple({first}),
    concat(toString(toUInt8(in_force)), {_place("in_force_at", "message_in_force")}), tuple({terms}),
    concat(toString(CAST(state_action AS String) != ''), {_place("state_at", "state_message")}), CAST(state_action AS String),
    {_place("last_event_at", "last_message")}, CAST(last_action AS String), execution_time, messages, changes,
    toUInt8(has_root AND root = root_id), toUInt8(has_cancel), toUInt32(depth + moved), toUInt8(is_cyclic OR moved_is_cyclic)
FROM ({self._former})"""

    @property
    def insert_rows(self) -> str:
        """Put the pieces of each chain together. Only short columns are grouped; terms come from the piece in force."""
        chains, scope, pieces = self.messages.chains, self.messages.chains.scope, self.messages.scratch("pieces")
        columns = self._columns()
        groups = ", ".join((*scope, "root"))
        on_place = " AND ".join(f"a.{name} = p.{name}" for name in (*scope, "root", "place"))
        on_first = " AND ".join(f"a.{name} = f.{name}" for name in (*scope, "root", "first_place"))
        return f"""
INSERT INTO {chains.dataset.name} ({", ".join(columns)}, change, load_id)
SELECT {", ".join(f"{value} AS {name}_" for name, value in columns.items())}, 1, {{load_id:UInt64}}
FROM (SELECT {groups}, place, terms FROM {pieces}) AS p
INNER JOIN (
    SELECT {groups}, min(first_place) AS first_place, max(place) AS place, max(state_place) AS state_place,
        if(startsWith(state_place, '1'), argMax(state_action, {pieces}.state_place), '') AS state_action,
        max(last_place) AS last_place, argMax(last_action, {pieces}.last_place) AS last_action, min(executed) AS executed,
        sum(messages) AS messages, sum(changes) AS changes, max(has_root) AS has_root, max(has_cancel) AS has_cancel,
        max(depth) AS depth, max(is_cyclic) AS is_cyclic
    FROM {pieces} GROUP BY {groups}
) AS a ON {on_place}
INNER JOIN (SELECT {groups}, first_place, first FROM {pieces}) AS f ON {on_first}"""

    def _columns(self) -> dict[str, str]:
        """The stored columns of a row, by name: expressions over the joined pieces."""
        chains = self.messages.chains
        in_force = "startsWith(a.place, '1')"
        live = (
            f"multiIf(NOT {in_force}, 'withdrawn', a.state_action = 'TERMINATE', 'ended', a.state_action = 'ERROR', 'withdrawn',"
            " 'live')"
        )
        return {
            **{name: f"a.{name}" for name in chains.scope},
            "root_id": "a.root",
            "state": f"if(a.has_root AND NOT a.is_cyclic, {live}, 'root unknown')",
            "last_state": live,
            **{name: f"p.terms.{index}" for index, name in enumerate(chains.now, 1)},
            **{name: f"f.first.{index}" for index, name in enumerate(chains.first, 1)},
            **{name: f"a.{name}" for name in ("messages", "changes", "last_action", "depth", "is_cyclic", "state_action")},
            **{name: f"a.{name}" for name in ("has_root", "has_cancel")},
            "execution_time": "a.executed", "in_force": in_force,
            "first_event_at": _time("a.first_place"), "first_message": _identifier("a.first_place"),
            "last_event_at": _time("a.last_place"), "last_message": _identifier("a.last_place"),
            "in_force_at": _time("substring(a.place, 2)"), "message_in_force": _identifier("substring(a.place, 2)"),
            "state_at": _time("substring(a.state_place, 2)"), "state_message": _identifier("substring(a.state_place, 2)"),
        }  # fmt: skip


def _place(at: str, identifier: str) -> str:
    """A text whose order is that of times, then of identifiers as numbers."""
    return f"concat(toString(toUnixTimestamp64Micro({at}) + {OFFSET}), toString(length({identifier}) + 1000), {identifier})"


def _time(place: str) -> str:
    return f"fromUnixTimestamp64Micro(toInt64(substring({place}, 1, 18)) - {OFFSET}, 'UTC')"


def _identifier(place: str) -> str:
    return f"substring({place}, 23)"
