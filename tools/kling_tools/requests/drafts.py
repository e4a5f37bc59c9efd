"""Reads raw arguments leniently: it keeps the good fields and names every fault.

A request with one bad field is still judged as a whole, so that a caller hears of all faults at
once. A `Draft` holds the request with the bad fields at their defaults, the names of those fields
(rules about them keep silent), and the faults.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar, get_args

from annotated_types import MaxLen
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from kling_tools.faults import MOST_FAULTS, Fault, Verdict
from kling_tools.quoting import clipped, counted
from kling_tools.requests.fields import PROMPT_LIMIT
from kling_tools.requests.host_habits import CAPS, EXAMPLES, IN_MONEY, blanks, given, instead_of
from kling_tools.requests.normalize import meant, units_for

__all__ = ["Draft", "read_draft"]

MOST_VALUES = 3000
"""The most values in all lists and objects of one call. The largest that Kling takes, six masks
with paths of 77 points, have half as many."""

_PICTURE = re.compile(
    r"^data:image/|\.(?:png|jpe?g|webp|heic|avif|gif|bmp|tiff?)(?:\?|$)", re.IGNORECASE
)
_JSON_TEXT = re.compile(r"\s*[\[{]")

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 60

MOST_NAMED = 5
"""Entries that an error names of those that are too many."""

SHOWN = 40
"""Characters that an error shows of a name or value of the caller's."""

ArgumentsT = TypeVar("ArgumentsT", bound=BaseModel)
ArgumentsT_co = TypeVar("ArgumentsT_co", bound=BaseModel, covariant=True)


@dataclass(slots=True)
class Draft(Generic[ArgumentsT_co]):
    """The readable arguments; `invalid` names the unreadable fields, which have their defaults,
    `blank` the arguments that the call gives and leaves blank. `meant` has the values that
    unreadable ones probably mean, for a person to agree to. So many of its elements are known to be
    `characters`, made of a video."""

    arguments: ArgumentsT_co
    invalid: frozenset[str] = frozenset()
    verdict: Verdict = field(default_factory=Verdict)
    blank: frozenset[str] = frozenset()
    meant: Mapping[str, Any] = field(default_factory=dict)
    characters: int = 0

    @property
    def is_unreadable(self) -> bool:
        """Whether nothing of the request is known, so that it can be neither judged nor priced."""
        return self.invalid.issuperset(type(self.arguments).model_fields)


MESSAGES: dict[str, str] = {
    "string_too_long": "at most {max_length} characters, this has {length}",
    "string_too_short": "must not be empty",
    "string_type": "must be text, not {kind}",
    "string_pattern_mismatch": "{input} is not a whole number of seconds",
    "literal_error": "{input} is not one of its values",
    "bool_parsing": "must be true or false, not {input}",
    "bool_type": "must be true or false, not {kind}",
    "float_parsing": "must be a number, not {input}",
    "float_type": "must be a number, not {kind}",
    "finite_number": "must be a finite number",
    "int_parsing": "must be a whole number, not {input}",
    "int_type": "must be a whole number, not {kind}",
    "int_from_float": "must be a whole number, not {input}",
    "int_parsing_size": "is too large a number",
    "greater_than": "must be more than {gt}, not {input}",
    "greater_than_equal": "must be at least {ge}, not {input}",
    "less_than_equal": "must be at most {le}, not {input}",
    "too_long": "at most {most}, this has {actual_length}",
    "too_short": "at least {least}, this has {actual_length}",
    "list_type": "must be a list, not {kind}",
    "missing": "is required",
    "value_error": "{error}",
    "model_type": "must be an object, not {kind}",
    "dict_type": "must be an object, not {kind}",
    "model_attributes_type": "must be an object, not {kind}",
    "extra_forbidden": "is not an argument of this call",
}
"""Pydantic's error types in words for the sender of the value."""

NO_NUMBER = ("float_type", "float_parsing", "finite_number")

ADVICE: dict[str, str] = {
    "string_too_long": "a shorter text",
    "string_pattern_mismatch": '"5"',
    "literal_error": "{expected}",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} or less",
    "too_long": "{most} or fewer",
    "too_short": "{least} or more",
}

ONE_OF_SEVERAL: dict[str, str] = {
    "image": "one picture; kling_multi_image_to_video takes several in image_list",
    "image_tail": "one picture",
    "task_id": "one task_id; call once for each task",
}
"""What to give instead of a list."""

LISTS_CUT = frozenset({"element_list", "voice_list"})
"""The lists of which the nearest request keeps the first entries where there are too many."""

NUMBERS_CUT = frozenset({"n", "voice_speed"})
"""The numbers in the place of which the nearest request has the nearest that Kling takes."""

ZERO_CAP = "0 beside other blank arguments is read as left out: no limit for this call."
"""Hosts fill in 0 for a missing value; a caller who meant `spend nothing` has to hear of it."""

