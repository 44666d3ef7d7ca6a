from __future__ import annotations

import random
import stat
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from spotlightd import FormatError
from spotlightd.parse import zipped
from spotlightd.settings.sources import ParserSettings
from tests.parse.archives import DEFLATED, STORED, Entry, archive, body

TEXT = b"one|two\n" * 1_000
HALF = 1 << 18


def read(folder: Path, data: bytes, limits: ParserSettings | None = None) -> dict[str, bytes]:
    return {member.name: b"".join(zipped.pieces(member)) for member in zipped.members(body(folder, data, limits))}


def refusal(folder: Path, data: bytes, limits: ParserSettings | None = None) -> str:
    with pytest.raises(FormatError) as refused:
        read(folder, data, limits)
    return str(refused.value)


def test_members_are_numbered_among_the_files_in_the_archives_order(tmp_path: Path) -> None:
    listed = zipped.members(body(tmp_path, archive([Entry("months/"), Entry("b.TXT", TEXT), Entry("a", TEXT)])))
    assert [(member.index, member.name, member.ending) for member in listed] == [(0, "b.TXT", ".txt"), (1, "a", "")]


def test_stored_and_deflated_members_come_back_whole(tmp_path: Path) -> None:
    big = random.Random(1).randbytes(3_000_000)
    data = archive([Entry("a", big, STORED), Entry("b", big, DEFLATED), Entry("empty"), Entry("none", b"", STORED)])
    assert read(tmp_path, data) == {"a": big, "b": big, "empty": b"", "none": b""}


def test_no_piece_is_larger_than_a_quarter_of_a_mebibyte(tmp_path: Path) -> None:
    data = archive([Entry("a", b"x" * 5_000_000), Entry("b", b"y" * 5_000_000, STORED)])
    for member in zipped.members(body(tmp_path, data, ParserSettings(ratio=2_000))):
        assert max(map(len, zipped.pieces(member))) <= HALF


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "it is empty"),
        (b"  <html>", "it is a web page, '  <html>'"),
        (b"SETTLEMENT DATE|", "it begins with b'SETTLEMENT DATE|'"),
        (archive([Entry("a.txt", TEXT)])[:-40], "it begins like one, but is cut off or damaged"),
        (archive([Entry("a.txt", TEXT)])[:30], "it begins like one, but is cut off or damaged"),
    ],
)
def test_a_file_that_is_no_whole_zip_is_refused_with_what_it_is(tmp_path: Path, data: bytes, error: str) -> None:
    assert refusal(tmp_path, data).startswith(f"document.zip is not a whole zip archive: {error}")


def test_a_bomb_of_one_to_a_thousand_is_refused(tmp_path: Path) -> None:
    data = archive([Entry("a.txt", bytes(30_000_000))])
    assert refusal(tmp_path, data) == (
        "document.zip: member 'a.txt' grows more than 200 times in unpacking, like a zip bomb (parser.ratio)"
    )


def test_a_bomb_is_stopped_long_before_it_is_unpacked(tmp_path: Path) -> None:
    unpacked: list[int] = []
    bomb = zipped.members(body(tmp_path, archive([Entry("a", bytes(100_000_000))])))[0]
    with pytest.raises(FormatError):
        unpacked.extend(map(len, zipped.pieces(bomb)))
    assert sum(unpacked) <= 25_000_000


def test_small_members_may_grow_more(tmp_path: Path) -> None:
    assert read(tmp_path, archive([Entry("a", bytes(1_000_000))]))["a"] == bytes(1_000_000)


def test_a_claim_of_five_gigabytes_is_refused_before_anything_is_unpacked(tmp_path: Path) -> None:
    assert refusal(tmp_path, archive([Entry("a.txt", TEXT, size=5 << 30)])) == (
        "document.zip says that it unpacks to 5,368,709,120 bytes, more than the 4,294,967,296 allowed "
        "(parser.unpacked_bytes)"
    )


def test_ten_thousand_files_are_refused(tmp_path: Path) -> None:
    data = archive([Entry(f"{number}.txt", b"x", STORED) for number in range(10_000)])
    assert refusal(tmp_path, data) == ("document.zip holds 10,000 files, more than the 1,000 allowed (parser.members)")


@pytest.mark.parametrize("name", ["../a.txt", "a/../../b", "/etc/passwd", "..\\a.txt", "C:\\a.txt", "c:/a", "a/.."])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    assert refusal(tmp_path, archive([Entry(name, TEXT)])) == (
        f"document.zip: member {name!r} has a name that leaves the folder"
    )


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_a_link_or_a_device_is_refused(tmp_path: Path, kind: int) -> None:
    data = archive([Entry("a.txt", b"/etc/passwd", mode=kind | 0o777)])
    assert refusal(tmp_path, data) == "document.zip: member 'a.txt' is a link or a device, not a file"


@pytest.mark.parametrize("name", ["inner.zip", "inner.ZIP", "a.tar", "a.txt.gz"])
def test_an_archive_inside_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    assert refusal(tmp_path, archive([Entry(name, TEXT)])).endswith("is an archive inside the archive")


def test_an_archive_inside_is_refused_by_its_first_bytes(tmp_path: Path) -> None:
    inner = archive([Entry("a.txt", TEXT)])
    assert refusal(tmp_path, archive([Entry("a.txt", inner, STORED)])).endswith("is an archive inside the archive")


def test_entries_that_share_bytes_are_refused(tmp_path: Path) -> None:
    data = archive([Entry("a.txt", TEXT), Entry("b.txt", TEXT, at=0)])
    assert refusal(tmp_path, data) == "document.zip: members 'a.txt' and 'b.txt' overlap"


