import base64
from contextlib import ExitStack

import pytest
from PIL import Image
from tests.server.inputs.made_pictures import opened, picture_bytes

from kling_mcp.inputs.opening import check_mask_sizes
from kling_mcp.inputs.policy import PicturePolicy

URL = "https://pics.example.com/mask.png"


@pytest.fixture
def verdict_on():
    """A call that opens an image, a static mask and dynamic masks and checks their sizes."""
    with ExitStack() as stack:

        def check(image, static, *dynamic):
            fields = ["image", "static_mask", *(f"dynamic_masks[{n}].mask" for n in range(6))]
            given = [
                (field, value)
                for field, value in zip(fields, (image, static, *dynamic), strict=False)
                if value is not None
            ]
            pictures, verdict = stack.enter_context(opened(given, PicturePolicy(())))
            assert verdict.faults == []
            by_field = {picture.field: picture for picture in pictures}
            return check_mask_sizes(
                by_field.get("image"),
                by_field.get("static_mask"),
                [by_field.get(field) for field in fields[2 : 2 + len(dynamic)]],
            )

        yield check


def text(width, height, file_format="PNG", **options):
    return base64.b64encode(picture_bytes(file_format, (width, height), **options)).decode()


def broken(verdict):
    return [(fault.field, fault.rule) for fault in verdict.faults]


@pytest.mark.parametrize(
    ("image", "static", "dynamic"),
    [
        (text(640, 480), text(640, 480), [text(640, 480), text(640, 480)]),
        (text(1920, 1080), text(640, 360), [text(640, 360)]),
        (text(1921, 1080), text(534, 300), []),
        (text(640, 480), None, [text(400, 300)]),
        (URL, text(640, 480), [text(640, 480)]),
        (text(640, 480), URL, [URL, text(400, 300)]),
        (None, text(640, 480), []),
        (text(640, 480), None, [None]),
    ],
)
def test_masks_of_one_size_and_the_ratio_of_the_image_pass(verdict_on, image, static, dynamic):
    verdict = verdict_on(image, static, *dynamic)

    assert verdict.faults == verdict.warnings == []


def test_each_mask_that_differs_from_the_first_is_named(verdict_on):
    verdict = verdict_on(
        text(800, 600), text(800, 600), text(400, 300), text(800, 600), text(800, 600, "JPEG")
    )

    assert broken(verdict) == [
        ("dynamic_masks[0].mask", "mask_size"),
        ("dynamic_masks[2].mask", "mask_format"),
    ]
    assert verdict.faults[0].use == "a mask of 800x600 px"
    assert verdict.faults[1].use == "a PNG mask"


def test_a_mask_of_another_ratio_than_the_image_is_named(verdict_on):
    verdict = verdict_on(text(800, 600), text(600, 600), text(600, 600))

    assert broken(verdict) == [
        ("static_mask", "mask_ratio"),
        ("dynamic_masks[0].mask", "mask_ratio"),
    ]
    assert "image 800x600 px" in verdict.faults[0].message


def test_a_mask_may_fit_a_photo_as_it_is_shown(verdict_on):
    exif = Image.Exif()
    exif[0x0112] = 8

    assert broken(verdict_on(text(800, 600, "JPEG", exif=exif), text(600, 800))) == []
    assert broken(verdict_on(text(800, 600), text(600, 800))) == [("static_mask", "mask_ratio")]