ONE_PICTURE = Fault("n", "zero_is_default", "0 is read as left out: 1 picture.")

FILLED_IN = 2
"""Other blank arguments beside which a cap of 0 is one that a host filled in."""

_KINDS = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "true/false",
    float: "a decimal number",
    type(None): "null",
}


def read_draft(arguments_class: type[ArgumentsT], raw: Mapping[str, Any]) -> Draft[ArgumentsT]:
    """Read raw arguments. It raises nothing, whatever a caller sends.

    A blank value (see `host_habits`) means the field's default, as a missing field does. So every
    field of the class has a default; whether it is required is a rule.
    """
    names = set(arguments_class.model_fields) - getattr(arguments_class, "absent", frozenset())
    if crowd := _crowd(raw, names):
        faults = [*_uncounted(arguments_class, raw, ())] or [crowd]
        return Draft(arguments_class(), frozenset(names), Verdict(faults=faults))
    blank = blanks(raw, names)
    zeros = sorted(n for n in CAPS & names & blank if _is_zero(raw[n]))
    filled_in = len(blank) > FILLED_IN
    warnings = [*map(_no_limit, zeros)] if filled_in else []
    if "n" in names and raw.get("n") == 0 and raw["n"] is not False:
        warnings.append(ONE_PICTURE)
    raw = given(raw, set(arguments_class.model_fields))
    strange = [
        Fault(name, "extra_forbidden", f"{MESSAGES['extra_forbidden']}.", instead_of(name, names))
        for name in sorted(raw.keys() & arguments_class.model_fields.keys() - names)
    ]
    raw = {name: value for name, value in raw.items() if name not in {f.field for f in strange}}
    if not filled_in:
        raw, blank = {**raw, **dict.fromkeys(zeros, 0)}, blank.difference(zeros)
    try:
        read = arguments_class.model_validate(raw)
        return Draft(read, verdict=Verdict(strange, warnings), blank=blank)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=True)
    bad = {str(detail["loc"][0]) for detail in details if detail["loc"]}
    rest = {name: value for name, value in raw.items() if name in names - bad}
    told, more = details[:MOST_FAULTS], details[MOST_FAULTS:]
    verdict = Verdict([*strange, *(_fault(detail, names) for detail in told)], warnings)
    verdict.faults.extend(Fault(str(detail["loc"][0]), detail["type"], "") for detail in more)
    verdict.faults.extend(_uncounted(arguments_class, raw, verdict.faults))
    likely = {
        name: meant(name, raw[name], _choices(arguments_class, name))
        for name in bad & names & raw.keys()
    }
    likely |= _first_entries(arguments_class, details) | _nearest_numbers(details)
    if "camera_control" in bad and "prompt" not in bad:
        likely["prompt"] = _with_camera(raw.get("prompt"), raw.get("camera_control"))
    if "max_units" in names - raw.keys():
        amounts = (units_for(raw[name]) for name in raw if name in IN_MONEY)
        likely["max_units"] = next(amounts, None)
    verdict.faults[:] = [
        replace(fault, use=f'"{likely["duration"]}"')
        if fault.field == "duration" and likely.get("duration")
        else fault
        for fault in verdict.faults
    ]
    return Draft(
        arguments_class.model_validate(rest),
        frozenset(bad & names),
        verdict,
        blank,
        {name: value for name, value in likely.items() if value is not None},
    )


def _is_zero(value: Any) -> bool:
    return isinstance(value, int | float) and value == 0 and value is not False


def _no_limit(cap: str) -> Fault:
    use = "dry_run, which sends nothing, or a number above 0"
    return Fault(cap, "zero_is_no_limit", ZERO_CAP, use)


def _first_entries(
    arguments_class: type[BaseModel], details: Sequence[ErrorDetails]
) -> dict[str, list[Any]]:
    """The lists of ids and names that are too long, cut to as many entries as are taken."""
    found = {}
    for detail in details:
        name, *inner = detail["loc"] or ("",)
        if detail["type"] != "too_long" or inner or name not in LISTS_CUT:
            continue
        first = list(detail["input"])[: detail["ctx"]["max_length"]]
        try:
            read = arguments_class.model_validate({str(name): first})
        except ValidationError:
            continue
        found[str(name)] = getattr(read, str(name))
    return found


def _nearest_numbers(details: Sequence[ErrorDetails]) -> dict[str, float]:
    """The limits of the numbers that lie beyond them."""
    bounds = {"less_than_equal": "le", "greater_than_equal": "ge"}
    return {
        str(detail["loc"][0]): detail["ctx"][bounds[detail["type"]]]
        for detail in details
        if detail["loc"] and detail["loc"][0] in NUMBERS_CUT and detail["type"] in bounds
    }


def _choices(arguments_class: type[BaseModel], name: str) -> tuple[Any, ...]:
    """The values of an argument that has so many and no others; empty for any other."""
    return get_args(arguments_class.model_fields[name].annotation)


