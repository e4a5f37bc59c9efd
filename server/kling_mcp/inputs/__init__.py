"""Pictures, sounds and videos of requests: found in any form, checked, held until they are sent.

Imported by everything above `settings`.
Tests: tests/server/inputs.
"""

from kling_mcp.inputs.media import Medium, Wish, open_media
from kling_mcp.inputs.opening import (
    check_end_shape,
    check_mask_sizes,
    look_at_picture,
    open_pictures,
)
from kling_mcp.inputs.picture import Picture
from kling_mcp.inputs.policy import PicturePolicy

__all__ = [
    "Medium",
    "Picture",
    "PicturePolicy",
    "Wish",
    "check_end_shape",
    "check_mask_sizes",
    "look_at_picture",
    "open_media",
    "open_pictures",
]
