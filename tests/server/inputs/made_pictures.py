"""Real pictures for tests, drawn by Pillow."""

import io
import random
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import anyio
from PIL import Image

from kling_mcp.inputs.held import StreamedBase64
from kling_mcp.inputs.opening import open_pictures
from kling_mcp.inputs.picture import Picture
from kling_mcp.inputs.policy import PicturePolicy
from kling_tools.faults import Verdict

PHOTO = (640, 480)


def picture_bytes(
    file_format="PNG", size=PHOTO, *, mode="RGB", color=0x4488CC, noise=False, **options
):
    """The bytes of a picture in `file_format`; `noise` makes it as large as its pixels."""
    if noise:
        bands = len(mode)
        pixels = random.Random(7).randbytes(size[0] * size[1] * bands)
        image = Image.frombytes(mode, size, pixels)
    else:
        image = Image.new("RGB", size, color).convert(mode)
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def saved(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@contextmanager
def opened(wishes: Sequence[tuple[str, str]], policy: PicturePolicy, fit=""):
    """The pictures and the verdict of `open_pictures`, the pictures closed at the end."""
    pictures, verdict = anyio.run(open_pictures, wishes, policy, fit)
    try:
        yield pictures, verdict
    finally:
        for picture in pictures:
            if picture is not None:
                picture.close()


def looked_at(value: str, policy: PicturePolicy, field="image") -> tuple[Picture | None, Verdict]:
    """One picture, closed already, and the verdict on it."""
    with opened([(field, value)], policy) as ((picture,), verdict):
        return picture, verdict


def rules(verdict: Verdict) -> list[str]:
    return [fault.rule for fault in verdict.faults]


def warned(verdict: Verdict) -> list[str]:
    return [warning.rule for warning in verdict.warnings]


def sent(picture: Picture | None) -> bytes:
    """The base64 text that would go out for an open picture."""
    assert picture is not None
    wire = picture.wire()
    assert isinstance(wire, StreamedBase64)
    return b"".join(wire)
