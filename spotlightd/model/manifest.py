"""The manifest of a bundle as JSON, and how somebody else's is read: each value is taken by name and kind, and nothing
may be left over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, NoReturn

from spotlightd.errors import FormatError
from spotlightd.model.archive import Fingerprint
from spotlightd.model.bundle import (
    MEMBER,
    MOST_MEMBERS,
    VERSION,
    Columns,
    Frames,
    Manifest,
    Member,
    PackedLoad,
    document_name,
)
from spotlightd.model.provenance import Document
from spotlightd.model.source import COVERS

MOST_CHARACTERS = 2_000
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_WHOLE = re.compile(r"-?[0-9]{1,20}", re.ASCII)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}", re.ASCII)


def to_json(manifest: Manifest) -> bytes:
    said = {
        "spotlightd_bundle": VERSION, "release": manifest.release, "made_at": manifest.created_at.isoformat(),
        "dataset": manifest.dataset, "first": manifest.first.isoformat(), "last": manifest.last.isoformat(),
        "columns": {name: [list(one) for one in columns] for name, columns in manifest.columns.items()},
        "loads": [_load(one) for one in manifest.loads],
        "members": [{"name": one.name, "bytes": one.size, "sha256": one.sha256} for one in manifest.members],
    }  # fmt: skip
    return json.dumps(said, ensure_ascii=False, indent=1).encode()


def _load(one: PackedLoad) -> dict[str, Any]:
    head = {"source": one.source, "covers": one.covers, "digest": one.digest, "parser": one.parser}
    rows = {"rows": {name: _mark(mark) for name, mark in one.rows.items()}}
    if one.frames:
        frames = {
            "day": one.frames.day.isoformat(), "part": one.frames.part, **_mark(one.frames.mark),
            "members": list(one.frames.members),
        }  # fmt: skip
        return {**head, "frames": frames, **rows}
    return {**head, "document": _document(one.document), **rows}


def _document(one: Document | None) -> dict[str, Any]:
    if one is None:
        raise AssertionError("a load rests on a document or on frames")
    return {
        "size": one.size, "url": one.url, "via": one.via, "fetched_at": one.fetched_at.isoformat(), "etag": one.etag,
        "last_modified": one.last_modified, "media_type": one.media_type,
    }  # fmt: skip


def _mark(mark: Fingerprint) -> dict[str, str]:
    """As text: a number of 64 bits is none in every JSON."""
    return {
        "count": f"{mark.rows}", "total": f"{mark.total}", "mixed": f"{mark.mixed}", "low": f"{mark.low}",
        "high": f"{mark.high}",
    }  # fmt: skip


# -- from somebody's JSON ----------------------------------------------------------------------------------------------


class _Told:
    """An object of somebody's JSON. What is taken from it is checked; `done` refuses what was not taken."""

    def __init__(self, where: str, value: Any) -> None:
        self._where = where
        if not isinstance(value, dict):
            self.refuse("is no object")
        self._left = dict(value)

    def refuse(self, says: str) -> NoReturn:
        raise FormatError(f"the bundle's manifest: {self._where} {says}"[:MOST_CHARACTERS])

    def take(self, name: str) -> Any:
        if name not in self._left:
            self.refuse(f"has no {name!r}")
        return self._left.pop(name)

    def text(self, name: str, pattern: re.Pattern[str] | None = None) -> str:
        value = self.take(name)
        if not isinstance(value, str) or len(value) > MOST_CHARACTERS or not value.isprintable():
            self.refuse(f"has a {name!r} that is no plain text of at most {MOST_CHARACTERS:,} characters")
        if pattern and not pattern.fullmatch(value):
            self.refuse(f"has a {name!r} that is not what it should be: {value[:80]!r}")
        return str(value)

    def count(self, name: str) -> int:
        value = self.take(name)
        if type(value) is not int or not 0 <= value < 2**63:
            self.refuse(f"has a {name!r} that is no count")
        return int(value)

    def whole(self, name: str) -> int:
        return int(self.text(name, _WHOLE))

    def moment(self, name: str) -> datetime:
        text = self.text(name)
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            self.refuse(f"has a {name!r} that is no time: {text[:80]!r}")
        if found.tzinfo is None:
            self.refuse(f"has a {name!r} without a zone")
        return found.astimezone(UTC)

    def day(self, name: str) -> date:
        text = self.text(name)
        try:
            return date.fromisoformat(text)
        except ValueError:
            self.refuse(f"has a {name!r} that is no day: {text[:80]!r}")

    def items(self, name: str) -> list[Any]:
        value = self.take(name)
        if not isinstance(value, list) or len(value) > MOST_MEMBERS:
            self.refuse(f"has a {name!r} that is no list of at most {MOST_MEMBERS:,}")
        return list(value)

    def named(self, name: str) -> dict[str, Any]:
        value = self.take(name)
        if not isinstance(value, dict) or not value or not all(_NAME.fullmatch(one) for one in value):
            self.refuse(f"has {name!r} that are not by dataset")
        return dict(value)

    def has(self, name: str) -> bool:
        return name in self._left

    def done(self) -> None:
        if self._left:
            self.refuse(f"has {', '.join(sorted(self._left))[:200]!r}, which this release does not know")


