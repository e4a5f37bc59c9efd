"""The products of Kling that the tools make videos with."""

from __future__ import annotations

from typing import Literal

__all__ = ["Product"]

Product = Literal["image2video", "multi-image2video", "omni-video"]
"""The product segment of Kling's paths, `/v1/videos/{product}`."""
