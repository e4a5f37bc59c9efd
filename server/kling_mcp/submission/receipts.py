"""The answer to a create call: a receipt of what was sent, or of what a dry run would send."""

from __future__ import annotations

from collections.abc import Sequence

from kling_mcp.inputs.picture import Picture
from kling_mcp.ledger import Record
from kling_mcp.submission.judged_request import JudgedRequest
from kling_tools.faults import Fault, Variant, asking, shortened
from kling_tools.products import OLDEST, PRODUCTS
from kling_tools.requests.arguments import SpendingChoices
from kling_tools.requests.speech_voices import spoken
from kling_tools.results import ENDED, SANDBOX_NOTES, FaceView, Receipt

__all__ = [
    "ask_for_face",
    "bare_receipt",
    "dry_run_receipt",
    "faces_receipt",
    "instead_of_chosen",
    "receipt",
]


def receipt(
    judged: JudgedRequest,
    record: Record,
    *,
    repeated: bool,
    saves: bool,
    takes: Sequence[int] = (),
) -> Receipt:
    """The receipt of a task: new, or (`repeated`) one that was made before, of which these takes
    exist."""
    answer = _outline(judged)
    answer.task_id = record.handle
    answer.status = record.status
    answer.repeated = repeated or None
    if repeated:
        answer.sent = []
        answer.not_sent = []
        told = ("Nothing was sent or charged now.", _too_late(judged, record), answer.note)
        answer.note = " ".join(filter(None, told))
    noun = PRODUCTS[judged.review.product].result
    then = f"the {noun} is saved when it is done" if saves else "then kling_save_video"
    answer.next = f'kling_wait_for_tasks with task_ids ["{record.handle}"]; {then}.'
    if record.take > 1:
        answer.next += f" {COMPARE}"
    if judged.is_same_as_earlier:
        answer.sent = []
    if record.status == "queued":
        answer.sent, answer.will_send = [], answer.sent
        answer.next = f"{QUEUED} {answer.next}"
    if repeated:
        more = _one_more(judged, record, takes)
        if record.status in ENDED:
            answer.next = f'kling_get_task with task_id "{record.handle}"; {more}'
        elif judged.earlier or len(takes) > 1:
            answer.next += f" {more}"
    return answer


def faces_receipt(judged: JudgedRequest, seen: Sequence[tuple[float, float]]) -> Receipt:
    """The answer about a video with several faces, each seen from when to when (seconds), of which
    the caller has to choose one."""
    answer = _outline(judged)
    answer.sent, answer.not_sent = [], []
    ask_for_face(answer, seen)
    return answer


def ask_for_face(answer: Receipt, seen: Sequence[tuple[float, float]]) -> None:
    """Have the answer show the faces and ask for one of them."""
    answer.faces = [
        FaceView(face=number, from_s=begins, to_s=ends)
        for number, (begins, ends) in enumerate(seen, start=1)
    ]
    answer.next = CHOOSE


CHOOSE = (
    "Ask the person which one speaks; then call again with the same arguments and face, its number."
)


def _too_late(judged: JudgedRequest, record: Record) -> str:
    """A sentence that names the arguments which a request that was made before can no longer get;
    empty without any."""
    url = judged.body.fields.get("callback_url")
    other = {
        "callback_url": url and url != record.request.get("callback_url"),
        "external_task_id": judged.external_task_id not in ("", record.external_task_id),
    }
    names = [name for name in other if other[name]]
    if not names:
        return ""
    verb, them = ("has", "it") if len(names) == 1 else ("have", "them")
    return f"{' and '.join(names)} {verb} no effect: the task was made before without {them}."


def _one_more(judged: JudgedRequest, record: Record, takes: Sequence[int]) -> str:
    """How to make one more take of a request that was made before."""
    free = max((record.take, *takes)) + 1
    exist = f"{len(takes)} takes of it exist. " if len(takes) > 1 else ""
    if judged.review.product not in OLDEST and not record.is_unanswered:
        return exist + ANOTHER.format(record.handle)
    if judged.earlier:
        return f"{exist}Add take {free} to make one more."
    if exist or record.is_unanswered:
        return f'{exist}another_take_of "{record.handle}" with take {free} makes one more.'
    return ANOTHER.format(record.handle)


