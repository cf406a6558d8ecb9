"""Cutting a stream into records."""

import gzip
import io
import random
from collections.abc import Callable, Sequence

import pytest
import zstandard
from replay_parts import COMPRESSIONS, gzip_members, lines, prefixed

from otel_sla.errors import ReplayError
from otel_sla.replay.records import NO_FORMAT, Format, JsonLines, LengthPrefixed, Records, open_records
from otel_sla.replay.streams import ByteStream

TEXTS = [b'{"a":1}', b'{"b":[1,2]}', b"{}", b'{"text":"' + b"x" * 5000 + b'"}']


def open_content(content: bytes, wanted: Format = Format.AUTO, size_bytes_max: int = 1 << 20) -> Records:
    """Records of a file with this content."""
    return open_records("file", ByteStream("file", io.BytesIO(content)), wanted, size_bytes_max=size_bytes_max)


def contents(records: Records) -> list[bytes]:
    """What the records hold."""
    return [bytes(record.content) for record in records]


@pytest.mark.parametrize("compress", COMPRESSIONS.values(), ids=COMPRESSIONS.keys())
@pytest.mark.parametrize(("pack", "kind"), [(lines, JsonLines), (prefixed, LengthPrefixed)])
def test_format_and_compression_are_seen_from_the_content(
    compress: Callable[[bytes], bytes], pack: Callable[[Sequence[bytes]], bytes], kind: type[Records]
) -> None:
    """Whatever a file is compressed by, its records and their format are found without being told."""
    records = open_content(compress(pack(TEXTS)))
    assert isinstance(records, kind)
    assert contents(records) == TEXTS
    assert records.incomplete_size_bytes == 0


@pytest.mark.parametrize("pack", [lines, prefixed])
def test_places_and_checks_do_not_depend_on_the_compression(pack: Callable[[Sequence[bytes]], bytes]) -> None:
    """A compressed copy has the same offsets and digests, record by record."""
    plain = [(record.where, record.start, record.stop, record.check) for record in open_content(pack(TEXTS))]
    for compress in COMPRESSIONS.values():
        copy = [
            (record.where, record.start, record.stop, record.check) for record in open_content(compress(pack(TEXTS)))
        ]
        assert copy == plain
    assert len({check for *_, check in plain}) == len(plain)


def test_members_of_gzip_may_end_anywhere() -> None:
    """Members that end at any distance from what is read at once, and zeros behind the last, lose and add nothing."""
    randomness = random.Random(1)
    texts = [randomness.randbytes(size) for size in (65_000, 65_536 - 23, 65_536 - 30, 200_000, 0, 10, 65_520)]
    members = b"".join(gzip.compress(prefixed([text])) for text in texts)
    assert contents(open_content(members + bytes(100_000), Format.PROTO)) == texts


def test_records_larger_than_the_window_are_whole() -> None:
    """Records of several sizes around the window's 1 MiB come out as they went in."""
    sizes = [0, 1, 900_000, 1 << 20, (1 << 20) + 1, 3_000_000, 5, 1_048_572]
    texts = [b"x" * size for size in sizes]
    assert contents(open_content(prefixed(texts), Format.PROTO, 1 << 22)) == texts
    assert contents(open_content(lines(texts), Format.JSON, 1 << 22)) == [text for text in texts if text]


def test_lines_are_numbered_as_editors_do() -> None:
    """Blank lines and carriage returns count as lines but are no records."""
    records = open_content(b'\n  \r\n{"a":1}\r\n\n{"b":2}\n')
    assert [(record.where, bytes(record.content)) for record in records] == [
        ("line 3", b'{"a":1}\r'),
        ("line 5", b'{"b":2}'),
    ]


def test_messages_are_numbered_and_located() -> None:
    """A message is named by its number and the byte at which its length begins."""
    assert [record.where for record in open_content(prefixed([b"ab", b"", b"c"]))] == [
        "record 1 at byte 0",
        "record 2 at byte 6",
        "record 3 at byte 10",
    ]


def test_last_line_without_a_break_is_a_record_if_it_is_whole() -> None:
    """A whole last line counts at once, and is the same record when its line break has come."""
    without = list(open_content(b'{"a":1}\n{"b":2}'))
    behind = list(open_content(b'{"a":1}\n{"b":2}\n{"c":3}\n'))
    assert [(record.stop, record.check) for record in without] == [(7, without[0].check), (15, without[1].check)]
    assert [(record.stop, record.check) for record in behind[:2]] == [(r.stop, r.check) for r in without]


@pytest.mark.parametrize("cut", range(1, 20))
def test_incomplete_end_is_no_record(cut: int) -> None:
    """A record that the file does not have whole is left, whether a byte or nearly all of it is missing."""
    for pack, kept in ((lines, b'{"a":1}'), (prefixed, b'{"a":1}')):
        whole = pack([kept, b'{"long":"0123456789"}'])
        records = open_content(whole[: -1 - cut])
        assert contents(records) == [kept]
        assert records.incomplete_size_bytes == len(whole) - 1 - cut - len(pack([kept]))


