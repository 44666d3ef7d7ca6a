"""The file of a bundle as somebody might send it: complete, cut off, manipulated, or another file altogether."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from spotlightd.clients.bundle import BundleWriter, open_bundle
from spotlightd.errors import FormatError, SettingsError, SpotlightError, StoreError
from spotlightd.model import manifest as json_of
from spotlightd.model.archive import Fingerprint
from spotlightd.model.bundle import Manifest, PackedLoad, document_name, rows_name
from spotlightd.model.provenance import Document
from spotlightd.ports.progress import ignore_progress

BODY = b"20210114|36467W109|GME|621483\n" * 40
AT = datetime(2021, 2, 1, tzinfo=UTC)


async def single_chunk(body: bytes) -> AsyncIterator[bytes]:
    yield body


def make_manifest(digest: str) -> Manifest:
    document = Document(digest, len(BODY), "sec_ftd", "https://www.sec.gov/x.zip", "2021/01/a", AT)
    packed = PackedLoad("sec_ftd", "2021/01/a", digest, "1", {"sec_ftd": Fingerprint(1, 2, 3, -4, 5)}, document)
    columns = {"sec_ftd": (("cusip", "FixedString(9)"),)}
    return Manifest("0.1.0", AT, "sec_ftd", date(2021, 1, 1), date(2021, 1, 31), columns, (packed,))


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@pytest.fixture
async def bundle(tmp_path: Path) -> Path:
    path, digest = tmp_path / "x.bundle.tar", sha256(BODY)
    async with BundleWriter(path) as writer:
        await writer.add(document_name(digest), len(BODY), single_chunk(BODY))
        await writer.add(rows_name("sec_ftd", digest, "sec_ftd"), 4, single_chunk(b"PAR1"))
        await writer.finish(make_manifest(digest))
    return path


async def get_refusal(path: Path) -> str:
    with pytest.raises(SpotlightError) as caught:
        async with open_bundle(path, ignore_progress):
            pass
    assert isinstance(caught.value, FormatError), caught.value
    return str(caught.value)


async def test_what_was_written_is_read_and_any_tar_opens_it(bundle: Path) -> None:
    async with open_bundle(bundle, ignore_progress) as bundle_file:
        assert bundle_file.manifest.loads == make_manifest(sha256(BODY)).loads
        assert b"".join([piece async for piece in bundle_file.read(document_name(sha256(BODY)))]) == BODY
    with tarfile.open(bundle) as tar:
        assert [member.name.split("/")[0] for member in tar.getmembers()] == ["documents", "rows", "manifest.json"]


async def test_a_bundle_that_was_cut_off_anywhere_is_refused(bundle: Path, tmp_path: Path) -> None:
    content = bundle.read_bytes()
    for size in range(0, len(content), 256):
        cut = tmp_path / "cut"
        cut.write_bytes(content[:size])
        message = await get_refusal(cut)
        assert "cut off" in message or "too short" in message, (size, message)


async def test_every_byte_that_was_changed_is_noticed(bundle: Path, tmp_path: Path) -> None:
    content = bundle.read_bytes()
    for offset in range(0, len(content), 61):
        changed = tmp_path / "changed"
        changed.write_bytes(content[:offset] + bytes([content[offset] ^ 0xFF]) + content[offset + 1 :])
        if is_padding(content, offset):
            continue
        await get_refusal(changed)


def is_padding(content: bytes, offset: int) -> bool:
    """Whether the byte is padding in a member's last block, which nobody reads."""
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        ends = [member.offset_data + member.size for member in tar.getmembers()]
    return any(end <= offset < end + -end % 512 for end in ends)


async def test_something_after_the_end_is_refused(bundle: Path) -> None:
    with bundle.open("ab") as file:
        file.write(bytes(512))
    assert "something was added" in await get_refusal(bundle)


def tar_of(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], form: int = tarfile.USTAR_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as tar:
        for info, body in members:
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return path


