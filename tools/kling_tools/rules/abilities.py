"""Compares a request with the abilities of its model in the capability table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kling_tools.faults import Fault, Verdict
from kling_tools.products import Product
from kling_tools.quoting import counted
from kling_tools.requests.drafts import Draft
from kling_tools.requests.requests import Combination, Request
from kling_tools.rules.capabilities import (
    Capabilities,
    Feature,
    ProductRow,
    ProviderTerms,
    Wire,
)

__all__ = ["apply_abilities", "wire_mode"]


@dataclass(frozen=True, slots=True)
class _Ability:
    """A feature, and the fields that together ask for it: all in `given` and none in `missing`. A
    fault names the first of them. The row keeps silent while one of them is unreadable."""

    feature: Feature
    noun: str
    given: tuple[str, ...]
    missing: tuple[str, ...] = ()


ABILITIES: tuple[_Ability, ...] = (
    _Ability("image_tail", "an end frame", ("image_tail", "image")),
    _Ability("image_tail_alone", "an end frame without a first frame", ("image_tail",), ("image",)),
    _Ability("motion_brush", "the motion brush", ("static_mask",)),
    _Ability("motion_brush", "the motion brush", ("dynamic_masks",)),
    _Ability("camera_control", "camera_control", ("camera_control",)),
    _Ability("cfg_scale", "cfg_scale", ("cfg_scale",)),
    _Ability("sound", "sound", ("sound",)),
    _Ability("voice_list", "voices", ("voice_list",)),
    _Ability("element_list", "elements", ("element_list",)),
    _Ability("multi_shot", "multi-shot", ("multi_shot",)),
    _Ability("fidelity", "image_reference", ("image_reference",)),
    _Ability("fidelity", "image_fidelity", ("image_fidelity",)),
    _Ability("fidelity", "human_fidelity", ("human_fidelity",)),
    _Ability(
        "multi_shot_tail", "an end frame together with multi-shot", ("image_tail", "multi_shot")
    ),
)

WITHOUT: dict[Feature, str] = {
    "motion_brush": "no brush: say in the prompt what moves and what stays still",
    "camera_control": "no camera_control: describe the camera move in the prompt",
    "cfg_scale": "no cfg_scale",
    "multi_shot_tail": "either multi_shot or image_tail",
    "image_tail_alone": "image, the first frame, as well",
    "sound": '"off"',
}
"""Advice for features that no living model has."""


def wire_mode(row: ProductRow | None, mode: str) -> str | None:
    """The mode to send; None for a model without modes (the master models)."""
    return None if row is not None and not row.modes else mode


STANDARDS: dict[Wire, str] = {"legacy": "older standard", "new": "new standard"}


def apply_abilities(
    draft: Draft[Request],
    model_name: str,
    product: Product,
    capabilities: Capabilities,
    terms: ProviderTerms,
    wire: Wire | None,
) -> Verdict:
    """The faults and warnings of the table for a request that goes by this standard; an unknown
    model passes with a warning."""
    row = capabilities.product_row(model_name, product)
    verdict = _alive(model_name, product, capabilities, terms)
    if row is None:
        verdict.extend(_unknown(model_name, product, capabilities, terms))
        seconds = draft.arguments.setting.duration
        chosen = seconds and "duration" not in draft.arguments.absent
        if chosen and not 3 <= int(seconds) <= 15:
            verdict.faults.append(
                Fault("duration", "duration_range", "Kling makes 3 to 15 s.", '"5"', "S2")
            )
        return verdict
    verdict.faults.extend(_form(draft, model_name, row))
    given = draft.arguments.given()
    for ability in ABILITIES:
        asked = given.issuperset(ability.given) and given.isdisjoint(ability.missing)
        if asked and draft.invalid.isdisjoint((*ability.given, *ability.missing)):
            _judge(ability, draft, model_name, product, capabilities, terms, verdict)
    if wire is None:
        only = STANDARDS[next(iter(row.wires))]
        message = f"{model_name} is on Kling's {only} only, which {terms.name} does not offer here."
        use = " or ".join(capabilities.nearest(model_name, product, terms)[:2])
        verdict.faults.append(Fault("model_name", "wire_of_model", message, use, row.source))
    else:
        told = {fault.field for fault in verdict.faults} | draft.invalid
        for name, use in capabilities.on_wire(model_name, product, wire).lacks.items():
            if name in given - told:
                message = f"Kling's {STANDARDS[wire]} has no {name}, and {model_name} goes by it."
                verdict.faults.append(Fault(name, "field_of_model", message, use, row.source))
    if row.always_sound and draft.arguments.setting.sound == "off" and "sound" not in draft.invalid:
        message = f"each video of {model_name} has sound; it cannot be switched off."
        verdict.warnings.append(Fault("sound", "always_sound", message, "", row.source))
    return verdict


def _unknown(
    name: str, product: Product, capabilities: Capabilities, terms: ProviderTerms
) -> Verdict:
    """What a model's name that the table has not, or not in this product, means: a fault for a
    misspelt one and for one that is no name of Kling's, a warning for one that may be new."""
    if not name or name in capabilities.models:
        return Verdict()
    meant, nearest = capabilities.meanings(name, [product]), capabilities.nearest
    if meant:
        with_mode = capabilities.mode_in(name)
        use = f'{with_mode[0]} with mode "{with_mode[1]}"' if with_mode else " or ".join(meant)
        message = f"there is no {name}: did you mean {use}?"
        return Verdict([Fault("model_name", "model_spelling", message, use)])
    if not capabilities.may_be_new(name) and name not in terms.default_models.values():
        message = f"{name} is not a model of Kling's."
        use = " or ".join(capabilities.living([product], terms.wires))
        return Verdict([Fault("model_name", "model_not_of_kling", message, use)])
    known = ", ".join(nearest(name, product, terms))
    message = f"{name} is not in the capability table. It is passed on unchecked."
    return Verdict(
        warnings=[Fault("model_name", "model_unknown", message, f"a known model: {known}")]
    )


