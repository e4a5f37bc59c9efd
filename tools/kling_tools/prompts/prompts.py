"""The prompts: each turns an idea into a priced plan and the tool calls that make it.

Each tool that makes something has one of its own, made of its row in the table of products."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, get_args

from pydantic import BaseModel

from kling_tools.addresses import names_task
from kling_tools.decorations import decoration
from kling_tools.errors import InvalidRequest
from kling_tools.faults import Fault, sentences
from kling_tools.products import FILM, PRODUCTS, Product
from kling_tools.prompts.plans import (
    Plan,
    Planner,
    camera_control_of,
    cut_into_shots,
    models_with_camera_control,
    takes_within,
)
from kling_tools.prompts.prompt import (
    FILES,
    PICTURE,
    AnimateArguments,
    CameraArguments,
    FilmPlanArguments,
    FormArguments,
    FramesArguments,
    KlingPrompt,
    PictureArguments,
    PictureFirstArguments,
    StoryboardArguments,
    TakesArguments,
    Told,
    form_of,
)
from kling_tools.quoting import counted
from kling_tools.requests.arguments import (
    GenerateImageArguments,
    ImageToVideoArguments,
    SubmitArguments,
    TextToVideoArguments,
)
from kling_tools.requests.drafts import read_draft
from kling_tools.requests.fields import SHOT_PROMPT_LIMIT
from kling_tools.requests.films import FilmArguments
from kling_tools.requests.requests import Request
from kling_tools.requests.speech_voices import voice_name
from kling_tools.rules.capabilities import Capabilities, ProviderTerms
from kling_tools.service import VideoService

__all__ = ["build_prompts"]

_COSTS = re.compile(r" \(costs money[^)]*\)")
_PHOTO = re.compile(r"shots\[\d+\]\.image")

ANY_FORM = "an https URL, a path"
"""How the forms begin in which a tool takes a file; a form for a person names these two alone."""

YOUR_PROMPT = "<your prompt>"
AGREED = "<the price that I agreed to>"
MADE_PICTURE = "kling://tasks/<task_id>/images/1"
"""In a planned call, the placeholders of the prompt that the assistant writes, of a price that the
dry run tells, and of the picture that was made before."""

STANDS_IN = "https://kling.example/made"
"""What is checked in the place of a file that a task made: nothing is fetched from there."""

DEFAULT_SCENES = 4
"""Shots of a film that is told in words alone."""

ARGUMENTS: Mapping[str, type[SubmitArguments]] = {
    PRODUCTS[wanted.products[0]].tool: wanted for wanted in get_args(SubmitArguments)
}
"""The arguments of each tool that makes something."""

ANIMATE: Product = "image2video"
"""The product for whose tool people have ideas of their own."""


WRITE: Mapping[str, str] = {
    "kling_multi_image_to_video": "Write the prompt: one scene in which everything of the pictures "
    "meets, who does what, and what the camera does. <<<image_1>>> names the first picture.",
    "kling_text_to_video": "Write the prompt: who or what is seen and where, in which light and "
    "style, what happens, and what the camera does. One scene without a cut.",
    "kling_edit_video": "Write the prompt: what changes, and that all else stays as it is "
    "(refer_type base), or what happens in the next shot (feature). <<<video_1>>> names the video.",
    "kling_motion_control": "Write the prompt, or leave it out: the place and the light around the "
    "figure. The movement comes from the video.",
    "kling_talking_photo": "Write the prompt, or leave it out: how the face looks and moves while "
    "it speaks, calmly or with feeling.",
    "kling_lip_sync": "Take the words or the sound as they are.",
    "kling_generate_image": "Write the prompt: who or what is seen and where, in which light and "
    "style. <<<image_1>>> names the first picture that is given.",
}
"""How to write the prompt of a tool; WRITE_ANY where there is no more to say."""

_INSTEAD: Mapping[str, str] = {
    "kling_lip_sync": " If it shows several faces in its place, show me their pictures; once I "
    "have chosen, send the same call with face, the number of mine.",
}
"""What the answer of a tool may be in the place of a task."""

WRITE_ANY = "Write the prompt: who or what is seen, what happens, and what the camera does."


def build_prompts(
    capabilities: Capabilities,
    terms: Sequence[ProviderTerms],
    tools: Mapping[str, tuple[str, str]],
    chosen: str = "",
    service: Callable[[], VideoService] | None = None,
) -> list[KlingPrompt]:
    """The prompts for these providers, the default one first, that lead to these tools alone (their
    titles and descriptions by name), and to what one of the providers makes. Plans name the
    provider, or `chosen`. `service` returns the service of the caller, at each call."""
    scripts = _Scripts(Planner(capabilities, terms, chosen), service)
    made = {PRODUCTS[product].tool for row in terms for product in row.products}
    if ARGUMENTS.keys() & made:
        made.add(FILM.tool)
    prompts = [*_of_ideas(scripts), *_of_tools(scripts, tools, len(terms))]
    return [prompt for prompt in prompts if (made & tools.keys()).issuperset(prompt.tools)]


def _of_tools(
    scripts: _Scripts, tools: Mapping[str, tuple[str, str]], providers: int
) -> Iterator[KlingPrompt]:
    """A prompt for each tool that makes something; `animate_picture` is that of the first."""
    prompt = partial(KlingPrompt.of, check=scripts.faults_of_files)
    for name, wanted in ARGUMENTS.items():
        if ANIMATE in wanted.products or name not in tools:
            continue
        form, required = form_of(wanted, choice=providers > 1)
        title, description = tools[name]
        goal = _COSTS.sub("", description).partition(". ")[0].rstrip(".")
        yield prompt(
            partial(scripts.make, wanted, goal),
            name=name.removeprefix("kling_"),
            title=title,
            description=f"{goal}; you see the price before anything is sent.",
            form=form,
            required=required,
            tools=[name],
        )


def _of_ideas(scripts: _Scripts) -> list[KlingPrompt]:
    """The prompts for what people do with one picture, and to make it first."""
    prompt = partial(KlingPrompt.of, check=scripts.faults_of_files)
    return [
        prompt(
            scripts.animate,
            name="animate_picture",
            title="Animate a picture",
            description="One picture becomes a video; you see the price before anything is sent.",
            form=AnimateArguments.model_fields,
            required=("image",),
        ),
        prompt(
            scripts.frames,
            name="first_to_last_frame",
            title="From a first to a last frame",
            description="A video that begins with one picture and ends with another.",
            form=FramesArguments.model_fields,
            required=("image", "image_tail"),
        ),
        prompt(
            scripts.storyboard,
            name="storyboard",
            title="Storyboard from a story",
            description="""A story becomes one video of several shots, whose lengths add up to
                the length that you name.""",
            form=StoryboardArguments.model_fields,
            required=("image", "story"),
        ),
        prompt(
            scripts.takes,
            name="takes_within_budget",
            title="Takes within a budget",
            description="Versions of one video to choose from, as many as the budget pays for.",
            form=TakesArguments.model_fields,
            required=("image", "budget_units"),
        ),
        prompt(
            scripts.camera,
            name="direct_camera",
            title="Direct the camera",
            description="""A video with the camera move that you name, in the words that the model
                understands.""",
            form=CameraArguments.model_fields,
            required=("image", "camera"),
        ),
        prompt(
            scripts.picture_first,
            name="picture_then_video",
            title="Make a picture, then animate it",
            description="""Words become a picture; once you like it, it becomes a video. You see
                both prices before anything is sent.""",
            form=PictureFirstArguments.model_fields,
            required=("wish",),
            tools=("kling_generate_image", "kling_image_to_video"),
        ),
        prompt(
            scripts.film,
            name="film",
            title="Film of several shots",
            description="""Photos, or scenes told in words, become one film with music; you see
                one price for the whole before anything is sent.""",
            form=FilmPlanArguments.model_fields,
            required=("wish",),
            tools=(FILM.tool,),
        ),
    ]


class _Scripts:
    """Tells what each prompt leads to. Scripts raise InvalidRequest when no such video can be
    made."""

    def __init__(self, planner: Planner, service: Callable[[], VideoService] | None) -> None:
        self._planner = planner
        self._service = service

    async def faults_of_files(self, told: Told) -> Sequence[Fault]:
        """What is wrong with the files of the call, by a dry run. What a task made is left out: to
        see it, its provider would be asked, and its video saved. So are elements, which their
        provider lists."""
        if self._service is None:
            return ()
        service, call = self._service(), {**_without_tasks("", told.call), "dry_run": True}
        call.pop("element_list", None)
        with decoration("what is wrong with the files"):
            receipt = (
                await service.film(read_draft(FilmArguments, call), _nobody)
                if told.tool == FILM.tool
                else await service.submit(read_draft(ARGUMENTS[told.tool], call), _nobody)
            )
            own = [fault for fault in receipt.faults if not _is_of_task(fault["field"], told.call)]
            return [*filter(None, map(_of_a_file, own))]
        return ()

    def make(self, wanted: type[Request], goal: str, asked: BaseModel) -> Told:
        form = asked.model_dump(include=asked.model_fields_set - {"wish"}, mode="json")
        wish = str(getattr(asked, "wish", ""))
        prompt = {"prompt": YOUR_PROMPT} if wish else {}
        if "voice_id" in form:
            form["voice_id"] = voice_name(form["voice_id"])
        plan = self._planner.plan(wanted, **form, **prompt)
        facts = _wish(wish) if wish else ""
        write = WRITE.get(plan.tool, WRITE_ANY)
        return _text(f"With Kling: {goal}.", facts, write, plan)

    def picture_first(self, asked: PictureFirstArguments) -> Told:
        picture = self._planner.plan(
            GenerateImageArguments, prompt=YOUR_PROMPT, aspect_ratio=asked.aspect_ratio
        )
        form = asked.model_dump(include=set(FormArguments.model_fields))
        video = self._planner.plan(
            **{name: value for name, value in form.items() if value != ""},
            image=MADE_PICTURE,
            prompt="<what moves>",
        )
        motion = f"\nWhat shall move: {_quoted(asked.motion)}" if asked.motion else ""
        write = (
            f"{WRITE['kling_generate_image']} Write a second one for the video: what moves in the "
            f"picture and how, and what the camera does. {video.what} then costs "
            f"{video.price}: tell me this together with the price of the picture."
        )
        shown = [
            f"Show me the picture: {_call('kling_look', {'task_id': '<task_id>'})}. Wait until I "
            "like it; another one costs again.",
            "Animate it, at the price that I know: "
            f"{_call(video.tool, {**video.call, **_limit(video)})}. Wait for it, too.",
        ]
        goal = "Make a picture with Kling, then a video of it."
        return _text(goal, _wish(asked.wish) + motion, write, picture, shown=shown)

    def animate(self, asked: AnimateArguments) -> Told:
        plan = self._planner.plan(**_form(asked), prompt=YOUR_PROMPT)
        write = (
            "Write the prompt: who or what moves and how, and what the camera does. One scene "
            "without a cut. Do not describe what stays as it is in the picture."
        )
        return _text("Make a Kling video from one picture.", _wish(asked.wish), write, plan)

    def frames(self, asked: FramesArguments) -> Told:
        plan = self._planner.plan(**_form(asked), image_tail=asked.image_tail, prompt=YOUR_PROMPT)
        write = (
            "Write the prompt: how the first picture turns into the last one, in one movement "
            "without a cut. If you can see both pictures, check that they fit together (the same "
            "place or figure, the same ratio of width to height) and say so if they do not."
        )
        goal = "Make a Kling video that begins with one picture and ends with another."
        return _text(goal, _wish(asked.wish), write, plan)

    def storyboard(self, asked: StoryboardArguments) -> Told:
        total = int(asked.duration)
        lengths = cut_into_shots(total, asked.shots)
        shots = [
            {"index": place, "prompt": f"<shot {place}>", "duration": str(seconds)}
            for place, seconds in enumerate(lengths, start=1)
        ]
        plan = self._planner.plan(
            **_form(asked),
            multi_shot=True,
            shot_type="customize",
            multi_prompt=shots,
            element_list=[asked.element] if asked.element else None,
        )
        shown = " + ".join(map(str, lengths))
        write = (
            f"Cut the story into the {counted(len(shots), 'shot')} of this plan: {shown} = "
            f"{total} s. Write a prompt of at most {SHOT_PROMPT_LIMIT} characters for each: what "
            "is seen, what happens, what the camera does. The picture is the first frame of "
            "shot 1. Name figures and places in the same words in every shot. Seconds may be "
            "moved from one shot to another while each keeps a whole number, at least 1, and the "
            f"sum is {total}."
        )
        if asked.element:
            write += f" Where {_quoted(asked.element)} appears, write <<<element_1>>>."
        goal = "Make one Kling video of several shots from a story."
        return _text(goal, f"The story: {_quoted(asked.story)}", write, plan)

    def takes(self, asked: TakesArguments) -> Told:
        budget = asked.budget_units or 0.0
        plan = self._planner.plan(**_form(asked), prompt=YOUR_PROMPT)
        takes, payable = takes_within(budget, plan, asked.takes)
        units = plan.price.units or 0.0
        facts = (
            f"The budget is {counted(budget, 'unit')}: it pays for {payable} of {plan.what} at "
            f"{counted(units, 'unit')} each. Make {takes}, together about "
            f"{counted(takes * units, 'unit')}."
        )
        write = (
            "Write one prompt for all takes: who or what moves and how, and what the camera does. "
            "It stays the same; only take differs."
        )
        goal = f"Make {counted(takes, 'take')} of one Kling video within a budget."
        return _text(goal, f"{_wish(asked.wish)}\n{facts}", write, plan, takes=takes)

    def film(self, asked: FilmPlanArguments) -> Told:
        photos = asked.image_list
        form = asked.model_dump(include=set(FormArguments.model_fields))
        form = {name: value for name, value in form.items() if value != ""}
        wanted = ImageToVideoArguments if photos else TextToVideoArguments
        one = {"image": photos[0]} if photos else {}
        try:
            plan = self._planner.plan(wanted, **form, **one, prompt=YOUR_PROMPT)
        except InvalidRequest as refusal:
            raise InvalidRequest([_of_each_shot(fault) for fault in refusal.faults]) from None
        count = len(photos) or asked.shots or DEFAULT_SCENES
        shots = [
            {"image": photo, "prompt": f"<what moves in {n}>"} for n, photo in enumerate(photos, 1)
        ]
        if not photos:
            shots = [{"prompt": f"<scene {n}>"} for n in range(1, count + 1)]
        call: dict[str, Any] = {
            "name": "<a short title>",
            "shots": shots,
            "defaults": {n: v for n, v in plan.call.items() if n not in ("prompt", "image")},
        }
        if asked.music:
            call["music"] = {"file": asked.music, "loop": True}
        if asked.aspect_ratio:
            call["aspect_ratio"] = asked.aspect_ratio
        units, usd = plan.price.units, plan.price.usd
        price = "a price that is not known"
        if units is not None:
            price = f"about {counted(round(count * units, 4), 'unit')}"
            price += f" ({count * usd:.2f} USD list price)" if usd is not None else ""
        limit: dict[str, Any] = {"max_units": AGREED}
        asked_limit = {} if asked.budget_units is None else {"max_units": asked.budget_units}
        if asked_limit:
            limit = asked_limit
        elif units is not None:
            limit = {"max_units": round(count * units, 4)}
        each = "the shot" if count == 1 else f"each of the {counted(count, 'shot')}"
        write = (
            f"Write a prompt for {each}: what moves and how, and "
            "what the camera does; one scene without a cut. Name figures and places in the same "
            'words in every shot. A shot with "image": "previous" goes on from the last frame of '
            'the one before; {"video": "<task_id>"} is a video that is there already and costs '
            "nothing. Shorter or longer shots say their own duration."
        )
        same = "the same call"
        if asked_limit and units is not None and count * units > asked_limit["max_units"]:
            same = "the plan that fits my budget (the call above costs more)"
        steps = [
            write,
            "Ask what it costs; this sends nothing: "
            f"{_call(FILM.tool, {**call, **asked_limit, 'dry_run': True})}. I expect "
            f"{counted(count, 'shot')} of {plan.what}, {price} in all. If faults come "
            "back, correct what they name and ask again; where it is above my budget, tell me the "
            "plan that fits.",
            "Tell me the prompts, the length, the shape, the price of the whole, how long it will "
            "take and every warning, and wait for my yes.",
            f"Then send {same} with {_json({'dry_run': False, **limit})[1:-1]}. max_units "
            "counts all that is ever paid for this film.",
            f"{_call('kling_wait_for_tasks', {'task_ids': ['<task_id>']})}; call it again while "
            "done is false.",
            f"See it and tell me what it shows: {_call('kling_look', {'task_id': '<task_id>'})}.",
            "Tell me where the file is (path) and what it cost. Where there is no path, save it: "
            f"{_call('kling_save_video', {'task_id': '<task_id>'})}.",
        ]
        closing = (
            "If a shot fails, tell me why and what it cost before you try anything else. The same "
            "call goes on where it stopped, and a shot is never paid twice; a changed shot alone "
            "is made anew and costs again, so ask first."
        )
        warnings = f"Warnings so far: {sentences(plan.warnings)}" if plan.warnings else ""
        goal = "Make one film of several Kling videos."
        numbered = [f"{number}. {step}" for number, step in enumerate(steps, start=1)]
        parts = filter(None, (goal, _wish(asked.wish), warnings, *numbered, closing))
        return Told("\n".join(parts), FILM.tool, call)

    def camera(self, asked: CameraArguments) -> Told:
        form = _form(asked)
        control = camera_control_of(asked.camera)
        facts = f"The camera: {_quoted(asked.camera)}"
        if asked.wish:
            facts = f"{_wish(asked.wish)}\n{facts}"
        goal = "Make a Kling video with a camera move."
        if control and asked.model_name:
            try:
                plan = self._planner.plan(**form, prompt=YOUR_PROMPT, camera_control=control)
            except InvalidRequest as refusal:
                if not all(f.field.startswith("camera_control") for f in refusal.faults):
                    raise
            else:
                write = (
                    f"Write the prompt: what happens in the picture. {asked.model_name} takes the "
                    "camera as camera_control; leave it out of the prompt."
                )
                return _text(goal, facts, write, plan)
        plan = self._planner.plan(**form, prompt=YOUR_PROMPT)
        takers = models_with_camera_control(self._planner.capabilities)
        write = (
            f'Write the prompt: what happens, then a sentence of its own that begins with "The '
            'camera" and names one move, its direction, its speed and where it ends. '
            f"{plan.call['model_name']} does not take camera_control for this; "
            + (f"of all models only {', '.join(takers)} do." if takers else "no model does.")
        )
        return _text(goal, facts, write, plan)


async def _nobody(question: str, setting: str) -> bool:
    """A dry run asks nobody."""
    return False


def _of_a_file(told: Mapping[str, str]) -> Fault | None:
    """A fault of the call as one of the form's; None for one that is not about its files."""
    field, use = told["field"], told.get("use", "")
    name = "image_list" if _PHOTO.fullmatch(field) else re.split(r"\W", field)[0]
    if name not in FILES:
        return None
    if told["rule"] == "path_is_folder" and name == "image_list":
        use = "the paths of its pictures in their order, with commas between them"
    elif use.startswith(f"{ANY_FORM},"):
        use = PICTURE
    choices = tuple(filter(None, told.get("choices", "").split("; ")))
    return Fault(name, told["rule"], told["message"], use, choices=choices)


