"""The configuration of a sandbox, and the rules in which a gateway differs from Kling."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kling_sandbox.faults import Fault
from kling_sandbox.model_table import RETIRED, Product
from kling_sandbox.webhooks import MayCall, call_none

__all__ = ["DAY_S", "KLING_RULES", "ProviderRules", "SandboxConfig"]


@dataclass(frozen=True, slots=True)
class ProviderRules:
    """A provider's differences from Kling's rules. The defaults are Kling's own.

    `prompt_optional` names the products that require no prompt. `least_pictures` is the number of
    pictures that `multi-image2video` requires. `brush_on_several`: that product checks `cfg_scale`,
    `static_mask` and `dynamic_masks`, which Kling ignores. `retired` are the models that it serves
    no more, by product.
    """

    prompt_optional: tuple[Product, ...] = ()
    least_pictures: int = 1
    brush_on_several: bool = False
    retired: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: RETIRED)


KLING_RULES = ProviderRules()
"""No differences."""


DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """The configuration of a sandbox.

    `home` is the folder of its state, made when first needed. It accepts any of `api_keys`, and a
    JWT signed with `access_key` and `secret_key`. A task is `submitted` for `queue_s` seconds, then
    `processing` for `render_s` seconds, by `clock` (Unix seconds). The shorter side of a video has
    at most `side_px` px, an even number. Video URLs begin with `public_url` and are valid for
    `url_ttl_s` seconds after the end of the task; Kling says 30 days. More than `slots` unfinished
    tasks of a provider are refused with 1303. `faults` are the active faults. `pack_units` is each
    provider's initial balance; with `cash` an account has that worth of dollars instead of a
    resource pack. `serve_retired`: Kling still serves the models that it has discontinued.
    `preview`: it serves 4.0 and 4.0 Flash, as resellers describe them. `may_call` decides which
    `callback_url` is called; with a `callback_secret` (`whsec_…`) callbacks are signed. `rules`
    comes from the dialect of a request.
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
    cash: bool = False
    serve_retired: bool = False
    preview: bool = False
    may_call: MayCall = call_none
    callback_secret: str = ""
    rules: ProviderRules = KLING_RULES
