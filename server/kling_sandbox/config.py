"""What a sandbox is started with, and where a gateway judges otherwise than Kling."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kling_sandbox.faults import Fault
from kling_sandbox.model_table import Product
from kling_sandbox.webhooks import MayCall, call_none

__all__ = ["DISCONTINUED", "KLING_RULES", "ProviderRules", "SandboxConfig"]


@dataclass(frozen=True, slots=True)
class ProviderRules:
    """Where a provider departs from Kling's rules; as it stands, Kling's own.

    `prompt_optional` names the products that need no prompt, `least_pictures` is how many
    pictures `multi-image2video` needs, `brush_on_several` whether it judges `cfg_scale`,
    `static_mask` and `dynamic_masks`, which Kling ignores there.
    """

    prompt_optional: tuple[Product, ...] = ()
    least_pictures: int = 1
    brush_on_several: bool = False


KLING_RULES = ProviderRules()
"""No departure."""


DAY_S = 86_400.0

DISCONTINUED = ("kling-v1",)
"""Refused as such by the live service on 2026-09-20."""


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """Everything that a sandbox is started with.

    `home` is the folder for its state, made when first needed. Any of `api_keys`, or a JWT signed
    with `access_key` and `secret_key`, is let in. A task is `submitted` for `queue_s` seconds,
    then `processing` for `render_s` seconds, by `clock` (Unix seconds). No video's shorter
    side has more than `side_px` px, an even number. Video URLs begin with
    `public_url` and hold for `url_ttl_s` seconds after the end of the task; Kling says 30 days.
    More than `slots` unfinished tasks of a provider are refused with 1303. `faults` are what goes
    wrong. `pack_units` is what each provider's account holds at first; `discontinued` names the
    models that are refused as such (empty: they are served, as a gateway may). `may_call` says
    which `callback_url` is called; with a `callback_secret` (`whsec_…`) the calls are signed.
    `rules` is filled in by the dialect of a request.
    """

    home: Path
    api_keys: tuple[str, ...] = ("sandbox-key",)
    access_key: str = "sandbox-access"
    secret_key: str = "sandbox-secret-0123456789abcdef0123456789abcdef"  # noqa: S105
    queue_s: float = 1.0
    render_s: float = 3.0
    side_px: int = 2160
    url_ttl_s: float = 30 * DAY_S
    slots: int = 20
    faults: tuple[Fault, ...] = ()
    clock: Callable[[], float] = time.time
    public_url: str = "http://sandbox.kling.invalid"
    pack_units: float = 10_000.0
    discontinued: tuple[str, ...] = DISCONTINUED
    may_call: MayCall = call_none
    callback_secret: str = ""
    rules: ProviderRules = KLING_RULES