def bare_receipt(record: Record, *, repeated: bool) -> Receipt:
    """What the ledger knows of a task, for when the whole receipt cannot be made."""
    return Receipt(
        task_id=record.handle,
        status=record.status,
        provider=record.provider,
        model_name=record.model_name,
        duration_s=None,
        take=record.take,
        estimate_units=record.estimate_units,
        repeated=repeated or None,
        next=f'kling_wait_for_tasks with task_ids ["{record.handle}"].',
    )


ANOTHER = 'another_take_of "{}" makes another version.'
COMPARE = "Compare the takes with kling_look."
TELL_THE_PRICE = "Tell the person the price; then submit without dry_run."
NO_PRICE = "Tell the person that the price is not known; then submit without dry_run."

NO_MODEL = "Ask the person for another wish: no current model makes this one."
NO_MODEL_UNDER_CAPS = NO_MODEL.replace("this one", "this one under the caps")

QUEUED = (
    "No slot was free: the request is queued here and sent when one is, while this server runs. "
    "kling_cancel_task withdraws it."
)


def dry_run_receipt(
    judged: JudgedRequest,
    made: Record | None,
    asked_by: str = "",
    would_pass: Variant | None = None,
    *,
    otherwise: str = "",
    has_caps: bool = False,
    takes: Sequence[int] = (),
) -> Receipt:
    """What would be sent, with pictures in a few words, and every fault.

    `made` is the row of the very same request if it was sent before, and `takes` are those that
    exist of it; `asked_by` is the setting
    that requires the person's consent to this price, empty when none does. `would_pass` is the
    nearest request that passes, for a refused one or for a retired model, and `otherwise` says
    with what this one does; `has_caps` says whether a cap narrowed the search.
    """
    answer = _outline(judged)
    answer.dry_run = True
    if len(judged.offers) > 1 and judged.chosen_because:
        units = answer.estimate_units
        answer.prices = [offer.of_units(units) for offer in judged.offers]
    answer.sent = []
    answer.faults = [fault.facts() for fault in shortened(judged.review.verdict.faults)]
    if judged.arguments.dry_run == "full" and judged.body.can_be_shown:
        answer.request = {
            "method": "POST",
            "path": judged.body.path,
            "body": judged.body.preview(judged.external_task_id),
        }
    answer.next = TELL_THE_PRICE if answer.estimate_units is not None else NO_PRICE
    if asked_by:
        answer.next += (
            f" They are then asked to agree ({asked_by}); a host that cannot ask them is refused."
        )
    if judged.retired:
        answer.next = NO_MODEL_UNDER_CAPS if has_caps else NO_MODEL
    if answer.faults:
        by_rules = any(fault["rule"] != "spend_cap" for fault in answer.faults)
        correct = "Correct the faults, then submit." if by_rules else None
        answer.next = asking(would_pass, otherwise) or correct
    if would_pass:
        answer.would_pass = would_pass
        answer.next = asking(would_pass, otherwise)
    if made is not None and not answer.faults:
        answer.note = " ".join(filter(None, (_too_late(judged, made), answer.note))) or None
        again = "returns that one and costs nothing"
        if made.is_unanswered:
            again = "looks for that one first, and never pays it twice"
        answer.next = (
            f'It was made before as task "{made.handle}" ({made.status}): submitting it again '
            f"{again}; {_one_more(judged, made, takes)}"
        )
    return answer


PRICED_BY = frozenset(
    {
        *("model_name", "mode", "duration", "sound", "voice_list", "resolution", "n"),
        *("video", "sound_file", "sound_end_time", "text"),
    }
)
"""The arguments that set the price."""


def _unsettles_price(fault: Fault) -> bool:
    """Whether the fault is about what sets the price, so that there is none; silence has one."""
    return fault.field in PRICED_BY and fault.rule != "speech_without_sound"


def _outline(judged: JudgedRequest) -> Receipt:
    review, arguments = judged.review, judged.arguments
    asked, result = arguments.setting, PRODUCTS[review.product].result
    played = SANDBOX_NOTES[result] if judged.provider.sandbox else ""
    sent = [] if review.verdict.faults else judged.body.names()
    ours = SpendingChoices.model_fields.keys() | {"fit", *arguments.absent}
    body_names = PRODUCTS[review.product].body_names
    fields = [name for name in type(arguments).model_fields if name not in ours]
    given = arguments.given() & arguments.model_fields_set
    priced = not any(map(_unsettles_price, review.verdict.faults))
    not_sent = [name for name in fields if name in given and body_names.get(name, name) not in sent]
    return Receipt(
        provider=judged.provider.name,
        model_name=review.model_name,
        mode=review.mode,
        duration_s=int(asked.duration) if asked.duration and _has_length(judged) else None,
        sound="on" if asked.sound == "on" else None,
        n=None if asked.duration or "n" in judged.draft.invalid else asked.count,
        take=arguments.take,
        estimate_units=judged.price.units if priced else None,
        estimate_usd=judged.price.usd if priced else None,
        price_from=judged.price.price_from if priced else None,
        unit=PRODUCTS[review.product].other_unit,
        pictures=[_picture_text(picture) for picture in judged.pictures]
        + [f"{medium.field}: {medium.shown()}" for medium in judged.media],
        video=_video_size(judged),
        sent=sent,
        not_sent=not_sent if sent else [],
        warnings=[str(warning) for warning in shortened(review.verdict.warnings)],
        note=" ".join(filter(None, (_chosen(judged), judged.as_of, _steps_text(judged), played)))
        or None,
    )