def from_json(text: bytes) -> Manifest:
    """A manifest that somebody wrote. FormatError says what is wrong with it."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise FormatError(f"the bundle's manifest is no JSON: {str(problem)[:200]}") from None
    told = _Told("it", value)
    version = told.count("spotlightd_bundle")
    if version != VERSION:
        raise FormatError(
            f"the bundle is of format {version}, and this release reads {VERSION}: import it with a newer spotlightd"
        )
    made = Manifest(
        told.text("release"), told.moment("made_at"), told.text("dataset", _NAME), told.day("first"), told.day("last"),
        {name: _columns(name, one) for name, one in told.named("columns").items()},
        tuple(_packed(f"load {at}", one) for at, one in enumerate(told.items("loads"), 1)),
        tuple(_member(f"member {at}", one) for at, one in enumerate(told.items("members"), 1)),
    )  # fmt: skip
    told.done()
    _check(made)
    return made


def _columns(name: str, value: Any) -> Columns:
    pairs = value if isinstance(value, list) else []
    if not pairs or not all(
        isinstance(one, list) and len(one) == 2 and all(isinstance(word, str) for word in one)  # noqa: PLR2004
        for one in pairs
    ):
        raise FormatError(f"the bundle's manifest: columns of {name} are no pairs of name and type")
    return tuple((str(one), str(word)) for one, word in pairs)


def _packed(where: str, value: Any) -> PackedLoad:
    told = _Told(where, value)
    source, covers = told.text("source", _NAME), told.text("covers", COVERS)
    digest, parser = told.text("digest", _SHA256), told.text("parser")
    rows = {name: _marked(f"{where}, rows of {name},", one) for name, one in told.named("rows").items()}
    if told.has("frames"):
        found = PackedLoad(source, covers, digest, parser, rows, frames=_frames(where, told.take("frames")))
    else:
        document = _documented(where, told.take("document"), source, covers, digest)
        found = PackedLoad(source, covers, digest, parser, rows, document=document)
    told.done()
    return found


def _documented(where: str, value: Any, source: str, covers: str, digest: str) -> Document:
    told = _Told(f"{where}, document,", value)
    made = Document(
        digest=digest, size=told.count("size"), source=source, url=told.text("url"), covers=covers,
        fetched_at=told.moment("fetched_at"), via=told.text("via"), etag=told.text("etag"),
        last_modified=told.text("last_modified"), media_type=told.text("media_type"),
    )  # fmt: skip
    told.done()
    if not made.url.startswith("https://"):
        told.refuse(f"has an address that is not https: {made.url[:80]!r}")
    return made


def _frames(where: str, value: Any) -> Frames:
    told = _Told(f"{where}, frames,", value)
    day, part, members = told.day("day"), told.count("part"), told.items("members")
    mark = _taken(told)
    told.done()
    if not members or not all(isinstance(one, str) for one in members):
        told.refuse("has no members")
    return Frames(day, part, mark, tuple(members))


def _marked(where: str, value: Any) -> Fingerprint:
    told = _Told(where, value)
    mark = _taken(told)
    told.done()
    return mark


def _taken(told: _Told) -> Fingerprint:
    return Fingerprint(*(told.whole(name) for name in ("count", "total", "mixed", "low", "high")))


def _member(where: str, value: Any) -> Member:
    told = _Told(where, value)
    made = Member(told.text("name", MEMBER), told.count("bytes"), told.text("sha256", _SHA256))
    told.done()
    return made


def _check(made: Manifest) -> None:
    """That loads and members belong together: each file is of a load, and each load has its files."""
    wanted = [name for one in made.loads for name in one.members]
    present = [one.name for one in made.members]
    if len(set(present)) != len(present):
        raise FormatError("the bundle's manifest names a member twice")
    wrong: Sequence[str] = sorted(set(wanted) ^ set(present))
    if wrong:
        raise FormatError(f"the bundle's manifest: {wrong[0]} belongs to no load, or is not among the members")
    pairs = [(one.source, one.digest) for one in made.loads]
    if len(set(pairs)) != len(pairs):
        raise FormatError("the bundle's manifest names a load twice")
    if any(set(one.rows) - set(made.columns) for one in made.loads):
        raise FormatError("the bundle's manifest has rows of a dataset without columns")
    members = {one.name: one for one in made.members}
    for one in made.loads:
        origin = members[document_name(one.digest)] if one.document else None
        if one.document and origin and (origin.size, origin.sha256) != (one.document.size, one.digest):
            raise FormatError(
                f"the bundle's manifest: document {one.digest} has another size or SHA-256 than its name says"
            )
