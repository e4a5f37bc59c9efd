import base64
import hashlib
import io
from importlib import import_module

import pytest
from PIL import Image
from tests.server.inputs.made_pictures import (
    looked_at,
    opened,
    picture_bytes,
    rules,
    saved,
    sent,
    warned,
)

from kling_mcp.inputs import PicturePolicy, file_type, inline, picture_rules

MIB = 1024 * 1024


@pytest.fixture
def fixing(tmp_path):
    return PicturePolicy((tmp_path,), fix=True)


def fixed(value, policy, field="image"):
    """The picture that would be sent for `value`, decoded, and what was said about it."""
    with opened([(field, value)], policy) as ((picture,), verdict):
        assert picture is not None, verdict
        data = base64.b64decode(sent(picture))
        assert len(data) == picture.size_bytes <= 10 * MIB
        image = Image.open(io.BytesIO(data))
        image.load()
        assert (picture.format, picture.width, picture.height) == (image.format, *image.size)
    return image, picture, verdict


@pytest.mark.parametrize("file_format", ["WEBP", "BMP", "GIF", "TIFF", "AVIF"])
def test_a_picture_of_another_type_becomes_a_jpeg(tmp_path, fixing, file_format):
    data = picture_bytes(file_format)
    saved(tmp_path, "photo", data)

    image, picture, verdict = fixed("photo", fixing)

    assert (image.format, image.size) == ("JPEG", (640, 480))
    assert picture.sha256 == hashlib.sha256(data).hexdigest()
    assert warned(verdict) == ["image_converted"]
    assert verdict.warnings[0].message == picture.converted
    assert "photo" in picture.converted
    assert "is sent as JPEG, 640x480 px" in picture.converted


@pytest.mark.parametrize(
    ("file_format", "mode", "expected"),
    [
        ("WEBP", "RGBA", ("PNG", "RGBA")),
        ("TIFF", "LA", ("PNG", "RGBA")),
        ("TIFF", "L", ("JPEG", "L")),
        ("TIFF", "1", ("JPEG", "RGB")),
        ("TIFF", "CMYK", ("JPEG", "RGB")),
        ("TIFF", "P", ("JPEG", "RGB")),
    ],
)
def test_transparency_is_kept_and_colours_become_plain(
    tmp_path, fixing, file_format, mode, expected
):
    data = (
        picture_bytes(file_format, mode=mode, noise=True)
        if mode in ("RGBA", "LA")
        else picture_bytes(file_format, mode=mode)
    )
    saved(tmp_path, "photo", data)

    image, _, _ = fixed("photo", fixing)

    assert (image.format, image.mode) == expected


def test_alpha_that_hides_nothing_does_not_make_a_png(tmp_path, fixing):
    saved(tmp_path, "photo.webp", picture_bytes("WEBP", mode="RGBA"))

    assert fixed("photo.webp", fixing)[0].format == "JPEG"


def test_sixteen_bit_greys_are_scaled_not_clipped(tmp_path, fixing):
    grey = Image.new("I;16", (400, 400), 0x8000)
    grey.save(tmp_path / "grey.tif")

    image, _, _ = fixed("grey.tif", fixing)

    assert abs(image.convert("L").getpixel((200, 200)) - 128) <= 2


def test_a_small_picture_is_enlarged_to_300_px(tmp_path, fixing):
    saved(tmp_path, "small.png", picture_bytes(size=(150, 200)))

    image, _, _ = fixed("small.png", fixing)

    assert image.size == (300, 400)


def test_too_many_bytes_are_encoded_again(tmp_path, fixing):
    saved(tmp_path, "big.png", picture_bytes(size=(1900, 1850), noise=True, compress_level=0))

    image, _, _ = fixed("big.png", fixing)

    assert (image.format, image.size) == ("JPEG", (1900, 1850))


def test_what_is_still_too_large_is_made_smaller(tmp_path, fixing, monkeypatch):
    monkeypatch.setattr(picture_rules, "BYTES_MAX", 800_000)
    monkeypatch.setattr("kling_mcp.inputs.conversion.BYTES_MAX", 800_000)
    saved(tmp_path, "big.png", picture_bytes(size=(900, 600), mode="RGBA", noise=True))

    image, picture, _ = fixed("big.png", fixing)

    assert image.format == "PNG"
    assert picture.size_bytes <= 800_000
    assert 300 <= image.height < 600
    assert abs(image.width / image.height - 1.5) < 0.01


def test_the_first_frame_of_an_animation_is_taken(tmp_path, fixing):
    frames = [Image.new("RGB", (320, 320), colour) for colour in ("red", "blue")]
    for name, file_format in (("a.gif", "GIF"), ("a.webp", "WEBP")):
        frames[0].save(tmp_path / name, file_format, save_all=True, append_images=frames[1:])

        image, picture, _ = fixed(name, fixing)

        red, _, blue = image.convert("RGB").getpixel((160, 160))
        assert red > 200 > 50 > blue
        assert "first frame" in picture.converted


