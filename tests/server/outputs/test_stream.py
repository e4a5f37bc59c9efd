"""Where the answer to a download starts, from headers that anybody may have written."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kling_mcp.providers.responses import extent

NUMBERS = st.one_of(st.text(max_size=6), st.integers(0, 10**12).map(str), st.just("9" * 5_000))


@pytest.mark.parametrize(
    ("status", "headers", "found"),
    [
        (200, {"Content-Length": "500"}, (0, 500)),
        (200, {}, (0, None)),
        (206, {"Content-Range": "bytes 100-499/500"}, (100, 500)),
        (206, {"Content-Range": "bytes 100-499/*"}, (100, None)),
        (206, {"Content-Length": "400"}, (100, None)),
    ],
)
def test_an_answer_says_where_it_starts_and_how_long_the_file_is(
    status: int, headers: dict[str, str], found: tuple[int, int | None]
) -> None:
    assert extent(status, headers, 100) == found


@given(status=st.sampled_from([200, 206]), first=NUMBERS, last=NUMBERS, total=NUMBERS)
@example(status=206, first="\u00b2", last="", total="9" * 5_000)
def test_no_headers_break_the_reader(status: int, first: str, last: str, total: str) -> None:
    headers = {"Content-Range": f"bytes {first}-{last}/{total}", "Content-Length": total}

    start, length = extent(status, headers, 7)

    assert start >= 0
    assert length is None or length >= 0
