"""The rules between the fields of a request: rows of a table, applied by `apply_rules`.

A row reads: when all conditions in `when` hold, the fields in `require` must be given and those in
`forbid` must not, because …; `use` is advice. `S2` is Kling's image2video page, `S1` CometAPI's
multi-image2video page, `S4` a gateway's copy of Kling's page with later additions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from kling_tools.faults import Fault, Verdict
from kling_tools.products import rules_of_others
from kling_tools.requests.drafts import Draft
from kling_tools.requests.requests import Request

__all__ = ["GIVEN", "MISSING", "RULES", "Rule", "apply_rules"]

GIVEN = "<given>"
MISSING = "<missing>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row. `when` maps fields to GIVEN, MISSING or a value; a field that a request does not
    have counts as missing. A row of level `warning` warns and does not refuse. A row whose id a
    product names among its rules judges requests for that product only."""

    id: str
    when: Mapping[str, object] = field(default_factory=dict)
    require: tuple[str, ...] = ()
    forbid: tuple[str, ...] = ()
    because: str
    use: str = ""
    source: str
    level: Literal["fault", "warning"] = "fault"


RULES: tuple[Rule, ...] = (
    Rule(
        id="image_or_image_tail",
        when={"image_tail": MISSING},
        require=("image",),
        because="this tool animates a picture",
        use="kling_text_to_video with the same prompt, which needs no picture; or a picture: its "
        "local path, its https URL, a data: URI or base64",
        source="S2",
    ),
    Rule(
        id="figure_required",
        require=("image",),
        because="the figure that moves is taken from a picture",
        use="the path, URL or data: URI of a picture with one person, head to toe at best",
        source="motion-control page",
    ),
    Rule(
        id="motion_required",
        require=("video",),
        because="the figure moves as in a video. Without one, kling_image_to_video animates the "
        "picture by its prompt",
        use="an https URL, kling://tasks/ID/video, or a path",
        source="motion-control page",
    ),
    Rule(
        id="face_required",
        require=("image",),
        because="the face that speaks is taken from a picture",
        use="the path, URL or data: URI of a picture with one face",
        source="avatar page",
    ),
    Rule(
        id="speaking_video_required",
        require=("video",),
        because="a face of a video is given other words. kling_talking_photo takes the same with a "
        "picture as image",
        use="an https URL, kling://tasks/ID/video, or a path",
        source="lip-sync page",
    ),
    Rule(
        id="sound_or_text",
        when={"text": MISSING},
        require=("sound_file",),
        because="the face speaks a recording, or a text in a voice",
        use="a path or an https URL of mp3, wav, m4a or aac; or text with voice_id instead",
        source="lip-sync page",
    ),
    Rule(
        id="sound_without_text",
        when={"sound_file": GIVEN},
        forbid=("text", "voice_id", "voice_speed"),
        because="the sound is spoken already",
        use="either sound_file or text",
        source="lip-sync page",
    ),
    Rule(
        id="video_required",
        require=("video",),
        because="this tool changes or continues a video. Without one, kling_image_to_video makes "
        "it from a picture",
        use="an https URL, kling://tasks/ID/video, or a path",
        source="omni-video page",
    ),
    Rule(
        id="wish_required",
        require=("prompt",),
        because="Kling changes or continues a video as the prompt says",
        use="a sentence that says what changes, or what comes next",
        source="omni-video page",
    ),
    Rule(
        id="an_edit_keeps_its_shape",
        when={"refer_type": "base"},
        forbid=("aspect_ratio",),
        because="an edit keeps the shape of its video",
        use='no aspect_ratio, or refer_type "feature"',
        source="omni-video page",
    ),
    Rule(
        id="element_faces_as_the_video",
        when={"character_orientation": "image", "element_list": GIVEN},
        forbid=("element_list",),
        because="a figure with an element faces as in the video",
        use='character_orientation "video"',
        source="motion-control page",
    ),
    Rule(
        id="image_list_required",
        when={"element_list": MISSING},
        require=("image_list",),
        because="this tool combines pictures",
        use="kling_text_to_video with the same prompt, which needs no picture; or a list of 1 to 7 "
        "pictures",
        source="multi-image2video page",
    ),
    Rule(
        id="image_prompt_required",
        require=("prompt",),
        because="Kling makes a picture of words, also where pictures are given",
        use="a sentence that says what is in it",
        source="images page",
    ),
    Rule(
        id="negative_prompt_excludes_images",
        when={"image_list": GIVEN},
        forbid=("negative_prompt",),
        because="Kling takes no negative_prompt beside a picture",
        use="the prompt, with the words: Avoid …",
        source="images page",
    ),
    Rule(
        id="references_need_an_image",
        when={"image_list": MISSING},
        forbid=("image_reference", "image_fidelity", "human_fidelity"),
        because="it says what the picture of image_list is for, and there is none",
        use="a picture in image_list, or leave it out",
        source="images page",
    ),
    Rule(
        id="prompt_required",
        when={"multi_shot": MISSING},
        require=("prompt",),
        because="Kling needs a prompt unless the shots have their own",
        use="a sentence that says what moves",
        source="S2",
    ),
    Rule(
        id="prompt_required_for_intelligence",
        when={"multi_shot": GIVEN, "shot_type": "intelligence"},
        require=("prompt",),
        because="with shot_type intelligence Kling cuts the prompt into shots",
        use="the story as one text",
        source="S2",
    ),
    Rule(
        id="prompt_unused_with_customize",
        when={"multi_shot": GIVEN, "shot_type": "customize"},
        forbid=("prompt",),
        because="with shot_type customize Kling follows multi_prompt and ignores the prompt",
        source="S2",
        level="warning",
    ),
    Rule(
        id="shot_type_required",
        when={"multi_shot": GIVEN},
        require=("shot_type",),
        because="multi_shot needs to know who cuts the shots",
        use='"customize" with multi_prompt, or "intelligence"',
        source="S2",
    ),
    Rule(
        id="multi_prompt_required",
        when={"multi_shot": GIVEN, "shot_type": "customize"},
        require=("multi_prompt",),
        because="shot_type customize takes its shots from there",
        use='[{"prompt": "…", "duration": "5"}]',
        source="S2",
    ),
    Rule(
        id="multi_prompt_unused_with_intelligence",
        when={"multi_shot": GIVEN, "shot_type": "intelligence"},
        forbid=("multi_prompt",),
        because="shot_type intelligence cuts the prompt; Kling's page gives multi_prompt to "
        "customize only",
        source="S2",
        level="warning",
    ),
    Rule(
        id="shots_need_multi_shot",
        when={"multi_shot": MISSING},
        forbid=("shot_type", "multi_prompt"),
        because="it has no effect unless multi_shot is true",
        use="multi_shot true, or leave it out",
        source="S2",
    ),
    Rule(
        id="image_tail_excludes_brush_and_camera",
        when={"image_tail": GIVEN},
        forbid=("static_mask", "dynamic_masks", "camera_control"),
        because="image_tail, masks and camera_control exclude each other",
        use="only one of the three",
        source="S2",
    ),
    Rule(
        id="static_mask_excludes_camera",
        when={"static_mask": GIVEN},
        forbid=("camera_control",),
        because="image_tail, masks and camera_control exclude each other",
        use="only one of the three",
        source="S2",
    ),
    Rule(
        id="dynamic_masks_exclude_camera",
        when={"dynamic_masks": GIVEN, "static_mask": MISSING},
        forbid=("camera_control",),
        because="image_tail, masks and camera_control exclude each other",
        use="only one of the three",
        source="S2",
    ),
    Rule(
        id="elements_exclude_voices",
        when={"element_list": GIVEN},
        forbid=("voice_list",),
        because="element_list and voice_list exclude each other",
        use="one of the two",
        source="S2",
    ),
    Rule(
        id="voices_need_sound",
        when={"voice_list": GIVEN},
        require=("sound",),
        because="a voice is only heard with sound",
        use='"on"',
        source="S2",
    ),
)


def apply_rules(draft: Draft[Request]) -> Verdict:
    """The faults and warnings of the table for a request. A row about an unreadable field keeps
    silent."""
    verdict = Verdict()
    request, given = draft.arguments, draft.arguments.given()
    others = rules_of_others(request.products)
    for rule in RULES:
        if rule.id in others or not draft.invalid.isdisjoint(rule.when):
            continue
        if not all(_holds(request, given, name, value) for name, value in rule.when.items()):
            continue
        missing = [name for name in rule.require if name not in given]
        found = verdict.faults if rule.level == "fault" else verdict.warnings
        for name in (*missing, *(name for name in rule.forbid if name in given)):
            if name in draft.invalid:
                continue
            verb = "is required" if name in missing else "cannot be used here"
            if rule.level == "warning":
                verb = "may have no effect"
            message = f"{verb}: {rule.because}."
            found.append(Fault(name, rule.id, message, rule.use, rule.source))
    return verdict


def _holds(request: Request, given: frozenset[str], name: str, value: object) -> bool:
    if value in (GIVEN, MISSING):
        return (name in given) is (value == GIVEN)
    return getattr(request, name, None) == value
