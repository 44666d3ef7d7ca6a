"""SQL of the messages that a round of chains is about, and of the stored rows that it starts from. Text only.

Parameters: the messages that changed are those of publications after `since` up to `until`, as they are visible at `seq`;
`load_id` is the load that is filled; `own` lists the loads that a rebuild has filled before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spotlightd.model.dataset import REBUILD_PREFIX, Column, Dataset
from spotlightd.model.derived.chains import CHANGE, Chains
from spotlightd.sql.changes import SINCE, changed_rows, visible_rows
from spotlightd.sql.tiers import ArchivedPartitions
from spotlightd.sql.visibility import SEQ, Snapshot, all_rows, newest_condition, visible_condition

LOAD = "load_id = {load_id:UInt64}"
CONTENT = ("pointer", "at", "action", "is_cancel", "executed", "first", "terms")
BETWEEN = "seq > {since:UInt64} AND seq <= {until:UInt64}"


@dataclass(frozen=True, slots=True)
class Messages:
    """The SELECTs of a round. `has_replaced`: a publication replaced another, so messages may be gone, or there again as
    they were; then `until` is `seq`. `is_rebuild`: only what the rebuild itself has filled counts as stored.
    """

    chains: Chains
    archived: ArchivedPartitions
    has_replaced: bool
    is_rebuild: bool

    @property
    def scope(self) -> str:
        return ", ".join(self.chains.scope)

    def key(self, name: str) -> str:
        return f"{self.scope}, {name}"

    def digest(self, name: str) -> str:
        """A number in place of an identifier, for lists in a statement."""
        return f"cityHash64({self.key(name)})"

    @property
    def columns(self) -> str:
        """What a round needs of a message, in the names of the SELECTs below."""
        pointer = "if(original_id = message_id, '', original_id)"
        first = ", ".join(self.chains.first.values())
        terms = ", ".join(self.chains.now.values())
        return (
            f"{self.scope}, message_id, {pointer} AS pointer, {self.chains.at} AS at, CAST(action AS String) AS action,"
            " CAST(action_printed AS String) = 'CANCEL' AS"
            f" is_cancel, execution_time AS executed, tuple({first}) AS first, tuple({terms}) AS terms"
        )

    def _once(self, rows: str) -> str:
        """Each message once, whatever number of documents has it."""
        return f"{rows} LIMIT 1 BY {self.key('message_id')}"

    def create(self, part: str, select: str) -> str:
        """A statement that holds the rows of a SELECT in the engine's memory: they are read many times in a step."""
        return f"CREATE OR REPLACE TABLE {self.scratch(part)} ENGINE = Memory AS {select}"

    def scratch(self, part: str) -> str:
        """The name of a table that holds a part of a step."""
        return f"{REBUILD_PREFIX}{self.chains.name}_{part}"

    @property
    def new(self) -> str:
        """The messages that are visible now and were not, or not so."""
        return f"SELECT * FROM {self.scratch('new')}"

    @property
    def gone(self) -> str:
        """The keys of messages that were visible and are not."""
        return f"SELECT * FROM {self.scratch('gone')}"

    @property
    def create_new(self) -> str:
        return self.create("new", self._select_new)

    @property
    def create_gone(self) -> str:
        return self.create("gone", self._select_gone)

    @property
    def _select_new(self) -> str:
        source = self.chains.messages
        after = visible_condition(source)
        if not self.has_replaced:
            loads = f"SELECT load_id FROM loads WHERE dataset = '{source.name}' AND {BETWEEN}"
            among = visible_condition(source, among=loads)
            return self._once(f"SELECT {self.columns} FROM {all_rows(source, self.archived)} WHERE {among}")
        rows, names = changed_rows(source, self.archived), self.key("message_id")
        before = after.replace(SEQ, SINCE)
        content = f"cityHash64({', '.join(CONTENT)})"
        judged = f"SELECT {self.columns}, {after} AS is_after, {before} AS is_before, {content} AS content FROM {rows}"
        same = f"SELECT {names} FROM ({judged}) GROUP BY {names} HAVING max(is_before) AND uniqExact(content) = 1"
        return self._once(f"SELECT {self.columns} FROM {rows} WHERE {after} AND ({names}) NOT IN ({same})")

    @property
    def _select_gone(self) -> str:
        names = self.key("message_id")
        if not self.has_replaced:
            return f"SELECT {names} FROM {self.scratch('new')} WHERE 0"
        changed = f"SELECT {names} FROM {changed_rows(self.chains.messages, self.archived)}"
        visible = f"SELECT {names} FROM {self._visible} WHERE ({names}) IN ({changed})"
        return f"SELECT DISTINCT {names} FROM ({changed}) WHERE ({names}) NOT IN ({visible})"

    def visible(self, keys: str) -> str:
        """The visible messages with these keys."""
        names = self.key("message_id")
        return self._once(f"SELECT {self.columns} FROM {self._visible} WHERE ({names}) IN ({keys})")

    @property
    def _visible(self) -> str:
        return visible_rows(self.chains.messages, Snapshot(0, archived=self.archived))

    # stored rows

    def stored(self, dataset: Dataset, condition: str, *, with_load: bool = False) -> str:
        """The rows of a dataset of the chains that count, of those that satisfy a condition; with what the load of this
        round has brought, or without it.
        """
        names = ", ".join(f"`{column.name}`" for column in version_columns(dataset))
        own = "load_id IN {own:Array(UInt64)}" if self.is_rebuild else newest_condition(dataset)
        loads = f"({own} OR {LOAD})" if with_load else own
        return (
            f"SELECT {names} FROM {dataset.name} WHERE {loads} AND {condition} GROUP BY {names} HAVING sum(change) > 0"
        )

    def links_of(self, keys: str, *, with_load: bool = False) -> str:
        """The stored links of these messages."""
        return self.stored(self.chains.roots, f"({self.key('message_id')}) IN ({keys})", with_load=with_load)

    @property
    def new_links(self) -> str:
        """The links that this round has written."""
        return f"SELECT * FROM {self.chains.roots.name} WHERE {LOAD} AND change = 1"


def version_columns(dataset: Dataset) -> Sequence[Column]:
    """The columns of a stored row but for its change and its load."""
    return [column for column in (*dataset.columns, *dataset.pointer) if column != CHANGE]
