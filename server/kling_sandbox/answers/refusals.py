"""Kling's refusals: one class, and the table of codes and sentences.

Codes and HTTP statuses are the table of Kling's API pages. Sentences marked [live] were recorded
from live answers or found in public records of answers; the others follow their pattern.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HTTP_STATUS", "Refusal", "invalid_value", "refused"]

HTTP_STATUS: dict[int, int] = {
    1000: 401,
    1001: 401,
    1002: 401,
    1003: 401,
    1004: 401,
    1100: 429,
    1101: 429,
    1102: 429,
    1103: 403,
    1200: 400,
    1201: 400,
    1202: 404,
    1203: 404,
    1300: 400,
    1301: 400,
    1302: 429,
    1303: 429,
    1304: 429,
    5000: 500,
    5001: 503,
    5002: 504,
}

_TEXTS: dict[str, tuple[int, str]] = {
    "authorization_empty": (1001, "Authorization is empty"),
    "authorization_invalid": (1002, "Authorization is invalid"),
    "token_parts": (1002, "The token was expected to have 3 parts, but got 0"),  # [live]
    "access_key_unknown": (1002, "access key not found"),
    "authorization_early": (1003, "Authorization is not yet valid"),
    "authorization_expired": (1004, "Authorization has expired"),
    "no_balance": (1102, "Account balance not enough"),  # [live]
    "model_missing": (1201, "model name is required"),
    "model_unserved": (1203, "No available channel for model {model} under group default"),
    "not_json": (1200, "Request body is not valid JSON"),
    "no_such_route": (1202, "The requested method or path does not exist"),
    "rate_limit": (1302, "Too many requests, please try again later"),
    "concurrency": (1303, "parallel task over resource pack limit"),  # [live]
    "internal": (5000, "Internal server error"),
    "maintenance": (5001, "Server is temporarily unavailable due to maintenance"),
    "backlog": (5002, "Server internal timeout"),
    "api_key_only": (
        1002,
        "Authentication error. The current API does not support AK/SK; please go to the console "
        "(https://kling.ai/dev/api-key) to create API key.",  # [live]
    ),
    "not_for_this_api": (1203, "{model} is not supported for this API"),  # [live]
    "model_unsupported": (1201, "model is not supported"),  # [live]
    "model_unknown": (1203, "The model '{model}' does not exist"),
    "contents_empty": (1201, "contents cannot be empty"),  # [live]
    "resolution": (1201, "video resolution value '{value}' is invalid"),  # [live]
    "text_size": (1201, "{field}: size must be between 0 and {limit}"),  # [live]
    "ratio_missing": (1201, "aspect_ratio can not be null"),
    "needs_1080p": (1201, "{field} is only supported with resolution 1080p"),
    "silent_only": (1201, "audio must be off with {field}"),
    "material": (1201, "{kind} is not supported by the current model"),
    "material_count": (1201, "The number of {kind} exceeds the limit, max number is {most}"),
    "images_and_elements": (
        1201,
        "The number of images and elements exceeds the limit, max number is {most}",  # [live]
    ),
    "label_missing": (1201, "{field} can not be null"),
    "label_clash": (1201, "id '{label}' must be unique and must not be part of another id"),
    "label_in_text": (1201, "id '{label}' collides with other text in the prompt"),
    "shot_syntax": (1201, "The storyboard in prompt is invalid"),
    "shots_off_new": (1201, "multi_shot is not supported with {field}"),
    "not_supported_yet": (1201, "{field} is not supported for Kling 4.0"),
    "too_many_ids": (
        1201,
        "task_ids and external_task_ids cannot exceed 20 in total",  # [live]
    ),
    "ids_missing": (1201, "task_ids and external_task_ids: exactly one is required"),
    "asset_unknown": (1201, "{kind} not found by id: {asset_id}"),
    "asset_deleted": (1201, "{kind} {asset_id} already be deleted"),  # [live] "already be deleted"
    "audio_format": (1201, "Audio format is not supported"),
    "audio_length": (1201, "The duration of the audio must be between 5s and 30s"),
    "voice_source": (1201, "voice_url and video_id: exactly one is required"),
    "video_unknown": (1201, "From video not found by id {video_id}"),  # [live] for lip-sync
    "video_source": (1201, "video_id and video_url: exactly one is required"),
    "video_format": (1201, "The format of the input video is invalid"),
    "video_length": (1201, "The duration of the input video must be between 2s and 60s"),
    "video_sides": (1201, "The resolution of the input video is invalid"),
    "voice_unknown": (1201, "Voice id not found"),  # [live]
    "session_unknown": (1201, "session_id not found"),
    "session_expired": (1201, "session_id has expired"),
    "face_overlap": (1201, "The overlap of the sound and the face must be at least 2s"),
    "discontinued": (
        1203,
        "The model '{model}' has been discontinued and is no longer available.",  # [live]
    ),
    "external_id_taken": (1201, "External_task_id {external_id} already exists"),  # [live]
    "task_unknown": (1201, "Task not found by id/external id: {task_id}"),  # [live]
    "image_missing": (1201, "image can not be null"),  # [live]
    "prompt_missing": (1201, "prompt can not be null"),
    "text_too_long": (1201, "The length of {field} cannot exceed {limit}"),
    "tail_combination": (
        1201,
        "model/mode/duration({model}/{mode}/{duration}) is not supported with image_tail",  # [live]
    ),
    "tail_unsupported": (1201, "Image tail is not supported by the current model"),  # [live]
    "tail_with_sound": (1201, "sound on is not supported with image_tail"),
    "tail_alone": (1201, "image_tail without image is not supported by the current model"),
    "brush_unsupported": (1201, "{model} is not supported with motion brush"),  # [live]
    "camera_unsupported": (
        1201,
        "camera_control is only supported in std mode with 5s duration and kling-v1",  # [live]
    ),
    "camera_config": (1201, "camera_control config must have exactly one non-zero value"),
    "one_control": (1201, "image_tail, motion brush and camera_control cannot be combined"),
    "unsupported": (1201, "{field} is not supported by the current model"),
    "shots_off": (1201, "{field} is only supported when multi_shot is true"),
    "shots_sum": (1201, "The sum of multi_prompt durations must be equal to duration"),
    "shots_order": (1201, "multi_prompt index must start from 1 and be continuous"),
    "too_many": (1201, "The size of {field} must be between {least} and {most}"),
    "voice_needs_sound": (1201, "voice_list is only supported when sound is on"),
    "sound_with_video": (1201, "sound on is not supported with video input"),  # [live]
    "voice_unnamed": (1201, "voice_list is not referenced in prompt"),
    "voices_and_elements": (1201, "element_list and voice_list cannot be used together"),
    "not_base64": (1201, "File is not in a valid base64 format"),  # [live]
    "picture_format": (1201, "Image format is not supported"),
    "picture_pixels": (1201, "Image pixel is invalid"),  # [live]
    "picture_ratio": (
        1201,
        "The resolution or aspect ratio of the input image is invalid. "
        "Please ensure it meets the required specifications.",  # [live], there of a failed task
    ),
    "picture_size": (1201, "The size of {field} cannot exceed {most}MB"),
    "o1_duration": (
        1201,
        "Duration only supports 5 or 10 seconds when no refer_image is provided",  # [live]
    ),
    "element_faces": (1201, "{field} is only supported when character_orientation is video"),
    "reference_unknown": (1201, "{reference} in prompt does not match image_list"),
    "time_missing": (1201, "start_time and end_time can not be null"),
}


@dataclass(eq=False)
class Refusal(Exception):
    """An answer with a code other than 0, for the sender of the request.

    `code` is Kling's, `message` its text, `http_status` usually follows from the code,
    `retry_after_s` becomes a Retry-After header. `name` is the key in the table of sentences (empty
    without one); gateways decide by it which requests they refuse themselves.
    """

    code: int
    message: str
    http_status: int
    retry_after_s: int | None = None
    name: str = ""


def refused(name: str, **words: object) -> Refusal:
    """The refusal of that name with its words filled in. Raises `KeyError` for an unknown name."""
    code, text = _TEXTS[name]
    shown = {name: _shown(word, 300) for name, word in words.items()}
    return Refusal(code, text.format(**shown), HTTP_STATUS[code], name=name)


def invalid_value(field: str, value: object) -> Refusal:
    """Kling's plainest refusal [live]. It never names the accepted values."""
    return Refusal(1201, f"{field} value '{_shown(value, 100)}' is invalid", HTTP_STATUS[1201])


def _shown(value: object, limit: int) -> str:
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= limit else text[: limit - 1] + "…"
