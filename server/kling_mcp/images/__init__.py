"""Pictures on their way in: taken from wherever they are, checked, and held open to be sent."""

from kling_mcp.images.masks import check_mask_sizes
from kling_mcp.images.opening import look_at_picture, open_pictures
from kling_mcp.images.picture import Picture
from kling_mcp.images.policy import PicturePolicy

__all__ = ["Picture", "PicturePolicy", "check_mask_sizes", "look_at_picture", "open_pictures"]
