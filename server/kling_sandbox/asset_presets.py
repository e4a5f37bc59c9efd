"""Kling's ready-made elements and voices, as the sandbox has them: names and ids of its own.

Ids have the form of Kling's: three digits for elements, 18 for voices.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from kling_sandbox.orders import Asset, Picture

__all__ = ["PRESETS"]

_ELEMENTS = (
    ("160", "Rosa", "a woman in a red coat", ("o_102", "o_101")),
    ("161", "Otto", "an old man with a white beard", ("o_102",)),
    ("162", "Fox", "a young red fox", ("o_103",)),
    ("163", "Teapot", "a blue teapot with a bent spout", ("o_104",)),
    ("164", "Space suit", "a white space suit with orange stripes", ("o_105",)),
    ("165", "Harbour", "a small harbour in the evening", ("o_106",)),
)
_VOICES = (
    ("829836039416651001", "Calm Narrator"),
    ("829836039416651002", "Bright Girl"),
    ("829836039416651003", "Old Sailor"),
    ("829836039416651004", "Radio Host"),
)

PRESETS: Mapping[Literal["element", "voice"], Mapping[str, Asset]] = {
    "element": {
        asset_id: Asset(
            "element",
            asset_id,
            name,
            description,
            (Picture(name=f"preset-{asset_id}.png"),),
            tags=tags,
            owner="kling",
        )
        for asset_id, name, description, tags in _ELEMENTS
    },
    "voice": {
        asset_id: Asset("voice", asset_id, name, owner="kling") for asset_id, name in _VOICES
    },
}
"""By kind and id. The picture of an element is drawn when it is first seen."""
