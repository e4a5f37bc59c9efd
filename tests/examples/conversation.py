"""The conversation of `examples/conversation.md`: what is said here is ours, the answers are the
server's."""

from __future__ import annotations

from typing import Any

from tests.examples.stage import Stage, later

__all__ = ["INTRODUCTION", "WINTER", "play"]

ONE = "kling_image_to_video"
SEVERAL = "kling_multi_image_to_video"
WORDS = "kling_text_to_video"
PICTURE = "kling_generate_image"
EDIT = "kling_edit_video"
FILM = "kling_film"
WAIT = "kling_wait_for_tasks"
LOOK = "kling_look"

SLOW_S, QUICK_S = 60, 30
"""What a task takes: longer than one wait lasts, or less."""

WINTER = "## The same clip in winter"
"""The heading of the part whose videos have Kling's least size, which is slow to draw."""

INTRODUCTION = """\
# A conversation, as an assistant sees it

The lines of the person and of the assistant are written by us. Every call was made by an MCP
client, and every answer came from the server on its sandbox. Each answer stands here twice, as text
and as structured content: hosts show a model one or the other, or both. Stand-ins take the place of
what differs from run to run: ids (`TASK-1`), hashes, sizes in bytes and links.

The tests play it anew and compare; `python -m pytest tests/examples --update-snapshots` writes this
file.
"""


async def play(stage: Stage, *, whole: bool) -> None:
    """Tuesday: a vague wish and two takes. Thursday: a refusal, a failed task, and several pictures
    in one video. Friday: a picture from the phone, a price above a cap, and words
    alone. Saturday: a full
    account. Monday: what was made, what it cost, and where last Tuesday's video is. Wednesday: a
    picture of words, animated, and in a `whole` conversation edited, and a film."""
    async with stage.session("Tuesday: a vague wish", render_s=SLOW_S):
        await _two_takes(stage)
    await later(days=2)
    async with stage.session("Thursday: what goes wrong", "task-fails:1", render_s=QUICK_S):
        await _what_goes_wrong(stage)
        stage.lines += ["## Several pictures in one video", ""]
        await _several_pictures(stage)
    await later(days=1)
    async with stage.session("Friday: a picture from the phone", render_s=QUICK_S):
        await _phone_picture(stage)
        stage.lines += ["## A price that is too high", ""]
        await _under_a_cap(stage)
        stage.lines += ["## No picture at all", ""]
        await _words_alone(stage)
    await later(days=1)
    async with stage.session("Saturday: too much at once", render_s=QUICK_S, slots=1):
        await _take_back(stage)
    await later(days=2)
    async with stage.session("Monday: where is last Tuesday's video?", render_s=QUICK_S):
        await _last_tuesday(stage)
    await later(days=2)
    async with stage.session("Wednesday: a picture first", render_s=QUICK_S):
        clip_id = await _picture_first(stage)
        if whole:
            await _in_winter(stage, clip_id)
            stage.lines += ["## A film", ""]
            await _film(stage)


async def _two_takes(stage: Stage) -> None:
    stage.you("I have a photo of our cat, ~/Pictures/cat.jpg. Can you make it come alive somehow?")
    stage.assistant(
        "I can make a short video of it. My idea: she blinks, turns her head to the window, and "
        "the camera comes a little closer. First I look up what that costs; this sends nothing."
    )
    wish = {
        "image": "~/Pictures/cat.jpg",
        "prompt": "The cat blinks, then slowly turns her head towards the window. The camera moves "
        "slowly closer.",
    }
    await stage.call(ONE, **wish, dry_run=True)
    stage.assistant(
        "Five seconds cost about 1.5 units, 0.21 USD at list price. No key is set here, so this is "
        "the sandbox: nothing is charged, and the video is only a test clip. Shall I?"
    )
    stage.you("Yes. Make two, I want to choose.")
    first = await stage.call(ONE, **wish, max_units=1.5)
    second = await stage.call(ONE, another_take_of=first["task_id"], max_units=1.5)
    both = [first["task_id"], second["task_id"]]
    stage.assistant("Both are on their way. I wait for them.")
    await _wait_to_the_end(stage, both)
    stage.assistant(
        "Both are done and saved in ~/Videos/kling-mcp. With a key they would have cost 3 units "
        "together, 1.5 each. I look at the first one."
    )
    await stage.call(LOOK, task_id=first["task_id"])
    stage.assistant(
        "She is there from the first frame to the last, and nothing is black, frozen or cut. Which "
        "one do you like?"
    )
    stage.you("The first one. Can you make it again, to be safe?")
    await stage.call(ONE, **wish, max_units=1.5)
    stage.assistant(
        "It is there already, so nothing was sent or paid again. A third version would cost anew."
    )


