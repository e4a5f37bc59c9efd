"""The nearest request that passes: what a refused call, or one above a cap, can be instead.

The search goes over the table: every living model with its modes and seconds, with and without
sound. It keeps as much of the wish as it can, then changes as little as it can, then pays as little
as it can. Only if no model takes the whole wish, optional arguments that were refused, or that
cannot be read, are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any

from pydantic import BaseModel

from kling_tools.faults import Variant, Verdict
from kling_tools.products import Product
from kling_tools.requests.arguments import SpendingChoices
from kling_tools.requests.drafts import Draft
from kling_tools.requests.fields import PROMPT_LIMIT, CameraControl, Shot
from kling_tools.requests.host_habits import IN_MONEY, INSTEAD
from kling_tools.requests.requests import Request, Setting
from kling_tools.rules.capabilities import Capabilities, Estimate, ProviderTerms, estimate
from kling_tools.rules.checks import fitted_shots, total_seconds
from kling_tools.rules.reviews import Review, other_tool, review

__all__ = ["ROUNDING", "Judge", "find_cheapest", "find_variant"]

Judge = Callable[[Draft[Request], Review], Review]
"""Judges a request that is tried and passes its review by what else is known: its files, and what
is paid before it."""

SETTINGS = ("model_name", "mode", "duration", "sound", "count")
"""What the search chooses; `Request.setting_fields` has the arguments."""

NEEDED = frozenset(
    {
        *(*SETTINGS, "image", "image_list", "video", "prompt", "multi_shot", "multi_prompt"),
        *("resolution", "n", "refer_type", "character_orientation"),
        *SpendingChoices.model_fields,
    }
)
"""The arguments that are never left out: without them it is another video, or another price."""

MOST_LEFT_OUT = 2

NAMES_NOTHING = ("_name_unknown", "_ambiguous", "_unread", "_deleted", "_twice")
"""Ends of the rules about elements and voices that a name does not find: the person chooses others,
and the wish is not made without them."""

NOT_OF_KLING = frozenset(
    {*IN_MONEY, *(name for name in INSTEAD if INSTEAD[name].startswith("no "))}
)
"""Arguments of other vendors that Kling has nothing like, or that `max_units` stands for: without
them nothing is lost."""

SECONDS = tuple(str(seconds) for seconds in range(3, 16))
"""What a model that the table does not know is taken to have: Kling's own limits."""

WITHOUT_SOUND, OTHER_LENGTH, LOWER_MODE, OTHER_MODEL = 3.0, 2.0, 0.5, 0.4
"""How much of a wish is lost: without its sound, for a video of half or double the length (in
proportion) or half the pictures, for each step down in mode, and with another model than the one
that was named."""

ROUNDING = 1e-6
"""Units or dollars by which a sum of prices such as 0.3 may be off, as binary fractions are."""


@dataclass(frozen=True, slots=True)
class _Setting:
    model_name: str
    mode: str
    duration: str
    sound: str
    count: int = 1

    def values(self, request: Request) -> dict[str, Any]:
        """The setting as arguments of such a request."""
        chosen = {name: getattr(self, part) for part, name in request.setting_fields.items()}
        values = {"model_name": self.model_name, **chosen}
        return {name: values[name] for name in values if name not in request.absent}

    def like(self, setting: Setting) -> Setting:
        """The setting with what is chosen here."""
        return replace(
            setting, mode=self.mode, duration=self.duration, sound=self.sound, count=self.count
        )


def find_variant(
    draft: Draft[Request],
    capabilities: Capabilities,
    terms: ProviderTerms,
    *,
    within_units: float | None = None,
    wanted: Mapping[str, Any] = {},
    avoid: str = "",
    same_model: bool = False,
    judge: Judge | None = None,
) -> Variant | None:
    """The nearest request that passes the review at this provider, or None. With `same_model` it is
    made with the model that is asked for. `judge` has the last word.

    It costs at most `within_units` (None: any price, also an unknown one). `wanted` replaces
    arguments of the draft before the search and counts as changed; the model `avoid` is not taken.
    Where another tool has the model that is asked for, no request of this tool is nearer.
    """
    if "model_name" not in wanted and other_tool(draft.arguments, capabilities, terms):
        return None
    asked = _with_values(draft, {**_repairs(draft, capabilities), **wanted})
    only = ""
    if same_model:
        only = _model_meant(asked.arguments, capabilities, terms)

    def may_be(setting: _Setting) -> bool:
        return setting.model_name == only if same_model else setting.model_name != avoid

    for leave_out in _subsets(_refused_options(asked, capabilities, terms)):
        rest = _with_values(asked, _without(asked, draft, leave_out))
        settings = filter(may_be, _settings(rest, draft, capabilities, terms))
        for tried, found in _passing(rest, settings, capabilities, terms, judge):
            if _is_within(found.estimate, within_units):
                return _variant(draft, tried, found, leave_out, wanted)
    return None