def _without_tasks(name: str, value: Any) -> Any:
    """The value of an argument with an address of the internet in the place of each file of a
    task."""
    if isinstance(value, str):
        return STANDS_IN if name in FILES and names_task(value) else value
    if isinstance(value, Mapping):
        inner = {key: (key if key in FILES else name, held) for key, held in value.items()}
        return {key: _without_tasks(*named) for key, named in inner.items()}
    return [_without_tasks(name, held) for held in value] if isinstance(value, list) else value


def _is_of_task(field: str, call: Mapping[str, Any]) -> bool:
    """Whether a fault is about a file of a task, which is alone in its argument."""
    value = call.get(re.split(r"\W", field)[0])
    file = value.get("file") if isinstance(value, Mapping) else value
    return isinstance(file, str) and names_task(file)


def _of_each_shot(fault: Fault) -> Fault:
    """A length that no shot has, as a person may have meant the film's."""
    if fault.field != "duration" or not fault.use:
        return fault
    message = f"is that of each shot: {fault.message}"
    return replace(fault, message=message, use=f"{fault.use}, and more shots for a longer film")


def _form(asked: PictureArguments) -> dict[str, Any]:
    """The filled-in arguments about the picture and the form of the video."""
    form = asked.model_dump(include=set(PictureArguments.model_fields))
    return {name: value for name, value in form.items() if value != ""}