def test_the_turn_that_exif_asks_for_is_applied(tmp_path, fixing):
    exif = Image.Exif()
    exif[0x0112] = 6
    saved(tmp_path, "turned.webp", picture_bytes("WEBP", (640, 480), exif=exif))

    image, picture, _ = fixed("turned.webp", fixing)

    assert image.size == (480, 640)
    assert not image.getexif()
    assert not picture.turned


def test_a_ratio_is_not_converted_but_refused(tmp_path, fixing):
    saved(tmp_path, "wide.webp", picture_bytes("WEBP", (1000, 200)))

    picture, verdict = looked_at("wide.webp", fixing)

    assert picture is None
    assert rules(verdict) == ["image_type", "image_side", "image_ratio"]
    assert not any("KLING_MCP_FIX_IMAGES" in fault.use for fault in verdict.faults)


def test_a_mask_becomes_a_png_of_the_very_same_pixels(tmp_path, fixing):
    data = picture_bytes("BMP", (320, 300), noise=True)
    saved(tmp_path, "mask.bmp", data)

    image, _, _ = fixed("mask.bmp", fixing, "dynamic_masks[0].mask")

    assert image.format == "PNG"
    assert image.tobytes() == Image.open(io.BytesIO(data)).tobytes()


def test_a_small_mask_is_not_resized(tmp_path, fixing):
    saved(tmp_path, "mask.png", picture_bytes(size=(200, 200)))

    assert rules(looked_at("mask.png", fixing, "static_mask")[1]) == ["image_side"]


def test_a_mask_that_stays_too_large_is_refused(tmp_path, fixing):
    saved(tmp_path, "mask.png", picture_bytes(size=(1900, 1850), noise=True, compress_level=0))

    assert rules(looked_at("mask.png", fixing, "static_mask")[1]) == ["image_not_convertible"]


def test_a_good_picture_is_left_alone(tmp_path, fixing):
    data = picture_bytes("JPEG")
    saved(tmp_path, "photo.jpg", data)

    _, picture, verdict = fixed("photo.jpg", fixing)

    assert picture.converted == ""
    assert picture.sha256 == hashlib.sha256(data).hexdigest()
    assert verdict.warnings == []


@pytest.mark.parametrize("size", [(9000, 8000), (1, 5000), (20, 5000)])
def test_more_than_64_megapixels_are_not_made_or_decoded(tmp_path, fixing, size):
    Image.new("1", size).save(tmp_path / "vast.tif", compression="group4")

    picture, verdict = looked_at("vast.tif", fixing, "image_tail")

    assert picture is None
    assert rules(verdict) == ["image_pixels"]


def test_a_file_above_the_source_limit_is_not_converted(tmp_path, fixing, monkeypatch):
    monkeypatch.setattr("kling_mcp.inputs.conversion.SOURCE_BYTES_MAX", 1000)
    saved(tmp_path, "photo.bmp", picture_bytes("BMP"))

    assert rules(looked_at("photo.bmp", fixing)[1]) == ["image_not_convertible"]


def test_a_picture_cut_short_is_not_converted(tmp_path, fixing):
    saved(tmp_path, "cut.webp", picture_bytes("WEBP", noise=True)[:5000])
    saved(tmp_path, "cut.png", picture_bytes(size=(200, 200), noise=True)[:20_000])

    for name in ("cut.webp", "cut.png"):
        assert rules(looked_at(name, fixing)[1]) == ["image_unreadable"]


def test_a_full_disk_is_told_from_a_bad_picture(tmp_path, fixing, monkeypatch):
    def full(*args, **options):
        raise OSError(28, "No space left on device")

    saved(tmp_path, "photo.webp", picture_bytes("WEBP"))
    monkeypatch.setattr(inline.tempfile, "TemporaryFile", full)
    text = base64.b64encode(picture_bytes()).decode()

    for value in ("photo.webp", text):
        _, verdict = looked_at(value, fixing)
        assert rules(verdict) == ["image_not_kept"]
        assert "No space left" in verdict.faults[0].message


@pytest.mark.parametrize("broken", ["ImportError", "unsupported"])
def test_a_type_that_this_installation_cannot_open_is_refused_without_the_offer(
    tmp_path, monkeypatch, broken
):
    def import_without_webp(name):
        module = import_module(name)
        if name.endswith("WebPImagePlugin"):
            if broken == "ImportError":
                raise ImportError(name)
            monkeypatch.setattr(module, "SUPPORTED", False)
        return module

    monkeypatch.setattr(file_type, "import_module", import_without_webp)
    saved(tmp_path, "photo.webp", picture_bytes("WEBP"))

    _, refused = looked_at("photo.webp", PicturePolicy((tmp_path,)))
    _, hopeless = looked_at("photo.webp", PicturePolicy((tmp_path,), fix=True))

    assert rules(refused) == ["image_type"]
    assert "KLING_MCP_FIX_IMAGES" not in refused.faults[0].use
    assert rules(hopeless) == ["image_not_convertible"]


def test_heic_is_converted_where_its_reader_is_installed(tmp_path, fixing):
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(Image.new("RGB", (640, 480), "green")).save(tmp_path / "photo.heic")

    assert fixed("photo.heic", fixing)[0].format == "JPEG"