def find_cheapest(
    draft: Draft[Request],
    capabilities: Capabilities,
    terms: ProviderTerms,
    judge: Judge | None = None,
) -> Review | None:
    """The cheapest request with this wish and any settings that passes the review at this provider;
    None if none does, or no price is known. `judge` as in `find_variant`."""
    asked = _with_values(draft, _repairs(draft, capabilities))
    settings = _settings(asked, draft, capabilities, terms)
    passing = (found for _, found in _passing(asked, settings, capabilities, terms, judge))
    priced = [found for found in passing if found.estimate.units is not None]
    return min(priced, key=lambda found: found.estimate.units or 0.0, default=None)


def _passing(
    draft: Draft[Request],
    settings: Iterable[_Setting],
    capabilities: Capabilities,
    terms: ProviderTerms,
    judge: Judge | None,
) -> Iterator[tuple[Draft[Request], Review]]:
    """The request with each of these settings that passes the review, and what else is known."""
    for setting in settings:
        tried = _with_setting(draft, setting, terms)
        if tried is None or tried.verdict.faults or tried.invalid:
            continue
        found = review(tried, capabilities, terms)
        if judge is not None and not found.verdict.faults:
            found = judge(tried, found)
        if not found.verdict.faults:
            yield tried, found


def _without(
    asked: Draft[Request], draft: Draft[Request], leave_out: Sequence[str]
) -> dict[str, Any]:
    """The values of a request without these arguments. A camera move, and what is not wanted, are
    said in the prompt instead."""
    request = asked.arguments
    values = {
        name: getattr(request, name) if name in request.unsent() else _default(draft, name)
        for name in leave_out
    }
    camera: CameraControl | None = getattr(request, "camera_control", None)
    unwanted = request.negative_prompt.strip()
    in_words = {
        "camera_control": camera.in_words if camera else "",
        "negative_prompt": f"Avoid {unwanted.rstrip('.')}." if unwanted else "",
    }
    spoken = request.prompt.rstrip()
    for kind in ("element", "voice"):
        if f"{kind}_list" in leave_out:
            spoken = re.sub(rf"[ \t]*<<<\s*{kind}_\d{{1,3}}\s*>>>", "", spoken).lstrip()
    for words in (in_words[name] for name in leave_out if in_words.get(name)):
        spoken += f" {words}" if spoken.endswith((".", "!", "?")) else f". {words}"
    said = request.prompt and spoken != request.prompt.rstrip()
    if said and len(spoken) <= PROMPT_LIMIT and "prompt" not in asked.invalid:
        values["prompt"] = spoken
    return values


def _is_within(price: Estimate, limit: float | None) -> bool:
    return limit is None or (price.units is not None and price.units <= limit + ROUNDING)


def _with_setting(
    draft: Draft[Request], setting: _Setting, terms: ProviderTerms
) -> Draft[Request] | None:
    """The request with this setting; None when it has more shots than seconds."""
    values: dict[str, Any] = setting.values(draft.arguments)
    unnamed = not draft.arguments.model_name and "model_name" not in draft.invalid
    if unnamed and setting.model_name == _default_model(draft.arguments, terms):
        values.pop("model_name", None)
    shots: Sequence[Shot] = getattr(draft.arguments, "multi_prompt", ())
    if shots and total_seconds(shots) != int(setting.duration):
        if len(shots) > int(setting.duration):
            return None
        values["multi_prompt"] = fitted_shots(shots, int(setting.duration))
    return _with_values(draft, values)


def _default_model(request: Request, terms: ProviderTerms) -> str:
    """The model that this provider makes such a request with when it names none."""
    named = (terms.default_models[p] for p in terms.default_models if p in request.products)
    return next(named, "")


