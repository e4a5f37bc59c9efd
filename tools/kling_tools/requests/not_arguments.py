"""What callers write for an argument that does not exist, and what they should write instead."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from kling_tools.requests import fields

__all__ = ["EXAMPLES", "instead_of"]

CLOSE = 0.75
"""How alike two names must be to be taken for a slip of the pen, of 1."""

ANOTHER_TAKE = "take: 2, 3, … for each further version"
SIZE = "mode: std=720p, pro=1080p, 4k"

INSTEAD: dict[str, str] = {
    "aspect_ratio": "a picture cropped to that ratio (the first frame decides), or "
    "kling_multi_image_to_video, which has aspect_ratio",
    "ratio": "a picture cropped to that ratio (the first frame decides)",
    "model": "model_name",
    "seed": f"no seed, Kling has none; {ANOTHER_TAKE}",
    "n": ANOTHER_TAKE,
    "count": ANOTHER_TAKE,
    "num_videos": ANOTHER_TAKE,
    "resolution": SIZE,
    "quality": SIZE,
    "size": SIZE,
    "fps": "no frame rate, Kling decides",
    "image_url": "image",
    "input_image": "image",
    "start_image": "image",
    "first_frame": "image",
    "end_image": "image_tail",
    "last_frame": "image_tail",
    "images": "image_list in kling_multi_image_to_video, or image here",
    "text": "prompt",
    "description": "prompt",
    "camera": "camera_control, or the prompt",
    "audio": "sound",
    "generate_audio": "sound",
    "length": "duration",
    "seconds": "duration",
    "shots": "multi_prompt with multi_shot true and shot_type customize",
    "id": "task_id",
    "ids": "task_ids",
    "timeout": "timeout_s",
    "filename": "path",
    "output": "path",
}
"""Names of other vendors' APIs, and wishes that Kling does not know."""

EXAMPLES: dict[str, str] = {
    "type": "simple, down_back, forward_up, right_turn_forward or left_turn_forward",
    "config": '{"zoom": 5}',
    "multi_prompt": '{"prompt": "what happens", "duration": "5"}',
    "prompt": "what happens",
    "duration": '"5"',
    "camera_control": '{"type": "simple", "config": {"zoom": 5}}',
    "element_list": '["160"], ids from Kling\'s element library',
    "dynamic_masks": '{"mask": "…", "trajectories": [{"x": 0, "y": 0}, {"x": 9, "y": 9}]}',
    "trajectories": '[{"x": 0, "y": 0}, {"x": 9, "y": 9}]',
    "mask": "a picture of the painted area",
    "enabled": "true or false",
    "x": "a number of pixels",
    "y": "a number of pixels",
}
"""What a missing or misshapen part looks like, by its name."""

PARTS = (
    fields.Shot,
    fields.DynamicMask,
    fields.Point,
    fields.CameraControl,
    fields.CameraConfig,
    fields.WatermarkInfo,
)


def instead_of(path: str, names: Collection[str]) -> str:
    """What to write instead of an argument that does not exist; empty when nothing comes near.

    `path` is where it stood, `names` the arguments of the call.
    """
    outer, _, name = path.rpartition(".")
    if outer == "camera_control" and name in fields.CameraConfig.model_fields:
        return f'config: {{"{name}": …}}'
    if not outer and name in INSTEAD and name not in names:
        return INSTEAD[name]
    inner = [field for part in PARTS for field in part.model_fields]
    near = get_close_matches(name, inner if outer else list(names), n=1, cutoff=CLOSE)
    return near[0] if near else ""