def _alive(
    model_name: str, product: Product, capabilities: Capabilities, terms: ProviderTerms
) -> Verdict:
    """Whether the provider makes videos with the model today. Its own refusal within the last day
    counts, and at Kling itself a retirement that is certain; elsewhere that is a warning."""
    model, end = capabilities.models.get(model_name), capabilities.retirement(model_name, product)
    use = end.successor if end else ""
    if model and model.preview:
        message = (
            f"{model_name} is turned off: only resellers offer it, and Kling has published neither "
            "its page nor its price."
        )
        use = " or ".join(capabilities.nearest(model_name, product, terms)[:1])
        use = f"{use}; the person can turn it on with KLING_MCP_MODELS_PREVIEW=true".lstrip("; ")
        return Verdict([Fault("model_name", "model_preview", message, use)])
    if (product, model_name) in terms.retired:
        message = f"{terms.name} refused {model_name} as retired within the last day."
        use = use or " or ".join(
            name
            for name in capabilities.nearest(model_name, product, terms)
            if (product, name) not in terms.retired and name != model_name
        )
        return Verdict([Fault("model_name", "model_retired", message, use)])
    if end is None:
        return Verdict()
    state = "has been retired" if end.certain else "may have been retired"
    if end.certain and terms.official:
        message = f"{model_name} {state}: {end.note}."
        return Verdict([Fault("model_name", "model_retired", message, use, end.source)])
    still = "" if terms.official else f" {terms.name} may still offer it."
    message = f"{model_name} {state}: {end.note}.{still}"
    return Verdict(warnings=[Fault("model_name", "model_retired", message, use, end.source)])


def _form(draft: Draft[Request], model_name: str, row: ProductRow) -> Iterator[Fault]:
    """Faults of mode, duration and number of pictures."""
    request = draft.arguments
    source, asked = row.source, request.setting
    field = request.setting_fields["mode"]
    if row.modes and field not in draft.invalid and asked.mode not in row.modes:
        message = f"{model_name} has no {field} {asked.mode}."
        if asked.mode not in getattr(request, "modes", (*row.modes, asked.mode)):
            message = f"no model has {field} {asked.mode} here."
        yield Fault(field, "mode_of_model", message, " or ".join(row.modes), source)
    if not row.modes and asked.mode != request.steps[0]:
        message = f"{model_name} has no modes."
        yield Fault(field, "mode_of_model", message, "no mode", source)
    seconds = asked.duration
    unread = draft.invalid | request.unsent()
    if seconds and "duration" not in unread and seconds not in row.durations:
        message = f"{model_name} makes {_listed(row.durations)} s, not {seconds}."
        nearest = min(row.durations, key=lambda d: abs(int(d) - int(seconds)), default="5")
        yield Fault("duration", "duration_of_model", message, f'"{nearest}"', source)
    ratio = getattr(request, "aspect_ratio", "")
    wrong = bool(ratio and row.aspect_ratios) and ratio not in row.aspect_ratios
    if wrong and "aspect_ratio" not in draft.invalid:
        message = f"{model_name} has no aspect_ratio {ratio}."
        use = f'"{row.aspect_ratios[0]}"'
        yield Fault("aspect_ratio", "ratio_of_model", message, use, source)
    yield from _material(draft, model_name, row)