def _chosen(judged: JudgedRequest) -> str:
    """Which provider the server chose, and why; empty where the caller named it."""
    because = judged.chosen_because
    return f"{judged.provider.name} was chosen: {because}." if because else ""


def instead_of_chosen(judged: JudgedRequest) -> str:
    """Advice to name another provider that can make the request, where the chosen one makes nothing
    for this account. The server does not move on by itself: another price is another wish."""
    able = [offer.provider for offer in judged.offers if not (offer.why_not or offer.taken)]
    names = " or ".join(f'provider "{name}"' for name in able)
    return f"If the person agrees, {names} can make it." if names else ""


def _steps_text(judged: JudgedRequest) -> str:
    """What of the price is for the steps before the create; empty without any."""
    parts = [f"{step.units:g} for the {step.words}" for step in judged.steps]
    of_them = f"Of its units, {' and '.join(parts)}." if parts else ""
    arguments = judged.arguments
    if judged.review.verdict.faults:
        return of_them
    if arguments.dry_run and any(step.name == "speech" for step in judged.steps):
        usual = spoken(arguments.words(), getattr(arguments, "voice_speed", None)).likely
        of_them += (
            f" The rest is for {arguments.setting.duration} s, the longest; such a text often "
            f"lasts {usual:.2g} s."
        )
    return of_them


def _has_length(judged: JudgedRequest) -> bool:
    """Whether the length is known, or is the longest of a medium that was accepted."""
    arguments = judged.arguments
    decides = arguments.lasts_as()
    if PRODUCTS[judged.review.product].steps and "video" in dict(arguments.media()):
        return False  # the sound sets the price, and the given video the length
    return not decides or any(medium.field == decides for medium in judged.media)


def _picture_text(picture: Picture) -> str:
    if picture.converted:
        return f"{picture.field}: {picture.label}, {picture.converted}"
    size = f" {picture.width}x{picture.height}" if picture.width else ""
    return f"{picture.field}: {picture.label}{size}"


LINES = {"std": 720, "pro": 1080, "4k": 2160}
"""Pixels of the shorter side of a 16:9 video [Kling's image2video page]."""

RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3")
SAME_RATIO = 0.01
ONE_PIXEL = 0.001
"""How much a ratio may differ so that 720 lines have the same number of pixels."""


def _video_size(judged: JudgedRequest) -> str | None:
    """The video's size as far as Kling's pages tell it: its pixels in 16:9 and 9:16, else its lines
    and its ratio; None where nothing is known."""
    is_video = PRODUCTS[judged.review.product].result == "video"
    lines = LINES.get(judged.review.mode or "") if is_video else None
    asked: str = getattr(judged.arguments, "aspect_ratio", "")
    image = next((p for p in judged.pictures if p.field == "image" and p.width and p.height), None)
    if lines is None or not (asked or image):
        return None
    ratio, exact = asked, True
    if image and not asked:
        shape = (image.width or 1) / (image.height or 1)
        near = (name for name in RATIOS if abs(shape / _quotient(name) - 1) <= SAME_RATIO)
        ratio = next(near, f"{shape:.2f}:1" if shape >= 1 else f"1:{1 / shape:.2f}")
        exact = ratio in RATIOS and abs(shape / _quotient(ratio) - 1) <= ONE_PIXEL
    if ratio not in ("16:9", "9:16") or not exact:
        return f"{lines}p, {ratio}"
    long = lines * 16 // 9
    return f"{long}x{lines}" if ratio == "16:9" else f"{lines}x{long}"


def _quotient(ratio: str) -> float:
    wide, _, high = ratio.partition(":")
    return int(wide) / int(high)
