"""Judges arguments as a submit would, for one provider with Kling's own terms."""

from typing import Any

from kling_tools.requests.arguments import ImageToVideoArguments, MultiImageToVideoArguments
from kling_tools.requests.drafts import Draft, read_draft
from kling_tools.rules.capabilities import Capabilities, ProviderTerms, built_in_capabilities
from kling_tools.rules.reviews import Review, review

KLING = ProviderTerms(
    name="kling",
    products=("image2video", "omni-video", "multi-image2video"),
    default_models={"image2video": "kling-v2-5-turbo", "omni-video": "kling-v3-omni"},
    loses={"omni-video": {"cfg_scale": "it would be dropped"}},
)
PICTURE = "https://example.com/a.png"
IMAGE: dict[str, Any] = {"image": PICTURE, "prompt": "slow zoom"}
SEVERAL: dict[str, Any] = {"image_list": [PICTURE, PICTURE], "prompt": "they dance"}


def drafted(arguments: dict[str, Any]) -> Draft[Any]:
    several = "image_list" in arguments or "aspect_ratio" in arguments
    return read_draft(MultiImageToVideoArguments if several else ImageToVideoArguments, arguments)


def judge(
    arguments: dict[str, Any],
    *,
    capabilities: Capabilities | None = None,
    terms: ProviderTerms = KLING,
) -> Review:
    return review(drafted(arguments), capabilities or built_in_capabilities(), terms)


def faults(arguments: dict[str, Any], **more: Any) -> dict[str, str]:
    """The first rule that each field breaks."""
    found: dict[str, str] = {}
    for fault in judge(arguments, **more).verdict.faults:
        found.setdefault(fault.field, fault.rule)
    return found


def warnings(arguments: dict[str, Any], **more: Any) -> dict[str, str]:
    return {fault.field: fault.rule for fault in judge(arguments, **more).verdict.warnings}