def _settings(
    draft: Draft[Request],
    original: Draft[Request],
    capabilities: Capabilities,
    terms: ProviderTerms,
) -> list[_Setting]:
    """All settings of living models at this provider, the nearest to the wish first."""
    request = draft.arguments
    served = [p for p in request.products if p in terms.products]
    if not served:
        return []
    given = original.arguments.model_fields_set - original.invalid
    meant = _model_meant(request, capabilities, terms)
    shots: Sequence[Shot] = getattr(request, "multi_prompt", ())
    asked = request.setting
    seconds = total_seconds(shots) if shots else int(asked.duration or 0)
    arguments = {"model_name": "model_name", **request.setting_fields}
    voice = "voice_list" in request.given()
    products = {name: _product_of(name, served, capabilities) for name in capabilities.models}

    def distance(setting: _Setting) -> tuple[float, int, int, float]:
        changed = {
            "model_name": setting.model_name != meant,
            "mode": setting.mode != asked.mode,
            "duration": setting.duration != asked.duration,
            "sound": setting.sound != asked.sound,
            "count": setting.count != asked.count,
        }
        lost = WITHOUT_SOUND * (asked.sound == "on" and setting.sound == "off")
        lost += OTHER_LENGTH * abs(int(setting.duration or 0) - seconds) / max(seconds, 1)
        steps = request.steps
        lost += OTHER_LENGTH * abs(setting.count - asked.count) / asked.count
        lost += LOWER_MODE * max(0, steps.index(asked.mode) - steps.index(setting.mode))
        lost += OTHER_MODEL * (changed["model_name"] and "model_name" in given)
        price = estimate(
            capabilities,
            products.get(setting.model_name, served[0]),
            setting.like(asked),
            model_name=setting.model_name,
            voice=voice,
        )
        names = [name for name in SETTINGS if changed[name]]
        units = float("inf") if price.units is None else price.units
        chosen = given.intersection(arguments[name] for name in names if name in arguments)
        return (round(lost, 6), len(chosen), len(names), units)

    found = _all_settings(meant, request, served, capabilities, terms)
    return sorted(found, key=distance)


def _model_meant(request: Request, capabilities: Capabilities, terms: ProviderTerms) -> str:
    """The living model that the request asks for; without one, the default model."""
    served = [p for p in request.products if p in terms.products]
    default = _default_model(request, terms)
    return _meant(request.model_name or default, served, capabilities, default)


def _meant(name: str, served: Sequence[Product], capabilities: Capabilities, default: str) -> str:
    """The living model that a name stands for: the one it misspells, or that follows it; the
    default one for a name that is none of Kling's, or that can mean the default one."""
    meanings = capabilities.meanings(name, served)
    known = default if default in meanings else next(iter(meanings), name)
    if known not in capabilities.models and not capabilities.may_be_new(known):
        return default
    end = capabilities.retirement(known, _product_of(known, served, capabilities))
    return end.successor if end else known


def _all_settings(
    meant: str,
    request: Request,
    served: Sequence[Product],
    capabilities: Capabilities,
    terms: ProviderTerms,
) -> Iterator[_Setting]:
    unknown = [meant] if meant and meant not in capabilities.models else []
    for name in (*unknown, *capabilities.living(served, terms.wires)):
        model = capabilities.models.get(name)
        rows = [model.products[p] for p in served if p in model.products] if model else [None]
        for row in rows:
            asked = request.setting
            modes = (row.modes or request.steps[:1]) if row else (asked.mode,)
            fixed = not asked.duration or bool(request.lasts_as())
            seconds = (asked.duration,) if fixed else row.durations if row else SECONDS
            sounds = (
                ("off", "on") if not fixed and (row is None or row.patterns("sound")) else ("off",)
            )
            counts = range(asked.count, 0, -1)
            for mode, duration, sound, count in product(modes, seconds, sounds, counts):
                yield _Setting(name, mode, duration, sound, count)


def _product_of(name: str, served: Sequence[Product], capabilities: Capabilities) -> Product:
    return next((p for p in served if capabilities.product_row(name, p)), served[0])


def _refused_options(
    draft: Draft[Request], capabilities: Capabilities, terms: ProviderTerms
) -> list[str]:
    """The optional arguments that the review refuses in this request, those that cannot be read,
    and those that Kling, or this tool, has not. For a model that cannot be had, also those that the
    review refuses with the model in its place."""
    request = draft.arguments
    faults = review(draft, capabilities, terms).verdict.faults
    if any(fault.field == "model_name" for fault in faults):
        default = _default_model(request, terms)
        meant = _meant(request.model_name, request.products, capabilities, default)
        instead = default if meant == request.model_name else meant
        changed = _with_values(draft, {"model_name": instead})
        faults = [*faults, *review(changed, capabilities, terms).verdict.faults]
    nameless = {_root(fault.field) for fault in faults if fault.rule.endswith(NAMES_NOTHING)}
    optional = (request.given() | draft.invalid) - NEEDED - nameless
    roots = dict.fromkeys(_root(fault.field) for fault in faults)
    without = {f.field for f in faults if f.rule == "extra_forbidden" and not f.use}
    return [name for name in roots if name in optional | NOT_OF_KLING | without]


