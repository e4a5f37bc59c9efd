"""Where a request goes and who answers: one row for each provider.

What a model can do stands in `kling_tools.capabilities`, what HTTP looks like in
`kling_mcp.client`; a row holds only what differs from provider to provider.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kling_tools.terms import ProviderTerms

__all__ = ["BASE_URLS", "PROVIDERS", "SANDBOX", "ProviderRow"]

SANDBOX = "sandbox"

BASE_URLS: Mapping[str, str] = {
    "global": "https://api-singapore.klingai.com",
    "china": "https://api-beijing.klingai.com",
}
"""Kling's own base URLs by region (separate accounts), usable as `KLING_BASE_URL`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRow:
    """One provider.

    `prefix` stands before the product in every path; `lists` whether it can list tasks;
    `finds_external_ids` whether a task can be asked for by the id that we gave it; `poll_s` seconds
    between two looks at a running task; `source` where the row was read.
    """

    terms: ProviderTerms
    base_url: str
    prefix: str = "/v1/videos"
    lists: bool = True
    finds_external_ids: bool = True
    poll_s: float = 5.0
    source: str

    @property
    def name(self) -> str:
        """The provider's name in settings, the ledger and answers."""
        return self.terms.name


_NOT_WITH_SEVERAL_PICTURES = dict.fromkeys(
    ("cfg_scale", "static_mask", "dynamic_masks"),
    "Kling's own API has no such field for several pictures and would drop it in silence",
)


def _official(name: str) -> ProviderTerms:
    return ProviderTerms(
        name=name,
        products=("image2video", "omni-video", "multi-image2video"),
        default_models={"image2video": "kling-v2-5-turbo", "omni-video": "kling-v3-omni"},
        loses={
            "multi-image2video": {
                **_NOT_WITH_SEVERAL_PICTURES,
                "sound": "multi-image2video has no sound",
            },
            "omni-video": {
                **_NOT_WITH_SEVERAL_PICTURES,
                "negative_prompt": "omni-video has no negative_prompt; say it in the prompt",
            },
        },
    )


PROVIDERS: Mapping[str, ProviderRow] = {
    "kling": ProviderRow(
        terms=_official("kling"),
        base_url=BASE_URLS["global"],
        source="Kling's API pages, 2026-09-20",
    ),
    SANDBOX: ProviderRow(
        terms=_official(SANDBOX),
        base_url="http://sandbox.kling.invalid",
        poll_s=0.5,
        source="kling_mcp.sandbox",
    ),
}