def _with_camera(prompt: Any, move: Any) -> str | None:
    """The prompt that also says a camera move in words of the caller's; None for other moves."""
    if not isinstance(prompt, str) or not isinstance(move, str) or _JSON_TEXT.match(move):
        return None
    said = f"{prompt.strip().rstrip('.')}. Camera: {move.strip()}."
    return said if prompt.strip() and len(said) <= PROMPT_LIMIT else None


def _crowd(raw: Mapping[str, Any], names: set[str]) -> Fault | None:
    """The fault of a call with so many values that judging them would keep others waiting; None for
    any other call."""
    unknown = [name for name in raw if name not in names]
    left = MOST_VALUES - len(unknown)
    if left < 0:
        message = f"{len(unknown):,} of them are not arguments of this call."
        return Fault("arguments", "extra_forbidden", message, "those of the tool's schema")
    for name in names & set(raw):
        left -= _values_in(raw[name], left)
        if left < 0:
            message = f"with it the call has more than {MOST_VALUES:,} values."
            return Fault(name, "too_many_values", message, "shorter lists")
    return None


def _values_in(value: Any, most: int) -> int:
    """The number of values, with those in lists, objects and JSON text. It stops counting above
    `most`."""
    count, waiting = 0, [value]
    while waiting and count <= most:
        value = waiting.pop()
        count += 1
        if isinstance(value, Mapping):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple):
            waiting.extend(value)
        elif isinstance(value, str) and _JSON_TEXT.match(value):
            count += sum(map(value.count, "[{,"))
    return count


def _uncounted(
    arguments_class: type[BaseModel], raw: Mapping[str, Any], faults: Sequence[Fault]
) -> Iterator[Fault]:
    """Faults of lists that are too long, which pydantic does not name beside faults of entries."""
    told = {fault.field for fault in faults}
    for name, info in arguments_class.model_fields.items():
        limits = [limit.max_length for limit in info.metadata if isinstance(limit, MaxLen)]
        value = raw.get(name)
        if not limits or not isinstance(value, list) or not isinstance(info.default, list):
            continue
        if len(value) > limits[0] and name not in told:
            facts = {"most": _entries(limits[0]), "actual_length": len(value)}
            message = MESSAGES["too_long"].format_map(facts)
            yield Fault(name, "too_long", f"{message}.", ADVICE["too_long"].format_map(facts))


def _fault(detail: ErrorDetails, names: set[str]) -> Fault:
    kind, value = detail["type"], detail["input"]
    if kind in ("too_long", "too_short") and isinstance(value, str):
        kind = f"string_{kind}"
    if kind == "float_type" and type(value) is int:
        kind = "finite_number"  # too large for a float
    ctx = detail.get("ctx", {})
    facts = {
        **ctx,
        "most": _entries(ctx.get("max_length")),
        "least": _entries(ctx.get("min_length")),
        "input": _shown(value),
        "kind": _KINDS.get(type(value), "a number"),
        "length": len(value) if isinstance(value, str) else 0,
    }
    path = "".join(f"[{p}]" if isinstance(p, int) else f".{_name(p)}" for p in detail["loc"])[1:]
    message = MESSAGES[kind].format_map(facts) if kind in MESSAGES else detail["msg"].lower()
    if kind == "literal_error":
        facts["expected"] = str(facts["expected"]).removeprefix("'', ")
    use = ADVICE.get(kind, "").format_map(facts)
    if kind == "string_type" and isinstance(value, list):
        use = ONE_OF_SEVERAL.get(path, "")
    if kind == "too_long" and path in LISTS_CUT:
        rest = list(value)[ctx["max_length"] :]
        use += f", without {' and '.join(map(_shown, rest[:MOST_NAMED]))}"
        use += f" and {len(rest) - MOST_NAMED} more" if len(rest) > MOST_NAMED else ""
    if kind == "extra_forbidden":
        use = instead_of(path, names)
    elif kind in ("missing", "model_type", "dict_type", "int_type", *NO_NUMBER):
        use = EXAMPLES.get(_last(path), use)
        if _last(path) == "shots" and isinstance(value, str) and _PICTURE.search(value):
            use = json.dumps({"image": value[:200], "prompt": "what happens"}, ensure_ascii=False)
    return Fault(path, kind, f"{message}.", use)


def _entries(count: int | None) -> str:
    return counted(count or 0, "entry", "entries")


def _last(path: str) -> str:
    """The last name in a path without its index: `multi_prompt` for `multi_prompt[0]`."""
    return path.rpartition(".")[2].partition("[")[0]


def _name(part: str) -> str:
    """A name that the caller chose, safe to show: printable, at most SHOWN characters."""
    printable = "".join(ch if ch.isprintable() else "?" for ch in part)
    return clipped(printable, SHOWN)


def _shown(value: object) -> str:
    return clipped(_repr.repr(value), SHOWN)