@pytest.mark.parametrize("compress", [gzip_members, zstandard.compress])
def test_cut_off_compressed_file_gives_what_it_has(compress: Callable[[bytes], bytes]) -> None:
    """Of a compressed file that ends too early the whole records before the end come out, and no error."""
    randomness = [str(n * 7919 % 100_003).encode() * 9 for n in range(20_000)]
    compressed = compress(prefixed(randomness))
    found = contents(open_content(compressed[: len(compressed) * 3 // 4], Format.PROTO))
    assert 0 < len(found) < len(randomness)
    assert found == randomness[: len(found)]


@pytest.mark.parametrize("compress", [gzip_members, zstandard.compress])
def test_damaged_compressed_file_is_told(compress: Callable[[bytes], bytes]) -> None:
    """A compressed file with broken bytes in it is an error that names the file, not the end of it."""
    compressed = bytearray(compress(prefixed([b"%d" % (n * 7919) for n in range(50_000)])))
    compressed[len(compressed) // 3 : len(compressed) // 3 + 64] = bytes(64)
    with pytest.raises(ReplayError, match="file is damaged"):
        contents(open_content(bytes(compressed), Format.PROTO))


def test_line_that_is_too_long_is_passed_over() -> None:
    """A line above the bound is a problem of its own; the next ones are read. Its bytes are in the check."""
    long = b'{"long":"' + b"x" * 3_000_000 + b'"}'
    records = list(open_content(lines([TEXTS[0], long, TEXTS[1]]), size_bytes_max=1000))
    assert [(record.where, record.problem) for record in records] == [
        ("line 1", ""),
        ("line 2", "longer than 1000 bytes"),
        ("line 3", ""),
    ]
    assert records[1].stop == records[1].start + len(long)
    other = list(open_content(lines([TEXTS[0], long.replace(b"x", b"y"), TEXTS[1]]), size_bytes_max=1000))
    assert other[1].check != records[1].check


def test_length_that_cannot_be_is_told() -> None:
    """A length above the bound ends the reading with the record, the byte and both sizes."""
    records = open_content(prefixed([b"ab"]) + b"\x00\x10\x00\x01abc", Format.PROTO)
    with pytest.raises(ReplayError, match=r"file, record 2 at byte 6: a length of 1048577 bytes, more than 1048576"):
        contents(records)


@pytest.mark.parametrize(
    ("before", "padding"),
    [
        *((b"", 0), (b"\0" * 5000, 5000), (b"\0" * 2_000_000, 2_000_000), (b"  \t", 0)),
        *((b"\xef\xbb\xbf", 3), (b"\0\0 \xef\xbb\xbf\0", 7)),
    ],
)
def test_what_stands_before_a_record_is_no_part_of_it(before: bytes, padding: int) -> None:
    """Zeros and byte order marks, at the beginning, between and before an end without a break, are measured."""
    content = b"\n".join(before + text for text in TEXTS)
    for end in (b"\n", b""):
        records = open_content(content + end, size_bytes_max=1 << 22)
        found = [(record.padding_size_bytes, bytes(record.content).strip(), record.stop) for record in records]
        assert [each[:2] for each in found] == [(padding, text) for text in TEXTS]
        assert found[-1][2] == len(content)


@pytest.mark.parametrize("size", [1, 5000, 3_000_000])
def test_file_that_begins_in_the_middle_of_a_line_is_of_lines(size: int) -> None:
    """Half a record in front, of whatever size, does not hide what the others are."""
    half = b"x" * size + b'"}]}'
    records = open_content(lines([half, *TEXTS]), size_bytes_max=1 << 22)
    assert isinstance(records, JsonLines)
    assert contents(records) == [half, *TEXTS]


@pytest.mark.parametrize("size", [0x7B, 0x7B22, 0x227B, 0x3000000])
def test_lengths_that_look_like_json_are_lengths(size: int) -> None:
    """A message whose length has a brace and a quote in it is not taken for JSON behind zeros."""
    texts = [b"\x0a" + b"\n{" * 50 + bytes(max(size - 101, 0)), b"\x0aab"]
    assert contents(open_content(prefixed(texts), size_bytes_max=1 << 26)) == texts


def test_file_of_another_kind_is_told() -> None:
    """Text that is no JSON, and JSON in UTF-16 or as one array, are not counted as anything, and told."""
    for content in (b"time,service,status\n", '\ufeff{"a":1}\n'.encode("utf-16-le"), b'[{"a":1},{"a":2}]'):
        with pytest.raises(ReplayError) as caught:
            contents(open_content(content))
        assert str(caught.value) == f"file: {NO_FORMAT}"
    with pytest.raises(ReplayError, match=r"^file, record 2 at byte 6: a length of 1701606245 bytes, .*: damaged"):
        contents(open_content(prefixed([b"ab"]) + b"else"))


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\n \n", zstandard.compress(b"")])
def test_empty_files_have_no_records(content: bytes) -> None:
    """Nothing, blank lines and a compressed nothing are fine, and have no record that is cut off."""
    records = open_content(content)
    assert contents(records) == []
    assert records.incomplete_size_bytes == 0


class _Failing(io.BytesIO):
    def readinto(self, _: object, /) -> int:
        raise OSError(5, "Input/output error")


def test_file_that_cannot_be_read_is_told() -> None:
    """An error of the disk becomes one line that names the file."""
    with pytest.raises(ReplayError, match=r"^file cannot be read: Input/output error$"):
        contents(open_records("file", ByteStream("file", _Failing(b"{}{}{}")), Format.AUTO))
