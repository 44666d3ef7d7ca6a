"""The manifest of a bundle as JSON, written and read.

A manifest that is read is untrusted: each value is taken by name and checked by kind, and unknown values are an error.

Why by hand: msgspec was tried for this file, about 185 lines instead of 257. It lost sentences that name the bad value, the
bound of 2^63 and the check for control characters, and `model` is standard library only.
"""

from __future__ import annotations

import json
import re
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
    content = {
        "spotlightd_bundle": VERSION, "release": manifest.release, "made_at": manifest.created_at.isoformat(),
        "dataset": manifest.dataset, "first": manifest.first.isoformat(), "last": manifest.last.isoformat(),
        "columns": {name: [list(column) for column in columns] for name, columns in manifest.columns.items()},
        "loads": [_load_to_json(load) for load in manifest.loads],
        "members": [{"name": member.name, "bytes": member.size, "sha256": member.sha256} for member in manifest.members],
    }  # fmt: skip
    return json.dumps(content, ensure_ascii=False, indent=1).encode()


def _load_to_json(load: PackedLoad) -> dict[str, Any]:
    head = {"source": load.source, "covers": load.covers, "digest": load.digest, "parser": load.parser}
    rows = {"rows": {name: _fingerprint_to_json(mark) for name, mark in load.rows.items()}}
    if load.frames:
        frames = {
            "day": load.frames.day.isoformat(), "part": load.frames.part, **_fingerprint_to_json(load.frames.mark),
            "members": list(load.frames.members),
        }  # fmt: skip
        return {**head, "frames": frames, **rows}
    return {**head, "document": _document_to_json(load.document), **rows}


def _document_to_json(document: Document | None) -> dict[str, Any]:
    if document is None:
        raise AssertionError("a load has neither a document nor frames")
    return {
        "size": document.size, "url": document.url, "via": document.via, "fetched_at": document.fetched_at.isoformat(),
        "etag": document.etag, "last_modified": document.last_modified, "media_type": document.media_type,
    }  # fmt: skip


def _fingerprint_to_json(mark: Fingerprint) -> dict[str, str]:
    """The numbers as texts, because not every JSON reader has numbers of 64 bits."""
    return {
        "count": f"{mark.rows}", "total": f"{mark.total}", "mixed": f"{mark.mixed}", "low": f"{mark.low}",
        "high": f"{mark.high}",
    }  # fmt: skip


# -- untrusted JSON ----------------------------------------------------------------------------------------------------


class _ObjectReader:
    """One object of untrusted JSON. Values are checked when they are taken; `finish` refuses values that were not taken."""

    def __init__(self, where: str, value: Any) -> None:
        self._where = where
        if not isinstance(value, dict):
            self.refuse("is not an object")
        self._values = dict(value)

    def refuse(self, detail: str) -> NoReturn:
        raise FormatError(f"the bundle's manifest: {self._where} {detail}"[:MOST_CHARACTERS])

    def take(self, name: str) -> Any:
        if name not in self._values:
            self.refuse(f"has no {name!r}")
        return self._values.pop(name)

    def text(self, name: str, pattern: re.Pattern[str] | None = None) -> str:
        value = self.take(name)
        if not isinstance(value, str) or len(value) > MOST_CHARACTERS or not value.isprintable():
            self.refuse(f"has a {name!r} that is not plain text of at most {MOST_CHARACTERS:,} characters")
        if pattern and not pattern.fullmatch(value):
            self.refuse(f"has a {name!r} that is not what it should be: {value[:80]!r}")
        return str(value)

    def count(self, name: str) -> int:
        value = self.take(name)
        if type(value) is not int or not 0 <= value < 2**63:
            self.refuse(f"has a {name!r} that is not a count")
        return int(value)

    def whole(self, name: str) -> int:
        return int(self.text(name, _WHOLE))

    def moment(self, name: str) -> datetime:
        text = self.text(name)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            self.refuse(f"has a {name!r} that is not a time: {text[:80]!r}")
        if moment.tzinfo is None:
            self.refuse(f"has a {name!r} without a time zone")
        return moment.astimezone(UTC)

    def day(self, name: str) -> date:
        text = self.text(name)
        try:
            return date.fromisoformat(text)
        except ValueError:
            self.refuse(f"has a {name!r} that is not a day: {text[:80]!r}")

    def items(self, name: str) -> list[Any]:
        value = self.take(name)
        if not isinstance(value, list) or len(value) > MOST_MEMBERS:
            self.refuse(f"has a {name!r} that is not a list of at most {MOST_MEMBERS:,}")
        return list(value)

    def by_dataset(self, name: str) -> dict[str, Any]:
        value = self.take(name)
        if not isinstance(value, dict) or not value or not all(_NAME.fullmatch(dataset) for dataset in value):
            self.refuse(f"has {name!r} that are not by dataset")
        return dict(value)

    def has(self, name: str) -> bool:
        return name in self._values

    def finish(self) -> None:
        if self._values:
            self.refuse(f"has {', '.join(sorted(self._values))[:200]!r}, which this release does not know")


