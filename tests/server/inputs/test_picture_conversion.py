import base64
import hashlib
import io
from dataclasses import replace
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from tests.server.inputs.made_pictures import (
    looked_at,
    opened,
    picture_bytes,
    rules,
    saved,
    sent,
    warned,
)

from kling_mcp.inputs import conversion, file_type, inline
from kling_mcp.inputs.decoding import Decoding, DecodingLimits
from kling_mcp.inputs.policy import PicturePolicy

MIB = 1024 * 1024
NAMES = {"WEBP": "WebP"}


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
    assert picture.converted == f"sent as JPEG 640x480 from {NAMES.get(file_format, file_format)}"
    assert warned(verdict) == []


@pytest.mark.parametrize(
    ("file_format", "mode", "expected"),
    [
        ("WEBP", "RGBA", ("JPEG", "RGB")),
        ("TIFF", "LA", ("JPEG", "RGB")),
        ("TIFF", "L", ("JPEG", "L")),
        ("TIFF", "1", ("JPEG", "RGB")),
        ("TIFF", "CMYK", ("JPEG", "RGB")),
        ("TIFF", "P", ("JPEG", "RGB")),
    ],
)
def test_colours_become_plain(tmp_path, fixing, file_format, mode, expected):
    data = (
        picture_bytes(file_format, mode=mode, noise=True)
        if mode in ("RGBA", "LA")
        else picture_bytes(file_format, mode=mode)
    )
    saved(tmp_path, "photo", data)

    image, _, _ = fixed("photo", fixing)

    assert (image.format, image.mode) == expected


def see_through(folder, name="glass.png"):
    """A red picture whose left half is transparent."""
    image = Image.new("RGBA", (640, 480), (255, 0, 0, 255))
    image.paste((0, 0, 255, 0), (0, 0, 320, 480))
    image.save(folder / name)
    return name


@pytest.mark.parametrize("name", ["glass.png", "glass.webp", "glass.tif"])
def test_what_is_transparent_becomes_white(tmp_path, fixing, name):
    image, picture, _ = fixed(see_through(tmp_path, name), fixing)

    assert image.format == "JPEG"
    assert min(image.getpixel((100, 100))) > 250
    assert image.getpixel((500, 100))[1] < 10
    assert picture.converted.endswith(", on white")


def test_an_opaque_picture_with_an_alpha_channel_is_sent_as_it_is(tmp_path, fixing):
    saved(tmp_path, "screen.png", picture_bytes(mode="RGBA"))

    image, picture, _ = fixed("screen.png", fixing)

    assert (image.format, image.mode, picture.converted) == ("PNG", "RGBA", "")


def test_alpha_of_a_mask_is_left_alone(tmp_path, fixing):
    image, picture, _ = fixed(see_through(tmp_path), fixing, "static_mask")

    assert (image.mode, picture.converted) == ("RGBA", "")


def test_a_cmyk_jpeg_becomes_rgb(tmp_path, fixing):
    Image.new("CMYK", (640, 480), (0, 255, 255, 0)).save(tmp_path / "print.jpg")

    image, picture, _ = fixed("print.jpg", fixing)

    assert image.mode == "RGB"
    assert picture.converted == "sent as JPEG 640x480, CMYK made RGB"


def test_colours_of_a_wide_profile_are_those_that_the_screen_shows(tmp_path, fixing):
    wide = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ"))
    image = Image.new("RGB", (640, 480), (40, 90, 60))
    image.save(tmp_path / "wide.tif", icc_profile=wide.tobytes())

    image, _, _ = fixed("wide.tif", fixing)

    assert image.getpixel((5, 5)) != (40, 90, 60)
    assert "icc_profile" not in image.info