def info(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, link
    return header


@pytest.mark.parametrize(
    "member",
    [
        info("../../etc/passwd"), info("/etc/passwd"), info("documents/../x"), info(f"documents/{'0' * 63}"),
        info(f"documents/{'0' * 64}", tarfile.SYMTYPE, "/etc/passwd"), info(f"documents/{'0' * 64}", tarfile.LNKTYPE, "x"),
        info(f"documents/{'0' * 64}", tarfile.CHRTYPE), info(f"documents/{'0' * 64}", tarfile.FIFOTYPE),
        info("documents", tarfile.DIRTYPE), info(f"documents/{'0' * 64}", tarfile.GNUTYPE_SPARSE),
        info("rows/x/" + "0" * 64 + "/UPPER.parquet"), info("manifest.json\n"),
    ],
)  # fmt: skip
async def test_links_devices_folders_holes_and_strange_names_are_refused(
    tmp_path: Path, member: tarfile.TarInfo
) -> None:
    assert "which bundles do not" in await get_refusal(tar_of(tmp_path / "x", [(member, b"")]))


async def test_extended_heads_are_not_followed(tmp_path: Path) -> None:
    long = info("documents/" + "a" * 300)
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        assert "is no bundle" in await get_refusal(tar_of(tmp_path / "x", [(long, b"")], form))


@pytest.mark.parametrize("size", [1 << 40, (8 << 30) - 1, 1 << 80])
async def test_a_member_that_claims_to_be_huge_is_refused_without_reading(tmp_path: Path, size: int) -> None:
    head = info(document_name("0" * 64))
    head.size = size
    (tmp_path / "x").write_bytes(head.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    assert "cut off" in await get_refusal(tmp_path / "x")


async def test_a_member_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    members = [(info(document_name("0" * 64)), b"x"), (info(document_name("0" * 64)), b"y")]
    assert "twice" in await get_refusal(tar_of(tmp_path / "x", members))


async def test_a_file_that_is_no_bundle_is_reported_with_the_remedy(tmp_path: Path) -> None:
    for body in (b"", b"a,b\n1,2\n", b"PK\x03\x04" + bytes(2000), bytes(4096)):
        (tmp_path / "x").write_bytes(body)
        assert "is no bundle of spotlightd" in await get_refusal(tmp_path / "x")
    with pytest.raises(SettingsError, match="cannot be read"):
        async with open_bundle(tmp_path / "none", ignore_progress):
            pass
    with pytest.raises(SettingsError, match="is not a file"):
        async with open_bundle(tmp_path, ignore_progress):
            pass


async def rewrite_manifest(bundle: Path, change: Any) -> None:
    """Change the manifest of the bundle; the tar stays valid."""
    with tarfile.open(bundle) as tar:
        members = [(info(member.name), tar.extractfile(member).read()) for member in tar.getmembers()]  # type: ignore[union-attr]
    value = json.loads(members[-1][1])
    change(value)
    body = bundle.with_name("body")
    tar_of(body, [*members[:-1], (members[-1][0], json.dumps(value).encode())])
    size = sum(512 + len(part) + -len(part) % 512 for _, part in [*members[:-1], (None, json.dumps(value).encode())])
    bundle.write_bytes(body.read_bytes()[: size + 1024])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda m: m.update(spotlightd_bundle=2), "with a newer spotlightd"),
        (lambda m: m.update(spotlightd_bundle="1"), "not a count"),
        (lambda m: m.update(more=1), "does not know"),
        (lambda m: m.pop("release"), "has no 'release'"),
        (lambda m: m.update(made_at="2021-01-01"), "without a time zone"),
        (lambda m: m["loads"][0].update(covers="../x"), "'covers'"),
        (lambda m: m["loads"][0]["rows"]["sec_ftd"].update(total="1e9"), "'total'"),
        (lambda m: m["loads"][0]["rows"]["sec_ftd"].update(total=1), "'total'"),
        (lambda m: m["loads"][0].update(rows={"../x": {}}), "by dataset"),
        (lambda m: m["members"][0].update(sha256="0" * 64), "another size or SHA-256"),
        (lambda m: m["members"][1].update(sha256="0" * 64), "differs from what the manifest says"),
        (lambda m: m["members"].append(m["members"][0]), "names a member twice"),
        (lambda m: m.update(members=[]), "belongs to no load"),
        (lambda m: m.update(columns=[]), "by dataset"),
        (lambda m: m["loads"].append(7), "is not an object"),
    ],
)
async def test_a_manifest_is_taken_value_by_value(bundle: Path, change: Any, expected: str) -> None:
    await rewrite_manifest(bundle, lambda _: None)
    async with open_bundle(bundle, ignore_progress):
        pass
    await rewrite_manifest(bundle, change)
    assert expected in await get_refusal(bundle)


def test_json_that_is_too_deep_is_refused_and_not_followed() -> None:
    with pytest.raises(FormatError, match="not JSON"):
        json_of.from_json(b"[" * 1_000_000)
    with pytest.raises(FormatError, match="not an object"):
        json_of.from_json(b"[]")


async def test_a_bundle_follows_no_link_that_was_planted(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "x.bundle.tar", tmp_path / "elsewhere"
    path.symlink_to(elsewhere)
    with pytest.raises(SettingsError, match="exists already"):
        async with BundleWriter(path):
            pass
    path.unlink()
    (tmp_path / "x.bundle.tar.part").symlink_to(elsewhere)
    async with BundleWriter(path) as writer:
        await writer.add(document_name("0" * 64), 4, single_chunk(b"four"))
    assert not elsewhere.exists()


async def test_a_bundle_appears_when_it_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x.bundle.tar"
    with pytest.raises(StoreError, match="should have 5 bytes"):
        async with BundleWriter(path) as writer:
            await writer.add(document_name("0" * 64), 5, single_chunk(b"four"))
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"mine")
    with pytest.raises(SettingsError, match="already"):
        async with BundleWriter(path):
            pass
    assert path.read_bytes() == b"mine"
    with pytest.raises(StoreError, match="check that it exists"):
        async with BundleWriter(tmp_path / "none" / "x"):
            pass
