"""Bodies of answers: inflated as their header says, within the limit, whatever comes."""

import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable, Sequence

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.server.bombs import packed_zeros

from kling_mcp.providers.responses import STEP_BYTES, UnreadableBody, read_body

LIMIT = 200_000


def read(chunks: Sequence[bytes], encoding: str, limit: int = LIMIT) -> bytes:
    async def come() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    async def body() -> bytes:
        return await read_body(come(), encoding, limit)

    return anyio.run(body)


def cut(content: bytes, size: int) -> list[bytes]:
    return [content[start : start + size] for start in range(0, len(content), size)]


@given(
    st.binary(max_size=300),
    st.integers(1, 600),
    st.sampled_from(["gzip", "x-gzip", " GZIP ", "deflate", "identity", ""]),
    st.integers(1, 500),
)
def test_what_was_packed_comes_out_whatever_the_chunks(
    seed: bytes, times: int, encoding: str, size: int
) -> None:
    content = seed * times
    packed = {"gzip": gzip.compress, "deflate": zlib.compress}.get(
        encoding.strip().lower().removeprefix("x-"), bytes
    )(content)

    assert read(cut(packed, size), encoding) == content


@pytest.mark.parametrize("length", [STEP_BYTES - 1, STEP_BYTES, STEP_BYTES + 1, 3 * STEP_BYTES])
@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_a_step_that_is_just_full_loses_nothing(
    length: int, pack: Callable[[bytes], bytes]
) -> None:
    content = bytes(length)

    assert read([pack(content)], "gzip") == content
    assert read(cut(pack(content), 1), "gzip") == content


@pytest.mark.parametrize("encoding", ["gzip", ""])
def test_the_limit_is_on_what_comes_out(encoding: str) -> None:
    def packed(length: int) -> bytes:
        return gzip.compress(bytes(length)) if encoding else bytes(length)

    assert read([packed(LIMIT)], encoding) == bytes(LIMIT)
    with pytest.raises(UnreadableBody, match="larger"):
        read([packed(LIMIT + 1)], encoding)


def test_a_bomb_is_left_as_soon_as_the_limit_is_passed() -> None:
    bomb = packed_zeros(300)
    tracemalloc.start()
    with pytest.raises(UnreadableBody, match="larger"):
        read([bomb], "gzip", 2**20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 8 * 2**20


@pytest.mark.parametrize(
    ("chunks", "encoding"),
    [
        ([b"{}"], "br"),
        ([b"{}"], "gzip, gzip"),
        ([b"{}"], "gzip"),
        ([gzip.compress(b"x" * 999)[:-9]], "gzip"),
    ],
)
def test_what_is_not_packed_as_it_says_is_unreadable(chunks: list[bytes], encoding: str) -> None:
    with pytest.raises(UnreadableBody):
        read(chunks, encoding)


@given(st.lists(st.binary(max_size=200), max_size=5), st.sampled_from(["gzip", "deflate", "zstd"]))
def test_no_bytes_raise_anything_else(chunks: list[bytes], encoding: str) -> None:
    try:
        read(chunks, encoding)
    except UnreadableBody:
        return


def test_an_empty_body_is_empty_also_where_it_says_gzip() -> None:
    assert read([], "gzip") == b""
