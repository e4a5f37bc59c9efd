"""plugin/skills/kling-video: what models cost and can, from the tables of the program."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from tests.docs.pages import table

from kling_mcp.protocol.resources.models import models_table
from kling_mcp.providers.configured import configured_providers
from kling_mcp.providers.rows import PROVIDERS
from kling_mcp.settings.settings import load_settings
from kling_tools.errors import InvalidRequest
from kling_tools.prompts.plans import Plan, Planner
from kling_tools.requests.arguments import (
    ImageToVideoArguments,
    MultiImageToVideoArguments,
    TextToVideoArguments,
)
from kling_tools.requests.requests import Request
from kling_tools.rules.capabilities import built_in_capabilities

__all__ = ["NEEDS", "cheapest", "models", "needs"]

A_PICTURE = "https://example.com/one.jpg"
SHOTS = [{"prompt": "Dawn", "duration": "3"}, {"prompt": "Noon", "duration": "2"}]
STORYBOARD = {"multi_shot": True, "shot_type": "customize", "multi_prompt": SHOTS}
PICTURES = [A_PICTURE, "https://example.com/two.jpg"]

NEEDS: Mapping[str, tuple[type[Request], Mapping[str, Any]]] = {
    "a picture that moves": (ImageToVideoArguments, {"image": A_PICTURE}),
    "words alone": (TextToVideoArguments, {}),
    "sound and speech": (ImageToVideoArguments, {"image": A_PICTURE, "sound": "on"}),
    "a voice from `kling_list_assets`": (
        ImageToVideoArguments,
        {
            "image": A_PICTURE,
            "sound": "on",
            "voice_list": ["1"],
            "prompt": "<<<voice_1>>> says hello",
        },
    ),
    "a first and a last picture": (
        ImageToVideoArguments,
        {"image": A_PICTURE, "image_tail": PICTURES[1]},
    ),
    "cuts within one clip (`multi_shot`)": (
        ImageToVideoArguments,
        {"image": A_PICTURE, "prompt": "", **STORYBOARD},
    ),
    "a person or thing kept as an element": (
        ImageToVideoArguments,
        {"image": A_PICTURE, "element_list": ["1"], "prompt": "<<<element_1>>> waves"},
    ),
    "several pictures in one scene": (MultiImageToVideoArguments, {"image_list": PICTURES}),
    "a large picture (`mode` `pro`)": (ImageToVideoArguments, {"image": A_PICTURE, "mode": "pro"}),
    "the largest (`mode` `4k`)": (ImageToVideoArguments, {"image": A_PICTURE, "mode": "4k"}),
}
"""What people need, and the least request for it."""


def cheapest(wanted: type[Request], asked: Mapping[str, Any]) -> Plan:
    """The cheapest plan at Kling itself among all living models and modes."""
    terms = PROVIDERS["kling"].terms
    table_of_models = built_in_capabilities()
    planner = Planner(table_of_models, [terms])
    found: list[Plan] = []
    for name in table_of_models.living(wanted.products, terms.wires):
        try:
            found.append(planner.plan(wanted, **{"prompt": "x", "model_name": name, **asked}))
        except InvalidRequest:
            continue
    return min((plan for plan in found if plan.price.units), key=lambda p: p.price.units or 0)


def needs() -> str:
    """For each need the cheapest model that can, its mode and its price for five seconds."""
    rows = []
    for need, (wanted, asked) in NEEDS.items():
        plan = cheapest(wanted, asked)
        model, mode = plan.call["model_name"], plan.call["mode"]
        rows.append((need, f"`{model}`", f"`{mode}`", f"{plan.price.units:g} units"))
    return "\n" + table(("need", "model", "mode", "five seconds"), rows) + "\n"


def models() -> str:
    """A section for each product: the models that Kling has for it today."""
    settings = load_settings(provider="kling", kling_api_key=SecretStr("k"), home=Path("nowhere"))
    kling = configured_providers(settings)["kling"]
    _, *sections = models_table({"kling": kling}, built_in_capabilities()).split("## ")
    sections[-1], _, units = sections[-1].partition("\nUnits are ")
    shown = filter(None, map(_living, sections))
    closing = f"Units are {units.replace(' † retired or about to be.', '')}"
    return "\n" + "\n\n".join([*shown, closing]) + "\n"


def _living(section: str) -> str:
    """The section without retired models and without the column of providers; empty when all of
    its models are retired."""
    kept = [line for line in section.rstrip().splitlines() if "†" not in line]
    if "| kling-" not in "".join(kept):
        return ""
    narrow = [re.sub(r"[^|]+\|$", "", line).rstrip() if "|" in line else line for line in kept]
    return "## " + "\n".join(narrow).replace(" (kling)", "")
