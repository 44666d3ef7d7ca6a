"""Follows the pointers of messages to their ends. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Key = tuple[str, ...]
"""An identifier within its scope: (publisher, regime, identifier)."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message is in its chain: the root, the number of pointers to it, and whether they lead in a circle."""

    root: Key
    depth: int
    is_cyclic: bool = False


def find_places(pointers: Mapping[Key, Key], known: Mapping[Key, Place]) -> dict[Key, Place]:
    """The place of each message that points to another. `known` has the places of messages whose pointers do not change.

    A circle has the least of its identifiers as its root. Each message is visited twice at most, however long a chain is.
    """
    places = dict[Key, Place]()
    for start in pointers:
        path: list[Key] = []
        on_path = dict[Key, int]()
        message = start
        while message in pointers and message not in places and message not in on_path:
            on_path[message] = len(path)
            path.append(message)
            message = pointers[message]
        if message in on_path:
            circle = path[on_path[message] :]
            places |= _place_circle(circle)
            path = path[: on_path[message]]
        _place_path(path, _find_end(message, pointers, places, known), places)
    return places


def _place_circle(circle: list[Key]) -> dict[Key, Place]:
    """Each message of the circle, by the number of pointers from it to the least one."""
    least = circle.index(min(circle, key=_in_order))
    size = len(circle)
    return {message: Place(circle[least], (least - index) % size, True) for index, message in enumerate(circle)}


def _in_order(message: Key) -> tuple[Key, int, str]:
    """Identifiers in the order of numbers: a shorter one is less."""
    return message[:-1], len(message[-1]), message[-1]


def _find_end(
    message: Key, pointers: Mapping[Key, Key], places: Mapping[Key, Place], known: Mapping[Key, Place]
) -> Place:
    """The place of the message at the end of a path: one that was placed, one that is known, or a root."""
    if message in pointers:
        return places[message]
    return known.get(message, Place(message, 0))


def _place_path(path: Iterable[Key], end: Place, places: dict[Key, Place]) -> None:
    for distance, message in enumerate(reversed(list(path)), 1):
        places[message] = Place(end.root, end.depth + distance, end.is_cyclic)