def test_a_damaged_profile_does_not_spoil_the_picture(tmp_path, fixing):
    saved(tmp_path, "odd.webp", picture_bytes("WEBP", icc_profile=b"no profile at all"))

    assert fixed("odd.webp", fixing)[0].format == "JPEG"


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
    monkeypatch.setattr("kling_mcp.inputs.conversion.BYTES_MAX", 300_000)
    saved(tmp_path, "big.png", picture_bytes(size=(900, 600), noise=True))

    image, picture, _ = fixed("big.png", replace(fixing, bytes_max=300_000))

    assert image.format == "JPEG"
    assert picture.size_bytes <= 300_000
    assert "made smaller from 900x600, it had 1.5 MB" in picture.converted
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


@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_a_jpeg_that_exif_turns_is_sent_upright(tmp_path, fixing, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    saved(tmp_path, "phone.jpg", picture_bytes("JPEG", (640, 480), exif=exif))
    seen = (480, 640) if orientation > 4 else (640, 480)

    image, picture, verdict = fixed("phone.jpg", fixing)

    assert (image.size, dict(image.getexif())) == (seen, {})
    assert picture.converted == f"sent as JPEG {seen[0]}x{seen[1]}, turned upright"
    assert warned(verdict) == []


def test_sizes_are_told_as_a_person_sees_them(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    saved(tmp_path, "phone.jpg", picture_bytes("JPEG", (1200, 400), exif=exif))

    for policy in (PicturePolicy((tmp_path,), fix=fix) for fix in (False, True)):
        (fault,) = looked_at("phone.jpg", policy)[1].faults
        assert "phone.jpg is 400x1200 px" in fault.message
        with opened([("static_mask", "phone.jpg")], policy) as ((picture,), _):
            assert (picture.width, picture.height) == (400, 1200)


def test_a_photo_of_many_megapixels_is_made_smaller_while_it_is_decoded(tmp_path):
    """108 megapixels of a phone would take more memory than is lent."""
    few = Decoding(DecodingLimits(decoded_bytes=4_000_000))
    saved(tmp_path, "vast.jpg", picture_bytes("JPEG", (1200, 1600)) + bytes(10 * MIB))

    image, picture, _ = fixed("vast.jpg", PicturePolicy((tmp_path,), fix=True, decoding=few))

    assert image.size == (600, 800)
    assert picture.converted == (
        "sent as JPEG 600x800, made smaller from 1200x1600, it had 10.0 MB"
    )


@pytest.mark.parametrize(
    ("size", "fit", "sent_as", "told"),
    [
        ((1600, 900), "9:16", (506, 900), "cropped to 9:16 from 1600x900"),
        ((900, 1600), "16:9", (900, 506), "cropped to 16:9 from 900x1600"),
        ((640, 480), "1:1", (480, 480), "cropped to 1:1 from 640x480"),
        ((640, 480), "9:16 pad", (640, 1138), "padded to 9:16 from 640x480"),
        ((3000, 600), "16:9", (1067, 600), "cropped to 16:9 from 3000x600"),
        (
            (400, 400),
            "9:16",
            (300, 533),
            "cropped to 9:16 from 400x400, enlarged from 225x400",
        ),
        pytest.param(
            *((5000, 3000), "9:16 pad", (2304, 4096), "padded to 9:16 from 5000x3000"),
            marks=pytest.mark.campaign,
        ),
    ],
)
def test_a_frame_gets_the_ratio_that_is_asked_for(tmp_path, size, fit, sent_as, told):
    saved(tmp_path, "photo.png", picture_bytes(size=size))

    for fix in (True, False):
        with opened([("image", "photo.png")], PicturePolicy((tmp_path,), fix=fix), fit) as (
            (picture,),
            _,
        ):
            assert (picture.width, picture.height) == sent_as
            assert picture.converted == (f"sent as JPEG {sent_as[0]}x{sent_as[1]} from PNG, {told}")


@given(
    st.integers(1, 9000),
    st.integers(1, 9000),
    st.sampled_from(["16:9", "9:16", "1:1", "16:9 pad", "9:16 pad", "1:1 pad"]),
)
def test_a_fit_has_its_ratio_to_the_pixel_and_loses_nothing_that_it_need_not(width, height, words):
    fit = conversion.Fit.of(words)
    across, down = fit.size(width, height)

    assert abs(across * fit.high - down * fit.wide) <= max(fit.wide, fit.high)
    if not fit.pad or max(across, down) < conversion.PADDED_SIDE_MAX:
        inner, outer = ((across, down), (width, height))[:: -1 if fit.pad else 1]
        assert across == width or down == height
        assert all(a <= b for a, b in zip(inner, outer, strict=True))
    assert fit.size(across, down) == (across, down)


def test_borders_are_a_blurred_copy_and_the_picture_is_whole(tmp_path, fixing):
    image = Image.new("RGB", (800, 400), "red")
    image.paste("blue", (0, 0, 400, 400))
    image.save(tmp_path / "flag.png")

    with opened([("image", "flag.png")], fixing, "1:1 pad") as ((picture,), _):
        shown = Image.open(io.BytesIO(base64.b64decode(sent(picture))))
        assert shown.size == (800, 800)
        for row in (20, 400, 780):
            assert shown.getpixel((40, row))[2] > 200 > 60 > shown.getpixel((40, row))[0]
            assert shown.getpixel((760, row))[0] > 200 > 60 > shown.getpixel((760, row))[2]


def test_a_picture_that_has_the_ratio_is_left_alone(tmp_path, fixing):
    saved(tmp_path, "photo.png", picture_bytes(size=(1280, 720)))

    for fit in ("16:9", "16:9 pad"):
        with opened([("image", "photo.png")], fixing, fit) as ((picture,), _):
            assert (picture.format, picture.converted) == ("PNG", "")
            with opened([("image", "photo.png")], fixing) as ((same,), _):
                assert picture.sha256 == same.sha256


def test_only_frames_are_fitted_and_another_crop_is_another_picture(tmp_path, fixing):
    saved(tmp_path, "photo.png", picture_bytes())
    fields = ("image", "image_tail", "image_list[0]", "static_mask")

    with opened([(field, "photo.png") for field in fields], fixing, "1:1") as (pictures, verdict):
        assert verdict.faults == []
        sizes = [(picture.width, picture.height) for picture in pictures]
        assert sizes == [(480, 480), (480, 480), (640, 480), (640, 480)]
        with opened([("image", "photo.png")], fixing, "9:16") as ((other,), _):
            assert len({pictures[0].sha256, pictures[2].sha256, other.sha256}) == 3


def test_a_crop_that_leaves_too_little_is_refused_with_what_works(tmp_path, fixing):
    saved(tmp_path, "small.png", picture_bytes(size=(400, 240)))

    with opened([("image", "small.png")], fixing, "9:16") as ((picture,), verdict):
        assert picture is None
        assert rules(verdict) == ["image_side"]
        assert "would be 135x240 px once it is cropped to 9:16" in verdict.faults[0].message
        assert verdict.faults[0].use.startswith('fit "9:16 pad"')
    with opened([("image", "small.png")], fixing, "9:16 pad") as ((picture,), verdict):
        assert (picture.width, picture.height) == (400, 711)


def test_a_picture_that_kling_fetches_is_not_fitted(fixing):
    with opened([("image", "https://example.org/a.jpg")], fixing, "1:1") as ((picture,), verdict):
        assert picture is None
        assert rules(verdict) == ["fit_of_a_url"]


def test_icons_are_not_blown_up(tmp_path, fixing):
    saved(tmp_path, "icon.png", picture_bytes(size=(64, 64)))

    assert rules(looked_at("icon.png", fixing)[1]) == ["image_side"]


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


@pytest.mark.campaign
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


@pytest.mark.parametrize("size", [(9000, 8000), (5_200, 13_000)])
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