async def _what_goes_wrong(stage: Stage) -> None:
    stage.you("Now the rocket, ~/Pictures/rocket.jpg: lift-off, eight seconds, with sound!")
    wish = {
        "image": "~/Pictures/rocket.jpg",
        "prompt": "The engines ignite, smoke rolls over the pad and the rocket lifts off.",
        "sound": "on",
        "duration": 8,
    }
    refused = await stage.call(ONE, **wish)
    nearest = refused["would_pass"]
    wish |= nearest["change"]
    units, usd = nearest["estimate_units"], nearest["estimate_usd"]
    stage.assistant(
        "The default model makes neither eight seconds nor sound. "
        f"{wish['model_name']} makes both, for about {units:g} units, {usd:.2f} USD at list price. "
        "Go ahead?"
    )
    stage.you("Fine.")
    task = await stage.call(ONE, **wish, max_units=units)
    await _wait_to_the_end(stage, [task["task_id"]])
    stage.assistant(
        "Kling took the job and then failed it: its risk control did not let it pass. It cost "
        "nothing. Perhaps it is the fire. I would leave out the ignition and only let it rise; the "
        "price is the same. Shall I try that?"
    )
    stage.you("Yes, try.")
    wish["prompt"] = "The rocket rises calmly from the pad into the evening sky."
    again = await stage.call(ONE, **wish, max_units=units)
    await _wait_to_the_end(stage, [again["task_id"]])
    stage.assistant("This one worked, and it is saved.")


async def _several_pictures(stage: Stage) -> None:
    stage.you(
        "And now one video with both: the cat next to my coffee, ~/Pictures/coffee.jpg. Up to 3 "
        "units are fine."
    )
    wish = {
        "image_list": ["~/Pictures/cat.jpg", "~/Pictures/coffee.jpg"],
        "prompt": "The cat of <<<image_1>>> sits on a kitchen table and sniffs at the cup of "
        "<<<image_2>>>, morning light.",
        "max_units": 3,
    }
    task = await stage.call(SEVERAL, **wish)
    await _wait_to_the_end(stage, [task["task_id"]])
    stage.assistant("Done and saved: the cat and the coffee in one video, 3 units.")


async def _phone_picture(stage: Stage) -> None:
    stage.you(
        "Here is a photo from my phone, ~/Pictures/IMG_0042.HEIC. Upright for a story, please."
    )
    wish = {
        "image": "~/Pictures/IMG_0042.HEIC",
        "prompt": "Steam rises from the cup, the light grows warmer.",
        "fit": "9:16",
        "max_units": 1.5,
    }
    task = await stage.call(ONE, **wish)
    await _wait_to_the_end(stage, [task["task_id"]])
    stage.assistant("Done: converted, cropped to 9:16 here for free, and animated.")


async def _under_a_cap(stage: Stage) -> None:
    stage.you("Now that one in ten seconds, sharp and with sound. But not more than 1 dollar.")
    stage.assistant("One dollar is about 7 units. I ask for the best, and set that as a limit.")
    wish = {
        "image": "~/Pictures/IMG_0042.HEIC",
        "prompt": "Steam rises from the cup, spoons clink in the background.",
        "fit": "9:16",
        "model_name": "kling-v3",
        "mode": "pro",
        "duration": 10,
        "sound": "on",
        "max_units": 7,
    }
    refused = await stage.call(ONE, **wish)
    stage.assistant(
        "Ten seconds of that cost 1.68 USD. Five seconds with everything else as you wish cost "
        "0.84 USD. Shall I make those?"
    )
    stage.you("Yes, please.")
    task = await stage.call(ONE, **{**wish, **refused["would_pass"]["change"]})
    await _wait_to_the_end(stage, [task["task_id"]])
    stage.assistant("Done, for 6 units.")


async def _words_alone(stage: Stage) -> None:
    stage.you("And a lighthouse in a storm, upright too. I have no picture of one. Keep it cheap.")
    wish = {
        "prompt": "A lighthouse in a storm at dusk. Waves break over the rocks, its beam sweeps "
        "through the rain. The camera glides slowly past.",
        "aspect_ratio": "9:16",
        "max_units": 1.5,
    }
    task = await stage.call(WORDS, **wish)
    await _wait_to_the_end(stage, [task["task_id"]])
    stage.assistant("Done. It needs no picture; its last frame can be the first of the next one.")


async def _take_back(stage: Stage) -> None:
    stage.you("The cat again, twice: once asleep, once yawning.")
    made = []
    for what in ("sleeps, her side rises and falls", "yawns and stretches"):
        task = await stage.call(ONE, image="~/Pictures/cat.jpg", prompt=f"The cat {what}.")
        made.append(task["task_id"])
    stage.assistant("The first one runs. No slot was free for the second one, so it waits here.")
    stage.you("Oh, then leave the yawning.")
    await stage.call("kling_cancel_task", task_ids=[made[1]])
    stage.assistant(
        "It was withdrawn before it was sent and cost nothing. I wait for the other one."
    )
    await _wait_to_the_end(stage, [made[0]])
    stage.assistant("The sleeping cat is done and saved.")


