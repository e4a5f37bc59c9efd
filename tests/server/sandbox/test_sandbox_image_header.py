"""The type and size of pictures, read without decoding them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kling_sandbox.pictures import read_header

SHAPES = st.tuples(st.integers(1, 60), st.integers(1, 60))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("header") / "picture"


@given(
    shape=SHAPES,
    options=st.sampled_from(
        [
            ("PNG", {}),
            ("JPEG", {}),
            ("JPEG", {"progressive": True}),
            ("JPEG", {"exif": b"Exif\0\0MM\0*" + b"\0" * 400, "comment": b"\xff\xd9\xff\xc0"}),
        ]
    ),
    behind=st.binary(max_size=20),
)
def test_a_whole_picture_is_measured_as_pillow_measures_it(
    file: Path, shape: tuple[int, int], options: tuple[str, dict[str, object]], behind: bytes
) -> None:
    out = io.BytesIO()
    Image.new("RGB", shape).save(out, options[0], **options[1])
    file.write_bytes(out.getvalue() + behind)
    kind = "png" if options[0] == "PNG" else "jpg"
    assert read_header(file) == (kind, *shape)


@given(
    lead=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"\xff\xd8\xff\xff\xe0\0\4"]),
    rest=st.binary(max_size=80),
)
def test_any_bytes_are_a_picture_or_not_and_never_an_error(
    file: Path, lead: bytes, rest: bytes
) -> None:
    file.write_bytes(lead + rest)
    header = read_header(file)
    assert header is None or header.kind in ("png", "jpg")


@pytest.mark.parametrize(
    ("bytes_", "size"),
    [
        (b"\xff\xd8" + b"\xff\x01" + b"\xff\xff\xc0\0\x0b\x08\0\7\0\5\1\0\0\0\xff\xd9", (5, 7)),
        (b"\xff\xd8" + b"\xff\xe0\0\1" + b"\xff\xd9", None),
        (b"\xff\xd8" + b"\xff\xc0\0\x0b\x08\0", None),
        (b"\xff\xd8" + b"\xff\xc0\0\x0b\x08\0\7\0\5", None),
        (b"GIF89a", None),
    ],
)
def test_odd_segments_are_skipped_or_refused(
    file: Path, bytes_: bytes, size: tuple[int, int] | None
) -> None:
    file.write_bytes(bytes_)
    header = read_header(file)
    assert (header and (header.width, header.height)) == size
