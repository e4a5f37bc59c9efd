"""A picture of which something is missing or altered is refused, in whatever form it comes."""

import base64
import io
import random
import struct
import zlib
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp import Client
from PIL import Image
from tests.sampling import sampled
from tests.server.inputs.made_pictures import (
    looked_at,
    opened,
    picture_bytes,
    rules,
    saved,
    sent,
    warned,
)
from tests.server.serving import no_sleep, sandbox_settings

from kling_mcp.inputs.policy import PicturePolicy
from kling_mcp.protocol.server import build_server


@pytest.fixture
def policy(tmp_path: Path) -> PicturePolicy:
    return PicturePolicy((tmp_path,))


@pytest.fixture
def fixing(tmp_path: Path) -> PicturePolicy:
    return PicturePolicy((tmp_path,), fix=True)


def cut(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


def filled(data: bytes) -> bytes:
    """Cut short, and as long as before: what an interrupted copy leaves behind."""
    return cut(data) + bytes(len(data) - len(cut(data)))


def altered(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0x10]) + data[middle + 1 :]


def with_a_hole(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + data[middle + 512 :]


def with_a_page(data: bytes) -> bytes:
    return cut(data) + b"<html><body>504 Gateway Time-out</body></html>"


PNG = picture_bytes(size=(320, 310), noise=True)
CLEAR = picture_bytes(size=(320, 310), noise=True, mode="RGBA")
JPEG = picture_bytes("JPEG", size=(320, 310), noise=True)
PROGRESSIVE = picture_bytes("JPEG", size=(320, 310), noise=True, progressive=True)
GREY = picture_bytes("JPEG", size=(320, 310), noise=True, mode="L")
CMYK = picture_bytes("JPEG", size=(320, 310), noise=True, mode="CMYK")
PALETTE = picture_bytes("PNG", size=(320, 310), mode="P")
KINDS = {
    "png": PNG,
    "rgba": CLEAR,
    "jpeg": JPEG,
    "progressive": PROGRESSIVE,
    "grey": GREY,
}


@pytest.mark.parametrize("data", [*KINDS.values(), CMYK, PALETTE], ids=[*KINDS, "cmyk", "palette"])
@pytest.mark.parametrize("tail", [b"", bytes(1000), b"<html>"], ids=["", "zeros", "page"])
def test_a_whole_picture_passes_whatever_follows_it(
    data: bytes, tail: bytes, tmp_path: Path, policy: PicturePolicy
) -> None:
    saved(tmp_path, "whole", data + tail)

    _, verdict = looked_at("whole", policy)

    assert (rules(verdict), warned(verdict)) == ([], [])


@pytest.mark.parametrize("data", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("damage", [cut, filled, with_a_hole, with_a_page])
@pytest.mark.parametrize("field", ["image", "image_tail", "static_mask"])
def test_a_damaged_picture_is_refused(
    field: str, damage: object, data: bytes, tmp_path: Path, policy: PicturePolicy
) -> None:
    saved(tmp_path, "photo.png", damage(data))  # type: ignore[operator]

    _, verdict = looked_at("photo.png", policy, field)

    assert rules(verdict) == ["image_damaged"]
    assert "photo.png is damaged or cut short" in str(verdict.faults[0])


@pytest.mark.parametrize("data", KINDS.values(), ids=KINDS)
def test_what_was_whole_is_checked_again_when_its_bytes_change(
    data: bytes, tmp_path: Path, policy: PicturePolicy
) -> None:
    found = []
    for written in (data, data, with_a_hole(data), data):
        saved(tmp_path, "photo.png", written)
        found.append(rules(looked_at("photo.png", policy)[1]))

    assert found == [[], [], ["image_damaged"], []]


@pytest.mark.parametrize("data", [JPEG, PROGRESSIVE], ids=["baseline", "progressive"])
def test_an_end_mark_does_not_make_half_a_jpeg_whole(
    data: bytes, tmp_path: Path, policy: PicturePolicy
) -> None:
    saved(tmp_path, "photo.jpg", cut(data) + b"\xff\xd9")

    assert rules(looked_at("photo.jpg", policy)[1]) == ["image_damaged"]


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "AVIF", "TIFF", "BMP"])
@pytest.mark.parametrize("damage", [cut, with_a_page])
def test_a_damaged_picture_of_another_type_is_not_converted(
    damage: object, file_format: str, tmp_path: Path, fixing: PicturePolicy
) -> None:
    data = picture_bytes(file_format, size=(320, 310), noise=True)
    saved(tmp_path, "photo", damage(data))  # type: ignore[operator]

    assert rules(looked_at("photo", fixing)[1]) == ["image_unreadable"]


def test_a_damaged_picture_is_not_made_whole_by_converting_it(
    tmp_path: Path, fixing: PicturePolicy
) -> None:
    small = picture_bytes("JPEG", size=(200, 190), noise=True)
    saved(tmp_path, "photo.jpg", cut(small) + b"\xff\xd9")

    assert rules(looked_at("photo.jpg", fixing)[1]) == ["image_damaged"]