async def _last_tuesday(stage: Stage) -> None:
    stage.you("Where is last Tuesday's video? The first one of the cat. I need it as anna/cat.mp4.")
    page = await stage.call(
        "kling_list_tasks", since="2026-09-15", until="2026-09-15", text="cat", status="succeed"
    )
    first = page["tasks"][-1]
    await stage.call("kling_save_video", task_id=first["task_id"], path="anna/cat.mp4")
    stage.assistant(
        "It was in ~/Videos/kling-mcp all along, and is now at ~/Videos/kling-mcp/anna/cat.mp4."
    )
    stage.you(
        "My notes name two: the file ~/Videos/kling-mcp/anna/cat.mp4, and kmcp-old-laptop-7. What "
        "are they?"
    )
    saved = "~/Videos/kling-mcp/anna/cat.mp4"
    await stage.call(WAIT, task_ids=[saved, "kmcp-old-laptop-7"])
    stage.assistant(
        "The file is the first take of the cat. Nobody here knows the other id: it was made on "
        "another computer, or by another account."
    )
    stage.you("And what did I spend in that week?")
    await stage.call("kling_list_tasks", since="7 days")
    stage.assistant("Nothing: it was all in the sandbox. With a key it would have been 22.2 units.")
    stage.you("How would I make real ones? And is there a limit on what you can spend?")
    await stage.call("kling_account")
    stage.assistant(
        "You need a key from Kling, which goes into the server's settings as KLING_API_KEY. No "
        "limit is set: KLING_MCP_MAX_UNITS_PER_DAY would be one."
    )


async def _picture_first(stage: Stage) -> str:
    stage.you("A paper boat on a rainy street, upright. Show me a picture before there is a video.")
    made = await stage.call(
        PICTURE,
        prompt="A red paper boat drifts along the gutter of a cobbled street in the rain, evening "
        "light, photograph.",
        aspect_ratio="9:16",
        max_units=8,
    )
    await _wait_to_the_end(stage, [made["task_id"]])
    await stage.call(LOOK, task_id=made["task_id"])
    stage.assistant("Here it is: 8 image units, 0.03 USD. Shall I animate it, for 1.5 units?")
    stage.you("Lovely. Yes.")
    clip = await stage.call(
        ONE,
        image=f"kling://tasks/{made['task_id']}/images/1",
        prompt="Rain falls, the boat rocks and drifts slowly towards the camera.",
        max_units=1.5,
    )
    await _wait_to_the_end(stage, [clip["task_id"]])
    return str(clip["task_id"])


async def _in_winter(stage: Stage, clip_id: str) -> None:
    stage.lines += [WINTER, ""]
    stage.you("And the same in winter: snow instead of rain. What does that cost?")
    wish = {
        "video": f"kling://tasks/{clip_id}/video",
        "prompt": "It snows instead of raining and the street is white. All else stays as it is.",
    }
    priced = await stage.call(EDIT, **wish, dry_run=True)
    units = priced["estimate_units"]
    stage.assistant(
        f"That edits the clip and keeps its movement. It is paid by the second: {units:g} units."
    )
    stage.you("Do it.")
    task = await stage.call(EDIT, **wish, max_units=units)
    await _wait_to_the_end(stage, [task["task_id"]])
    stage.assistant("Done: a picture, a clip of it, and the clip in winter, all three saved.")


async def _film(stage: Stage) -> None:
    stage.you(
        "Make a little film of the cat, the coffee and the rocket, with ~/Music/tune.wav under it. "
        "Not more than 4 units."
    )
    film = {
        "name": "Morning",
        "shots": [
            {"image": "~/Pictures/cat.jpg", "prompt": "The cat wakes up and stretches."},
            {"image": "~/Pictures/coffee.jpg", "prompt": "Steam rises from the cup."},
            {"image": "~/Pictures/rocket.jpg", "prompt": "The rocket waits in the early light."},
        ],
        "music": {"file": "~/Music/tune.wav", "loop": True},
        "crossfade_s": 0.5,
    }
    planned = await stage.call(FILM, **film, max_units=4, dry_run=True)
    units = planned["estimate_units"]
    stage.assistant(
        f"Three shots of five seconds cost {units:g} units. Within 4 units two of them fit. Which?"
    )
    stage.you("Then take all three.")
    task = await stage.call(FILM, **film, max_units=units)
    await _wait_to_the_end(stage, [task["task_id"]])
    await stage.call(LOOK, task_id=task["task_id"])
    stage.assistant("Your film is saved: three shots, faded into one another, with your music.")


async def _wait_to_the_end(stage: Stage, task_ids: list[str]) -> None:
    done = False
    while not done:
        waited: dict[str, Any] = await stage.call(WAIT, task_ids=task_ids)
        done = waited["done"]