def _material(draft: Draft[Request], model_name: str, row: ProductRow) -> Iterator[Fault]:
    """Faults of the number of pictures and elements, where a list of pictures is taken."""
    counts = draft.arguments.references()
    if "image" not in counts or not draft.invalid.isdisjoint(("image_list", "element_list")):
        return
    pictures, elements = counts["image"], counts.get("element", 0)
    others, beside = pictures + elements - draft.characters, ""
    most = row.images
    if draft.characters and row.characters:
        most, beside = row.beside_characters, " beside an element of a video"
    with_video = " with a video" if counts.get("video") else ""
    if draft.characters > row.characters:
        some = counted(row.characters, "element") if row.characters else "no element"
        message = f"{model_name} takes {some} of a video{with_video}, not {draft.characters}."
        use = "elements that are made of pictures"
        yield Fault("element_list", "characters_of_model", message, use, row.source)
    elif others > most:
        field = "image_list" if pictures else "element_list"
        if elements or most != row.images:
            what = f"up to {counted(most, 'picture')} and elements together" if most else "nothing"
            use = "fewer pictures or elements"
        else:
            what, use = f"up to {counted(most, 'picture')}", "fewer pictures"
        message = f"{model_name} takes {what}{with_video}{beside}, not {others}."
        yield Fault(field, "images_of_model", message, use, row.source)


def _judge(
    ability: _Ability,
    draft: Draft[Request],
    model_name: str,
    product: Product,
    capabilities: Capabilities,
    terms: ProviderTerms,
    verdict: Verdict,
) -> None:
    row = capabilities.product_row(model_name, product)
    assert row is not None
    answers = {row.allows_it(ability.feature, c) for c in _combinations(draft, row)}
    if "yes" in answers:
        return
    field, rule = ability.given[0], f"{ability.feature}_of_model"
    if "?" in answers:
        message = f"sources disagree on whether {model_name} takes {ability.noun}."
        verdict.warnings.append(Fault(field, rule, message, "", row.source))
        return
    asked = draft.arguments.setting
    mode = wire_mode(row, asked.mode)
    where = ", ".join(filter(None, (mode, f"{asked.duration} s" if asked.duration else "")))
    here = f"{model_name} ({where})" if mode else model_name
    verdict.faults.append(
        Fault(
            field,
            rule,
            f"{here} does not take {ability.noun}.",
            _instead(ability.feature, model_name, product, capabilities, terms),
            row.source,
        )
    )


def _combinations(draft: Draft[Request], row: ProductRow) -> Iterator[Combination]:
    """The request's combinations; a faulty mode or duration counts as any that the model has."""
    request, asked = draft.arguments, draft.arguments.setting
    modes = (asked.mode,) if asked.mode in row.modes else (row.modes or ("-",))
    durations = (asked.duration,) if asked.duration in row.durations else row.durations
    unread = request.setting_fields["mode"] in draft.invalid
    for mode in modes if not unread else row.modes:
        for duration in (durations if "duration" not in draft.invalid else row.durations) or ("",):
            combination = request.combination(mode)
            yield Combination(mode, duration, combination.details)


def _instead(
    feature: Feature,
    model_name: str,
    product: Product,
    capabilities: Capabilities,
    terms: ProviderTerms,
) -> str:
    """Advice where to get the feature: other settings of this model, then other living models."""
    ways: list[str] = []
    for name in (model_name, *capabilities.living([product], terms.wires)):
        row = capabilities.product_row(name, product)
        sure = tuple(p for p in row.patterns(feature) if not p.endswith("?")) if row else ()
        if row is None or not sure or (name == model_name and ways):
            continue
        if name == model_name:
            ways.append(_in_words(sure, row))
        else:
            ways.append(f'model_name "{name}" {_in_words(sure, row)}'.rstrip())
    return "; or ".join(ways) or WITHOUT.get(feature, f"a request without {feature}")


def _in_words(patterns: tuple[str, ...], row: ProductRow) -> str:
    """Patterns as advice, such as `mode pro with sound off` if they hold for every duration."""
    if "*" in patterns:
        return ""
    what = {pattern.partition(" ")[0] for pattern in patterns}
    if "*" in what:
        return " or ".join(f"with {p.partition(' ')[2].replace('=', ' ')}" for p in patterns)
    conditions = {pattern.partition(" ")[2].replace("=", " ") for pattern in patterns}
    modes = sorted({w.partition("/")[0] for w in what})
    everywhere = all(
        {f"{mode}/{d}" for d in row.durations} <= what or f"{mode}/*" in what for mode in modes
    )
    text = f"mode {' or '.join(modes)}"
    if not everywhere:
        text = " or ".join(f"mode {w.replace('/', ' duration ')}" for w in sorted(what))
    (condition,) = conditions if len(conditions) == 1 else ("",)
    return f"{text} with {condition}" if condition else text


def _listed(values: tuple[str, ...]) -> str:
    """The values in words: `5 or 10`, or `3-15` for three or more consecutive numbers."""
    if len(values) > 2 and all(v.isdecimal() for v in values):
        numbers = [int(v) for v in values]
        if numbers == list(range(numbers[0], numbers[-1] + 1)):
            return f"{numbers[0]}-{numbers[-1]}"
    return " or ".join(values)