def test_a_member_that_reaches_into_the_list_is_refused(tmp_path: Path) -> None:
    data = archive([Entry("a.txt", TEXT, packed_size=len(TEXT))])
    assert refusal(tmp_path, data) == "document.zip: member 'a.txt' reaches into the list of members"


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, archive([Entry("a.txt", TEXT, flags=1)])) == "document.zip: member 'a.txt' is encrypted"


def test_another_way_of_packing_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, archive([Entry("a.txt", TEXT, method=12)])) == (
        "document.zip: member 'a.txt' is compressed with method 12; only stored and deflate are read"
    )


@pytest.mark.parametrize("method", [STORED, DEFLATED])
@pytest.mark.parametrize(
    ("size", "error"),
    [(7_999, "unpacks to more than the 7,999 bytes"), (8_001, "unpacks to 8,000 bytes, not the 8,001")],
)
def test_a_wrong_length_is_refused(tmp_path: Path, method: int, size: int, error: str) -> None:
    assert error in refusal(tmp_path, archive([Entry("a.txt", TEXT, method, size=size)]))


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    data = archive([Entry("a.txt", TEXT, crc=zlib.crc32(TEXT) ^ 1)])
    assert refusal(tmp_path, data) == (
        "document.zip: member 'a.txt' does not match its checksum: the archive is damaged"
    )


def test_a_member_that_ends_in_the_middle_is_refused(tmp_path: Path) -> None:
    data = archive([Entry("a.txt", TEXT, packed_size=10)])
    assert refusal(tmp_path, data) == (
        "document.zip: member 'a.txt' ends in the middle: the archive is cut off or damaged"
    )


def test_rubbish_where_a_member_should_begin_is_refused(tmp_path: Path) -> None:
    data = archive([Entry("a.txt", TEXT)]).replace(b"PK\x03\x04", b"XXXX", 1)
    assert refusal(tmp_path, data) == "document.zip: member 'a.txt' does not begin where the archive says"


ONCE = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@ONCE
@given(parts=st.dictionaries(st.from_regex(r"[a-z]{1,8}\.txt", fullmatch=True), st.binary(max_size=3_000), max_size=5))
def test_whatever_was_packed_is_unpacked(tmp_path: Path, parts: dict[str, bytes]) -> None:
    honest = {name: data for name, data in parts.items() if not data.startswith((b"PK\x03\x04", b"\x1f\x8b\x08"))}
    assume(honest)
    assert read(tmp_path, archive([Entry(name, data) for name, data in honest.items()])) == honest


@ONCE
@given(at=st.integers(0), value=st.integers(0, 255), cut=st.none() | st.integers(0, 400))
def test_a_damaged_archive_is_refused_or_read_but_never_read_wrong(
    tmp_path: Path, at: int, value: int, cut: int | None
) -> None:
    whole = bytearray(archive([Entry("a.txt", TEXT[:400]), Entry("b.txt", bytes(range(200)), STORED)]))
    whole[at % len(whole)] = value
    try:
        contents = read(tmp_path, bytes(whole[:cut]))
    except FormatError:
        return
    assert set(contents.values()) <= {TEXT[:400], bytes(range(200))}


@ONCE
@given(data=st.binary(max_size=300), magic=st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06"]))
def test_random_bytes_are_refused(tmp_path: Path, data: bytes, magic: bytes) -> None:
    refusal(tmp_path, magic + data)


def test_an_archive_without_files_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, archive([])) == "document.zip is a zip archive without a file in it"
    assert refusal(tmp_path, archive([Entry("folder/")])) == "document.zip is a zip archive without a file in it"


def test_the_digest_of_the_content_does_not_depend_on_the_wrapping(tmp_path: Path) -> None:
    files = [Entry("a.txt", TEXT), Entry("b.txt", b"two")]
    packed = zipped.content_digest(body(tmp_path, archive(files)))
    for anew in (
        archive([Entry("a.txt", TEXT, STORED), Entry("b.txt", b"two", STORED)]),
        archive([Entry("folder/"), *files]),
    ):
        assert zipped.content_digest(body(tmp_path, anew)) == packed
    for other in (
        [Entry("a.txt", TEXT), Entry("b.txt", b"twO")], files[:1], [*files, Entry("c.txt")],
        [Entry("a.txt", TEXT + b"two"), Entry("b.txt", b"")], [*files, files[1]],
    ):  # fmt: skip
        words = zipped.content_digest(body(tmp_path, archive(other))).split()
        assert len(words) == 2
        assert not set(words) & set(packed.split())


def test_names_folders_and_order_of_files_are_told_apart_from_their_bytes(tmp_path: Path) -> None:
    files = [Entry("a.txt", TEXT), Entry("b.txt", b"two")]
    content, named = zipped.content_digest(body(tmp_path, archive(files))).split()
    for other in (
        [Entry("a.txt", TEXT), Entry("c.txt", b"two")], files[::-1],
        [Entry("d/"), Entry("d/a.txt", TEXT), Entry("d/b.txt", b"two")],
    ):  # fmt: skip
        same, differs = zipped.content_digest(body(tmp_path, archive(other))).split()
        assert same == content
        assert differs != named


def test_what_is_no_whole_archive_has_no_content_to_compare(tmp_path: Path) -> None:
    for data in (b"SETTLEMENT DATE|", archive([Entry("a.txt", TEXT)])[:-40], archive([Entry("a", TEXT, crc=1)])):
        assert zipped.content_digest(body(tmp_path, data)) == ""
