"""Words for a camera move, as Kling's `camera_control`, and which models take that."""

from __future__ import annotations

import re
from typing import Any

from kling_tools.products import Product
from kling_tools.rules.capabilities import Capabilities

__all__ = ["PLANNED", "camera_control_of", "models_with_camera_control"]

PLANNED: Product = "image2video"
"""The product that every prompt plans for."""

MOVES: tuple[tuple[str, str, int], ...] = (
    (r"\bpan(s|ning)?\b.*\bleft\b", "pan", -1),
    (r"\bpan(s|ning)?\b.*\bright\b", "pan", 1),
    (r"\btilt(s|ing)?\b.*\bup\b", "tilt", 1),
    (r"\btilt(s|ing)?\b.*\bdown\b", "tilt", -1),
    (r"\broll(s|ing)?\b.*\b(?<!-)clockwise\b", "roll", 1),
    (r"\broll(s|ing)?\b.*\b(counter|anti)-?clockwise\b", "roll", -1),
    (r"\bzoom(s|ing)?\b.*\bout\b", "zoom", 1),
    (r"\bzoom(s|ing)?\b.*\bin\b", "zoom", -1),
    (r"\b(truck|slid|doll|track)(y|e|s|es|ies|ing)?\b.*\bleft\b", "horizontal", -1),
    (r"\b(truck|slid|doll|track)(y|e|s|es|ies|ing)?\b.*\bright\b", "horizontal", 1),
    (r"\b(pedestal|crane|boom)(s|ing)?\b.*\bup\b", "vertical", 1),
    (r"\b(pedestal|crane|boom)(s|ing)?\b.*\bdown\b", "vertical", -1),
)
"""Pattern, setting of `config`, direction. Signs after Kling's image2video page, see
`kling_tools.requests.fields.CameraConfig`."""

USUAL = 5
SPEEDS = ((r"slow\w*|gentl[ey]|slight\w*", 3), (r"fast|quick\w*|rapid\w*", 8))
"""How far, of 10. Kling names no scale; these are ours."""


def camera_control_of(words: str) -> dict[str, Any] | None:
    """The `simple` camera_control for the words, which moves in exactly one way; None when they
    name no move of Kling's, or several."""
    text = words.lower()
    found = [(axis, sign) for pattern, axis, sign in MOVES if re.search(pattern, text)]
    if len(found) != 1:
        return None
    ((axis, sign),) = found
    far = next((n for speed, n in SPEEDS if re.search(rf"\b({speed})\b", text)), USUAL)
    return {"type": "simple", "config": {axis: sign * far}}


def models_with_camera_control(capabilities: Capabilities) -> list[str]:
    """Each model that takes `camera_control` for one picture, in which form, and its state."""
    shown = []
    for name in capabilities.models_of([PLANNED]):
        row = capabilities.product_row(name, PLANNED)
        for pattern in row.patterns("camera_control") if row else ():
            doubt = pattern.endswith(" ?")
            what, _, condition = pattern.removesuffix(" ?").partition(" ")
            mode, _, seconds = what.partition("/")
            words = [f"{mode} {seconds} s" if seconds else "", condition.replace("=", " ")]
            words.append("sources disagree" if doubt else "")
            retired = capabilities.models[name].retired
            if retired:
                words.append("retired" if retired.certain else "may have been retired")
            shown.append(f"{name} ({', '.join(word for word in words if word)})")
    return shown