@given(place=st.integers(8, len(PNG) - 13), bit=st.integers(0, 7))
def test_no_altered_bit_of_a_png_passes(
    place: int, bit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    saved(folder, "bit.png", PNG[:place] + bytes([PNG[place] ^ 1 << bit]) + PNG[place + 1 :])

    assert rules(looked_at("bit.png", PicturePolicy((folder,)))[1])


@given(share=st.floats(0, 0.99))
@pytest.mark.parametrize("data", [JPEG, PROGRESSIVE], ids=["baseline", "progressive"])
def test_no_jpeg_passes_that_is_cut_short_anywhere(
    data: bytes, share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    saved(folder, "part.jpg", data[: int(len(data) * share)])

    assert rules(looked_at("part.jpg", PicturePolicy((folder,)))[1])


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def test_a_png_with_right_checksums_and_too_few_pixels_is_damaged(
    tmp_path: Path, policy: PicturePolicy
) -> None:
    header = struct.pack(">IIBBBBB", 640, 480, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1921 * 400))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND")
    saved(tmp_path, "photo.png", data)

    assert rules(looked_at("photo.png", policy)[1]) == ["image_damaged"]


def test_a_png_of_more_chunks_than_anybody_writes_is_damaged(
    tmp_path: Path, policy: PicturePolicy
) -> None:
    end = PNG.index(b"IEND") - 4
    saved(tmp_path, "photo.png", PNG[:end] + chunk(b"ruSt") * 100_000 + PNG[end:])

    assert rules(looked_at("photo.png", policy)[1]) == ["image_damaged"]


@pytest.mark.parametrize("length", range(8, 30))
def test_the_beginning_of_a_png_is_no_picture_in_base64(length: int, policy: PicturePolicy) -> None:
    text = base64.b64encode(PNG[:length]).decode()

    assert rules(looked_at(text, policy)[1]) in (["path_missing"], ["image_unreadable"])


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("interlaced", [0, 1])
def test_a_png_of_few_bits_or_of_two_passes_is_whole(
    bits: int, interlaced: int, tmp_path: Path, policy: PicturePolicy
) -> None:
    width = height = 304
    bytes_of = lambda w, h: bytes(h * (1 + (w * bits + 7) // 8))  # noqa: E731
    rows = bytes_of(width, height)
    if interlaced:
        passes = ((8, 8, 0, 0), (8, 8, 4, 0), (4, 8, 0, 4), (4, 4, 2, 0), (2, 4, 0, 2))
        passes += ((2, 2, 1, 0), (1, 2, 0, 1))  # step and start across and down [PNG, 8.2]
        rows = b"".join(
            bytes_of(-(-(width - x) // dx), -(-(height - y) // dy)) for dx, dy, x, y in passes
        )
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, interlaced)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND")
    saved(tmp_path, "photo.png", b"\x89PNG\r\n\x1a\n" + data)

    assert rules(looked_at("photo.png", policy)[1]) == []


def photo(seed: int, file_format: str) -> bytes:
    """A small picture with many a `+` in its base64."""
    noise = random.Random(seed).randbytes(310 * 320)
    file = io.BytesIO()
    Image.frombytes("L", (320, 310), noise).save(file, file_format)
    return file.getvalue()


FORMS = {
    "bare": lambda text: text,
    "uri": lambda text: f"data:image/png;base64,{text}",
    "uri of a wrong type": lambda text: f"data:text/html;charset=x;base64,{text}",
    "escaped uri": lambda text: f"data:image/png;base64,{quote(text, safe='+ ')}",
    "without padding": lambda text: text.rstrip("="),
    "in lines": lambda text: "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76)),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
@pytest.mark.parametrize("seed", sampled(range(4), 4))
def test_a_space_is_read_as_the_plus_that_it_was(
    seed: int, file_format: str, form: object, policy: PicturePolicy
) -> None:
    data = photo(seed, file_format)
    text = base64.b64encode(data).decode()
    assert "+" in text

    with opened([("image", form(text.replace("+", " ")))], policy) as ((picture,), verdict):  # type: ignore[operator]
        assert rules(verdict) == []
        assert base64.b64decode(sent(picture)) == data


@pytest.mark.parametrize(
    "spaced",
    [
        lambda text: " ".join(text[at : at + 76] for at in range(0, len(text), 76)),
        lambda text: "\n    ".join(text[at : at + 60] for at in range(0, len(text), 60)),
        lambda text: f"data:image/png;base64, {text}",
        lambda text: text[:5000] + " " + text[5000:],
        lambda text: text.replace("+", "-").replace("/", "_"),
    ],
    ids=["between words", "indented", "behind the comma", "one", "url-safe"],
)
@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_a_space_that_stands_for_nothing_is_left_out(
    file_format: str, spaced: object, policy: PicturePolicy
) -> None:
    data = photo(1, file_format)

    value = spaced(base64.b64encode(data).decode())  # type: ignore[operator]
    with opened([("image", value)], policy) as ((picture,), verdict):
        assert rules(verdict) == []
        assert base64.b64decode(sent(picture)) == data


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_base64_that_lost_its_pluses_is_refused(
    form: object, file_format: str, policy: PicturePolicy
) -> None:
    text = base64.b64encode(photo(2, file_format)).decode().rstrip("=").replace("+", "")

    _, verdict = looked_at(form(text), policy)  # type: ignore[operator]

    assert rules(verdict)[0] in ("image_damaged", "image_unreadable", "base64_unreadable")


@pytest.mark.anyio
async def test_nothing_is_sent_for_a_damaged_picture_and_the_advice_helps(tmp_path: Path) -> None:
    text = base64.b64encode(photo(3, "PNG")).decode()
    broken = text[:4000] + ("A" if text[4000] != "A" else "B") + text[4001:]
    server = build_server(sandbox_settings(tmp_path), sleep=no_sleep)
    async with Client(server) as client:
        refused = await client.call_tool(
            "kling_image_to_video", {"image": broken, "prompt": "Zoom"}
        )
        tasks = await client.call_tool("kling_list_tasks", {})

    assert refused.is_error
    assert refused.structured_content is not None
    assert tasks.structured_content is not None
    assert refused.structured_content["error"] == "image_rejected"
    assert refused.structured_content["charged"] == "no"
    (fault,) = refused.structured_content["faults"]
    assert fault["rule"] == "image_damaged"
    assert "each + must stay one" in fault["use"]
    assert tasks.structured_content["tasks"] == []