def _subsets(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for size in range(MOST_LEFT_OUT + 1):
        yield from combinations(names, size)


def _repairs(draft: Draft[Request], capabilities: Capabilities) -> dict[str, Any]:
    """Values that are wrong in themselves, put right: what an unreadable one means, the mode in a
    model's name, the numbers of shots, who cuts them, where a figure with an element faces, and a
    fixed camera move with settings."""
    request = draft.arguments
    values: dict[str, Any] = {n: v for n, v in draft.meant.items() if n not in request.absent}
    if with_mode := capabilities.mode_in(request.model_name):
        values |= {"model_name": with_mode[0], "mode": with_mode[1]}
    if draft.invalid & {"multi_shot", "shot_type", "multi_prompt", "camera_control"}:
        return values
    shots: list[Shot] = getattr(request, "multi_prompt", [])
    shot_type = getattr(request, "shot_type", None)
    if [shot.index for shot in shots] != list(range(1, len(shots) + 1)):
        values["multi_prompt"] = _numbered(shots)
    if shot_type == "customize" and not shots:
        values["shot_type"] = "intelligence" if getattr(request, "multi_shot", False) else None
    elif (shots or shot_type) and not getattr(request, "multi_shot", True):
        values["multi_shot"] = True
    if (values.get("multi_shot") or getattr(request, "multi_shot", False)) and not shot_type:
        values["shot_type"] = "customize" if shots else "intelligence"
    if getattr(request, "character_orientation", "") == "image" and request.given() & {
        "element_list"
    }:
        values["character_orientation"] = "video"
    camera: CameraControl | None = getattr(request, "camera_control", None)
    if camera and camera.type != "simple" and camera.moves:
        values["camera_control"] = CameraControl(type=camera.type)
    return values


def _numbered(shots: Sequence[Shot]) -> list[Shot]:
    return [shot.model_copy(update={"index": place}) for place, shot in enumerate(shots, start=1)]


def _with_values(draft: Draft[Request], values: Mapping[str, Any]) -> Draft[Request]:
    """The draft with these arguments, which are readable now."""
    kept = [fault for fault in draft.verdict.faults if _root(fault.field) not in values]
    known = {name: values[name] for name in values if name in type(draft.arguments).model_fields}
    return replace(
        draft,
        arguments=draft.arguments.model_copy(update=known),
        invalid=draft.invalid - set(values),
        verdict=Verdict(kept, list(draft.verdict.warnings)),
    )


def _root(path: str) -> str:
    """The argument in a fault's path: `multi_prompt` in `multi_prompt[2].duration`."""
    return path.partition(".")[0].partition("[")[0]


def _default(draft: Draft[Request], name: str) -> Any:
    """The value of an argument that is left out; None for one that there is not."""
    field = type(draft.arguments).model_fields.get(name)
    return field.get_default(call_default_factory=True) if field else None


def _variant(
    draft: Draft[Request],
    tried: Draft[Request],
    found: Review,
    leave_out: Sequence[str],
    wanted: Mapping[str, Any],
) -> Variant:
    before, after = draft.arguments, tried.arguments
    chosen = wanted.keys() - before.model_fields_set
    always = found.row is not None and found.row.always_sound
    setting = replace(after.setting, duration=found.request.setting.duration)
    sound = "with sound" if setting.sound == "on" or always else "no sound"
    sound = "" if "sound" in after.absent else sound
    made = (f"{setting.duration} s", sound) if setting.duration else (setting.words(),)
    what = (found.model_name, found.mode, *made)
    return Variant(
        change={
            name: _as_argument(getattr(after, name))
            for name in type(before).model_fields
            if name not in (*leave_out, *before.absent)
            and (name in draft.invalid | chosen or getattr(before, name) != getattr(after, name))
        }
        | dict.fromkeys(leave_out, ""),
        makes=f"{' '.join(part for part in what if part)}, {found.estimate}",
        estimate_units=found.estimate.units,
        estimate_usd=found.estimate.usd,
    )


def _as_argument(value: Any) -> Any:
    """The value as a caller writes it."""
    if isinstance(value, list):
        return [
            part.model_dump(include={"prompt", "duration"}) if isinstance(part, Shot) else part
            for part in value
        ]
    if value is None:
        return ""
    return value.model_dump(exclude_defaults=True) if isinstance(value, BaseModel) else value
