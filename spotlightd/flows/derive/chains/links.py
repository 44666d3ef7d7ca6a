"""Which stored links change when messages come, change and go. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from spotlightd.flows.derive.chains.graph import Key, Place, find_places

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Link:
    """To which message another points, when it counts, and its place."""

    original: Key
    at: datetime
    place: Place


@dataclass(frozen=True, slots=True)
class LinkChanges:
    """The links that are written and those that are withdrawn, by message. `slow` are digests of messages and of
    roots whose chains must be put together from all of their messages.
    """

    written: Mapping[Key, Link]
    withdrawn: Mapping[Key, Link]
    slow: Sequence[int]

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Scope, message, root, original, time, depth, circle, and the change."""
        for change, links in ((-1, self.withdrawn), (1, self.written)):
            for message, link in links.items():
                place = link.place
                yield (*message, place.root[-1], link.original[-1], link.at, place.depth, place.is_cyclic, change)


def find_link_changes(
    scope: Sequence[str], tangled: Iterable[Row], gone: Iterable[Row], members: Iterable[Row]
) -> LinkChanges:
    """`members` are the stored links of all chains that may change, `tangled` the messages that must be placed."""
    stored, digests = dict[Key, Link](), dict[Key, tuple[int, int]]()
    for row in members:
        message = _key(scope, row, "message_id")
        place = Place(_key(scope, row, "root_id"), row["depth"], row["is_cyclic"])
        stored[message] = Link(_key(scope, row, "original_id"), row["event_at"], place)
        digests[message] = row["digest"], row["root_digest"]
    pointers = {message: link.original for message, link in stored.items()}
    times = {message: link.at for message, link in stored.items()}
    known, slow = dict[Key, Place](), set[int]()
    for row in gone:
        pointers.pop(_key(scope, row, "message_id"), None)
        slow.add(row["digest"])
    for row in tangled:
        message = _key(scope, row, "message_id")
        pointers.pop(message, None)
        if row["pointer"]:
            pointers[message], times[message] = _key(scope, row, "pointer"), row["at"]
        if row["target_root"]:
            target = Place(_key(scope, row, "target_root"), row["target_depth"], row["target_is_cyclic"])
            known[_key(scope, row, "pointer")] = target
        if row["was_known"]:
            slow.add(row["digest"])
    links = {
        message: Link(pointers[message], times[message], place)
        for message, place in find_places(pointers, known).items()
    }
    broken = {link.place.root for message, link in stored.items() if pointers.get(message) != link.original}
    slow.update(*(digests[message] for message, link in stored.items() if link.place.root in broken))
    return LinkChanges(
        {message: link for message, link in links.items() if stored.get(message) != link},
        {message: link for message, link in stored.items() if links.get(message) != link},
        sorted(slow),
    )


def _key(scope: Sequence[str], row: Row, name: str) -> Key:
    return (*(str(row[column]) for column in scope), str(row[name]))
