"""One checked picture, open until it is sent."""

from __future__ import annotations

import dataclasses

from kling_mcp.body import StreamedBase64
from kling_mcp.images.form import Kind
from kling_mcp.images.held import HeldFile

__all__ = ["Picture"]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture that keeps Kling's rules as far as can be seen from here.

    `field` is where it goes in the request, as in `image_list[1].image`; `label` is safe to show
    (a file's name, a URL without its query). `width` and `height` (px), `format` ("JPEG" or
    "PNG") and `size_bytes` describe what is sent; they are None or empty for a URL. `sha256` is
    that of the bytes as they were given, before any conversion, so that the same wish always has
    the same digest; of the URL's text for a URL. `converted` says what was converted, or nothing.
    `turned` when EXIF says that viewers show the picture turned by 90°.
    """

    field: str
    kind: Kind
    label: str
    sha256: str
    width: int | None = None
    height: int | None = None
    format: str = ""
    size_bytes: int | None = None
    converted: str = ""
    turned: bool = False
    url: str = dataclasses.field(default="", repr=False)
    held: HeldFile | None = dataclasses.field(default=None, repr=False)

    def wire(self) -> str | StreamedBase64:
        """What goes into the JSON body: the URL, or the base64 without a `data:` prefix."""
        return self.url if self.held is None else StreamedBase64(self.held, self.label)

    def close(self) -> None:
        """Let go of the file, when the picture has been sent or given up; harmless if repeated."""
        if self.held is not None:
            self.held.let_go(self.field)