def _wish(wish: str) -> str:
    if wish:
        return f"The wish: {_quoted(wish)}"
    return (
        "No wish was named: propose two or three ideas that suit the picture, as far as you can "
        "see it, and let me choose."
    )


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _call(tool: str, arguments: Mapping[str, Any]) -> str:
    return f"{tool} {_json(arguments)}"


def _json(arguments: Mapping[str, Any]) -> str:
    """The arguments as JSON; the price that is not known yet stands where a number belongs."""
    return json.dumps(arguments, ensure_ascii=False).replace(f'"{AGREED}"', AGREED)


def _limit(plan: Plan) -> dict[str, float | str]:
    if plan.each_s:
        return {"max_units": AGREED}
    return {} if plan.price.units is None else {"max_units": plan.price.units}


def _each(plan: Plan, takes: int) -> str:
    """What follows the price of a plan: of what it is, and what is paid beside it."""
    units = plan.price.units
    if takes > 1 and units:
        return f" each, {counted(takes * units, 'unit')} together"
    of = "second" if plan.each_s == 1 else f"{plan.each_s} s that have begun"
    beside = [f"{counted(step.units, 'unit')} for the {step.words}" for step in plan.steps]
    return "".join([f" for each {of}" if plan.each_s else "", *(f", and {b}" for b in beside)])