def from_json(text: bytes) -> Manifest:
    """A manifest that somebody else wrote. FormatError names what is wrong."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the bundle's manifest is not JSON: {str(error)[:200]}") from None
    reader = _ObjectReader("it", value)
    version = reader.count("spotlightd_bundle")
    if version != VERSION:
        raise FormatError(
            f"the bundle is of format {version}, and this release reads {VERSION}: import it with a newer spotlightd"
        )
    manifest = Manifest(
        release=reader.text("release"),
        created_at=reader.moment("made_at"),
        dataset=reader.text("dataset", _NAME),
        first=reader.day("first"),
        last=reader.day("last"),
        columns={name: _read_columns(name, columns) for name, columns in reader.by_dataset("columns").items()},
        loads=tuple(_read_load(f"load {number}", load) for number, load in enumerate(reader.items("loads"), 1)),
        members=tuple(_read_member(f"member {number}", item) for number, item in enumerate(reader.items("members"), 1)),
    )
    reader.finish()
    _check(manifest)
    return manifest


def _read_columns(dataset: str, value: Any) -> Columns:
    pairs = value if isinstance(value, list) else []
    if not pairs or not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)  # noqa: PLR2004
        for pair in pairs
    ):
        raise FormatError(f"the bundle's manifest: columns of {dataset} are not pairs of name and type")
    return tuple((str(name), str(type_name)) for name, type_name in pairs)


def _read_load(where: str, value: Any) -> PackedLoad:
    reader = _ObjectReader(where, value)
    source, covers = reader.text("source", _NAME), reader.text("covers", COVERS)
    digest, parser = reader.text("digest", _SHA256), reader.text("parser")
    rows = {
        dataset: _read_fingerprint(f"{where}, rows of {dataset},", mark)
        for dataset, mark in reader.by_dataset("rows").items()
    }
    document, frames = None, None
    if reader.has("frames"):
        frames = _read_frames(where, reader.take("frames"))
    else:
        document = _read_document(where, reader.take("document"), source, covers, digest)
    reader.finish()
    return PackedLoad(source, covers, digest, parser, rows, document, frames)


def _read_document(where: str, value: Any, source: str, covers: str, digest: str) -> Document:
    reader = _ObjectReader(f"{where}, document,", value)
    document = Document(
        digest=digest, size=reader.count("size"), source=source, url=reader.text("url"), covers=covers,
        fetched_at=reader.moment("fetched_at"), via=reader.text("via"), etag=reader.text("etag"),
        last_modified=reader.text("last_modified"), media_type=reader.text("media_type"),
    )  # fmt: skip
    reader.finish()
    if not document.url.startswith("https://"):
        reader.refuse(f"has an address that is not https: {document.url[:80]!r}")
    return document


def _read_frames(where: str, value: Any) -> Frames:
    reader = _ObjectReader(f"{where}, frames,", value)
    day, part, members = reader.day("day"), reader.count("part"), reader.items("members")
    mark = _take_fingerprint(reader)
    reader.finish()
    if not members or not all(isinstance(member, str) for member in members):
        reader.refuse("has no members")
    return Frames(day, part, mark, tuple(members))


def _read_fingerprint(where: str, value: Any) -> Fingerprint:
    reader = _ObjectReader(where, value)
    mark = _take_fingerprint(reader)
    reader.finish()
    return mark


def _take_fingerprint(reader: _ObjectReader) -> Fingerprint:
    return Fingerprint(*(reader.whole(name) for name in ("count", "total", "mixed", "low", "high")))


def _read_member(where: str, value: Any) -> Member:
    reader = _ObjectReader(where, value)
    member = Member(reader.text("name", MEMBER), reader.count("bytes"), reader.text("sha256", _SHA256))
    reader.finish()
    return member


def _check(manifest: Manifest) -> None:
    """Each member must belong to a load, and each load must have its members."""
    wanted = [name for load in manifest.loads for name in load.members]
    members = {member.name: member for member in manifest.members}
    if len(members) != len(manifest.members):
        raise FormatError("the bundle's manifest names a member twice")
    if unmatched := sorted(set(wanted) ^ set(members)):
        raise FormatError(f"the bundle's manifest: {unmatched[0]} belongs to no load, or is not among the members")
    if len({(load.source, load.digest) for load in manifest.loads}) != len(manifest.loads):
        raise FormatError("the bundle's manifest names a load twice")
    if any(set(load.rows) - set(manifest.columns) for load in manifest.loads):
        raise FormatError("the bundle's manifest has rows of a dataset without columns")
    for load in manifest.loads:
        member = members.get(document_name(load.digest))
        if load.document and member and (member.size, member.sha256) != (load.document.size, load.digest):
            raise FormatError(
                f"the bundle's manifest: document {load.digest} has another size or SHA-256 than its name says"
            )
