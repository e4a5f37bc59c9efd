import base64
import io
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile
from tests.server.inputs.made_pictures import looked_at, opened, picture_bytes, rules, saved, warned

from kling_mcp.inputs.policy import PicturePolicy

MIB = 1024 * 1024


@pytest.fixture
def policy(tmp_path):
    return PicturePolicy((tmp_path,))


def png_claiming(width, height):
    """A PNG whose header states a size and that ends right after it."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n\0\0\0\x0d"
        + header
        + struct.pack(">I", zlib.crc32(header))
        + b"\0\0\0\0IDAT"
        + struct.pack(">I", zlib.crc32(b"IDAT"))
        + b"\0\0\0\0IEND\xaeB`\x82"
    )


def padded(data, size):
    """A picture followed by zeros up to `size` bytes."""
    return data + bytes(size - len(data))


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.webp", picture_bytes("WEBP"), "a WebP picture"),
        ("a.png", picture_bytes("WEBP"), "a WebP picture"),
        ("a.gif", picture_bytes("GIF"), "a GIF picture"),
        ("a.bmp", picture_bytes("BMP"), "a BMP picture"),
        ("a.tif", picture_bytes("TIFF"), "a TIFF picture"),
        ("a.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC picture"),
        ("a.heif", b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "a HEIC picture"),
        ("a.avif", b"\0\0\0\x1cftypmif1\0\0\0\0mif1miafavif", "an AVIF picture"),
        ("a.jxl", b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture"),
        ("a.jp2", b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
        ("a.psd", b"8BPS\0\1", "a Photoshop document"),
        ("a.ico", b"\0\0\1\0\1\0\x10\x10", "an icon file"),
        ("a.svg", b'<?xml version="1.0"?>\n<svg xmlns="x"/>', "an SVG drawing"),
        ("a.jpg", b"<!DOCTYPE html><html><body>404</body>", "an HTML page"),
        ("a.png", b"%PDF-1.7\n", "a PDF document"),
        ("a.png", b"\0\0\0\x18ftypmp42\0\0\0\0isommp42", "a video"),
        ("a.png", b"PK\x03\x04rest", "a packed archive"),
        ("a.png", "Grüße, no picture".encode(), "a text file"),
        ("a.png", "wide text".encode("utf-16"), "a text file"),
        ("a.png", "é".encode() * 5000, "a text file"),
        ("a.png", b"", "empty (0 bytes)"),
        ("a.png", b"\0\x07\xfe\xee" * 50, "no picture of a known type"),
    ],
)
def test_a_file_of_another_type_is_called_what_it_really_is(tmp_path, policy, name, data, said):
    saved(tmp_path, name, data)

    picture, verdict = looked_at(name, policy)

    assert picture is None
    assert "image_type" in rules(verdict) or "image_unreadable" in rules(verdict)
    assert said in verdict.faults[0].message
    assert name in verdict.faults[0].message


def test_the_advice_offers_the_setting_only_where_it_would_help(tmp_path):
    saved(tmp_path, "a.webp", picture_bytes("WEBP"))
    saved(tmp_path, "a.pdf", b"%PDF-1.7")

    def use(name, fix):
        _, verdict = looked_at(name, PicturePolicy((tmp_path,), fix=fix))
        return [fault.use for fault in verdict.faults]

    assert "KLING_MCP_FIX_IMAGES" in use("a.webp", False)[0]
    assert "KLING_MCP_FIX_IMAGES" not in use("a.pdf", False)[0]
    assert "KLING_MCP_FIX_IMAGES" not in use("a.pdf", True)[0]


@pytest.mark.parametrize(
    ("name", "data"), [("a.jpg", picture_bytes()), ("b.PNG", picture_bytes("JPEG"))]
)
def test_a_png_named_jpg_passes_and_is_told_so(tmp_path, policy, name, data):
    saved(tmp_path, name, data)

    picture, verdict = looked_at(name, policy)

    assert picture is not None
    assert warned(verdict) == ["image_suffix"]
    assert picture.format in verdict.warnings[0].message


def test_a_name_that_claims_no_picture_type_is_no_warning(tmp_path, policy):
    for name in ("photo", "photo.v2", "IMG.JPEG"):
        saved(tmp_path, name, picture_bytes("JPEG"))
        assert looked_at(name, policy)[1].warnings == []


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((300, 300), []),
        ((299, 300), ["image_side"]),
        ((300, 299), ["image_side"]),
        ((750, 300), []),
        ((300, 750), []),
        ((751, 300), ["image_ratio"]),
        ((300, 751), ["image_ratio"]),
        ((300, 1200), ["image_ratio"]),
        ((100, 1000), ["image_side", "image_ratio"]),
    ],
)
@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_sides_and_ratio_are_limited_to_the_pixel(policy, size, expected, file_format):
    text = base64.b64encode(picture_bytes(file_format, size)).decode()

    _, verdict = looked_at(text, policy)

    assert rules(verdict) == expected
    assert all(f"{size[0]}x{size[1]} px" in fault.message for fault in verdict.faults)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("image", ["image_ratio"]),
        ("image_list[3].image", ["image_ratio"]),
        ("image_tail", ["image_ratio"]),
        ("static_mask", []),
        ("dynamic_masks[0].mask", []),
    ],
)
def test_the_ratio_is_limited_where_the_vendor_limits_it(policy, field, expected):
    text = base64.b64encode(picture_bytes(size=(300, 1000))).decode()

    assert rules(looked_at(text, policy, field)[1]) == expected


def test_the_advice_for_a_ratio_is_a_crop_that_would_do(policy):
    text = base64.b64encode(picture_bytes(size=(1601, 400))).decode()

    def use(field):
        return looked_at(text, policy, field)[1].faults[0].use

    assert use("image_list[0]") == "a crop of at most 1000x400 px, made in an image editor"
    assert use("image") == 'fit "16:9" to have it cropped here, or a crop of at most 1000x400 px'


def test_ten_mebibytes_pass_and_one_byte_more_does_not(tmp_path, policy):
    saved(tmp_path, "full.png", padded(picture_bytes(), 10 * MIB))
    saved(tmp_path, "over.png", padded(picture_bytes(), 10 * MIB + 1))

    picture, _ = looked_at("full.png", policy)
    _, verdict = looked_at("over.png", policy)

    assert picture.size_bytes == 10 * MIB
    assert rules(verdict) == ["image_bytes"]
    assert "10,485,761 bytes" in verdict.faults[0].message


def test_all_faults_of_all_pictures_come_at_once(tmp_path, policy):
    saved(tmp_path, "bad.webp", padded(picture_bytes("BMP", (100, 1000)), 11 * MIB))
    wishes = [("image", "bad.webp"), ("image_tail", "none.png"), ("static_mask", "ftp://x/y")]

    with opened(wishes, policy) as (pictures, verdict):
        assert pictures == [None] * 3
    assert [(fault.field, fault.rule) for fault in verdict.faults] == [
        ("image", "image_type"),
        ("image", "image_bytes"),
        ("image", "image_side"),
        ("image", "image_ratio"),
        ("image_tail", "path_missing"),
        ("static_mask", "url_scheme"),
    ]


@pytest.mark.parametrize(
    "data", [picture_bytes()[:20], picture_bytes("JPEG")[:100], b"\xff\xd8\xff"]
)
def test_a_header_cut_short_is_unreadable(tmp_path, policy, data):
    saved(tmp_path, "cut.jpg", data)

    _, verdict = looked_at("cut.jpg", policy)

    assert rules(verdict) == ["image_unreadable"]


@pytest.mark.parametrize("size", [(20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path, policy, size):
    saved(tmp_path, "bomb.png", png_claiming(*size))

    assert rules(looked_at("bomb.png", policy)[1]) == ["image_pixels"]


def test_a_picture_without_pixels_is_unreadable(tmp_path, policy):
    saved(tmp_path, "none.png", png_claiming(0, 0))

    assert rules(looked_at("none.png", policy)[1]) == ["image_unreadable"]


def test_no_picture_is_decoded_in_full_to_be_judged(tmp_path, policy, monkeypatch):
    decoded = []
    load = ImageFile.ImageFile.load

    def noted(image):
        decoded.append(image.size)
        return load(image)

    saved(tmp_path, "photo.png", picture_bytes(size=(4000, 3000)))
    saved(tmp_path, "photo.jpg", picture_bytes("JPEG", (4000, 3000)))
    monkeypatch.setattr(ImageFile.ImageFile, "load", noted)

    assert looked_at("photo.png", policy)[0].width == 4000
    assert looked_at("photo.jpg", policy)[0].width == 4000
    assert decoded == [(500, 375)]


def test_exif_is_read_for_the_turn_and_may_be_damaged(policy):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = picture_bytes("JPEG", exif=exif)
    damaged = turned.replace(exif.tobytes()[6:], bytes(len(exif.tobytes()) - 6))

    def turn(data):
        return looked_at(base64.b64encode(data).decode(), policy)[0].turned

    assert [turn(picture_bytes("JPEG")), turn(turned), turn(damaged)] == [False, True, False]


_SEEDS = [
    picture_bytes(file_format, (320, 310))
    for file_format in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
]


@st.composite
def damaged_pictures(draw):
    data = bytearray(draw(st.sampled_from(_SEEDS)))
    for place in draw(st.lists(st.integers(0, min(len(data), 400) - 1), max_size=12)):
        data[place] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))]) + draw(st.binary(max_size=40))


@settings(max_examples=settings.default.max_examples * 6 // 5, deadline=None)
@given(st.binary(max_size=300) | damaged_pictures(), st.booleans())
def test_no_bytes_in_any_form_make_it_raise(tmp_path_factory, data, fix):
    folder = tmp_path_factory.getbasetemp()
    saved(folder, "drawn.png", data)
    text = base64.b64encode(data).decode()
    wishes = [
        ("image", "drawn.png"),
        ("image_tail", f"data:image/png;base64,{text}"),
        ("static_mask", text),
    ]

    with opened(wishes, PicturePolicy((folder,), fix=fix)) as (pictures, verdict):
        for (field, _), picture in zip(wishes, pictures, strict=True):
            faults = [fault for fault in verdict.faults if fault.field == field]
            assert (picture is None) == bool(faults)


def test_a_webp_too_big_to_be_read_for_its_header_has_the_faults_that_are_known(tmp_path, policy):
    saved(tmp_path, "big.webp", padded(picture_bytes("WEBP", (100, 100)), 11 * MIB))

    assert rules(looked_at("big.webp", policy)[1]) == ["image_type", "image_bytes"]


def test_a_multi_picture_jpeg_of_a_phone_is_a_jpeg(policy):
    file = io.BytesIO()
    frame = Image.new("RGB", (400, 400))
    frame.save(file, "MPO", save_all=True, append_images=[frame])

    picture, verdict = looked_at(base64.b64encode(file.getvalue()).decode(), policy)

    assert picture.format == "JPEG"
    assert verdict.warnings == []