def _text(
    goal: str, facts: str, write: str, plan: Plan, *, takes: int = 1, shown: Sequence[str] = ()
) -> Told:
    """Goal, facts, and the numbered steps that lead to the saved file. `shown` are steps between
    the first result and its file, instead of looking at it."""
    limit = _limit(plan)
    see = "See each take" if takes > 1 else "See it and tell me what it shows"
    what = "the price" if "prompt" in ARGUMENTS[plan.tool].absent else "the prompt, the price"
    agreed = " (the price I agreed to)" if limit and not plan.each_s else ""
    steps = [
        write,
        "Ask what it costs; this sends nothing: "
        f"{_call(plan.tool, {**plan.call, 'dry_run': True})}. I expect {plan.what}, "
        f"{plan.price}{_each(plan, takes)}. If faults come back, correct what they name and ask "
        "again.",
        f"Tell me {what} and every warning, and wait for my yes.",
        "Then send the same call with "
        f"{_json({'dry_run': False, **limit})[1:-1]}"
        + agreed
        + (f", once for each take from 1 to {takes}. Each" if takes > 1 else ". Its")
        + f" answer has a task_id.{_INSTEAD.get(plan.tool, '') if 'face' not in plan.call else ''}",
        f"{_call('kling_wait_for_tasks', {'task_ids': _ids(takes)})}; call it again while done "
        "is false.",
        *(shown or [f"{see}: {_call('kling_look', {'task_id': '<task_id>'})}."]),
        "Tell me where each file is (path) and what it cost. Where there is no path, save it: "
        f"{_call('kling_save_video', {'task_id': '<task_id>'})}.",
    ]
    numbered = [f"{number}. {step}" for number, step in enumerate(steps, start=1)]
    warnings = f"Warnings so far: {sentences(plan.warnings)}" if plan.warnings else ""
    closing = (
        "If a task fails, tell me why and whether it was charged before you try anything else. The "
        "same call with the same take is never paid twice; "
        + ("more takes than these" if takes > 1 else "another version (take 2)")
        + " would cost again, so ask first."
    )
    parts = filter(None, (goal, facts, warnings, *numbered, closing))
    return Told("\n".join(parts), plan.tool, plan.call)


def _ids(takes: int) -> list[str]:
    if takes == 1:
        return ["<task_id>"]
    return [f"<task_id of take {take}>" for take in range(1, min(takes, 2) + 1)] + (
        ["…"] if takes > 2 else []
    )
