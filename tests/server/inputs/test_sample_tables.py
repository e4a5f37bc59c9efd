"""The index of an MP4 says where its last frame ends, whichever way it is written."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_mcp.inputs.boxes import NotWholeMp4, sample_tables


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def table(kind: bytes, code: str, *numbers: int) -> bytes:
    return box(kind, bytes(4), struct.pack(">" + code, *numbers))


def moov(*tables: bytes) -> bytes:
    stbl = box(b"stbl", *tables)
    return box(b"mvhd", bytes(100)) + box(b"trak", box(b"mdia", box(b"minf", stbl)))


def furthest(*tables: bytes) -> int:
    (sample_table,) = sample_tables(moov(*tables))
    return sample_table.furthest_byte()


FOUR_SIZES = {
    "stsz": table(b"stsz", "2I4I", 0, 4, 3, 5, 7, 15),
    "stz2 of 16 bits": table(b"stz2", "2I4H", 16, 4, 3, 5, 7, 15),
    "stz2 of 8 bits": table(b"stz2", "2I4B", 8, 4, 3, 5, 7, 15),
    "stz2 of 4 bits": table(b"stz2", "2I2B", 4, 4, 0x35, 0x7F),
}
ONE_CHUNK = table(b"stsc", "I3I", 1, 1, 4, 1)
AT_100 = table(b"stco", "II", 1, 100)


@pytest.mark.parametrize("sizes", FOUR_SIZES.values(), ids=FOUR_SIZES)
def test_each_way_to_write_the_sizes_is_read(sizes: bytes) -> None:
    assert furthest(sizes, ONE_CHUNK, AT_100) == 130


def test_one_size_for_all_frames_is_read() -> None:
    assert furthest(table(b"stsz", "2I", 10, 4), ONE_CHUNK, AT_100) == 140


def test_a_file_of_more_than_4_gib_is_read() -> None:
    far = table(b"co64", "IQ", 1, 2**40)

    assert furthest(FOUR_SIZES["stsz"], ONE_CHUNK, far) == 2**40 + 30


def test_a_track_without_frames_ends_nowhere() -> None:
    assert furthest(table(b"stsz", "2I", 0, 0)) == 0
    assert furthest() == 0


@given(
    chunks=st.lists(
        st.tuples(st.integers(0, 10**6), st.lists(st.integers(0, 10**4), min_size=1, max_size=4)),
        min_size=1,
        max_size=8,
    )
)
def test_the_chunk_that_ends_last_counts(chunks: list[tuple[int, list[int]]]) -> None:
    sizes = [size for _, group in chunks for size in group]
    runs = [(number, len(group), 1) for number, (_, group) in enumerate(chunks, 1)]
    flat = [value for run in runs for value in run]

    found = furthest(
        table(b"stsz", f"2I{len(sizes)}I", 0, len(sizes), *sizes),
        table(b"stsc", f"I{len(flat)}I", len(runs), *flat),
        table(b"stco", f"I{len(chunks)}I", len(chunks), *(offset for offset, _ in chunks)),
    )

    assert found == max(offset + sum(group) for offset, group in chunks)


@pytest.mark.parametrize(
    ("tables", "reason"),
    [
        ((FOUR_SIZES["stsz"], ONE_CHUNK), "where its frames lie"),
        ((FOUR_SIZES["stsz"], AT_100), "does not group"),
        ((FOUR_SIZES["stsz"], table(b"stsc", "I3I", 1, 1, 3, 1), AT_100), "only some"),
        ((FOUR_SIZES["stsz"], table(b"stsc", "I3I", 2, 1, 4, 1), AT_100), "stsc table is shorter"),
        ((table(b"stsz", "2II", 0, 2**32 - 1, 3), ONE_CHUNK, AT_100), "stsz table is shorter"),
        ((FOUR_SIZES["stsz"], ONE_CHUNK, table(b"stco", "I", 1)), "stco table is shorter"),
        ((table(b"stz2", "2I", 5, 4), ONE_CHUNK, AT_100), "have 5 bits"),
        ((b"\x00\x00\x00\x63stsz",), "does not fit"),
    ],
)
def test_a_damaged_index_is_refused_with_the_reason(tables: tuple[bytes, ...], reason: str) -> None:
    with pytest.raises(NotWholeMp4, match=reason):
        furthest(*tables)
