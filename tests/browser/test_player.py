"""The player as a person meets it: one take, several, a failure, a lost line, keys only."""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from tests.browser.player_stage import Stage, expect
from tests.made_clips import make_film
from tests.made_sounds import tone
from tests.outside_suites import node_modules
from tests.server.loopback import served_sandbox
from tests.server.serving import SIDE_PX, picture

pytestmark = pytest.mark.campaign

MakeStage = Callable[..., Stage]


def button(frame: Any, name: str) -> Any:
    return frame.get_by_role("button", name=name)


def video(frame: Any, take: int = 1) -> Any:
    return frame.get_by_label(f"Take {take}: A slow zoom", exact=True)


def assert_accessible(frame: Any) -> None:
    axe = node_modules() / "axe-core" / "axe.min.js"
    frame.evaluate(axe.read_text())
    found = frame.evaluate("async () => (await axe.run()).violations")
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []


def cut_off_waiting(route: Any) -> None:
    waits = "kling_wait_for_tasks" in (route.request.post_data or "")
    route.abort() if waits else route.continue_()


def hold_waiting(held: list[Any], route: Any) -> None:
    waits = "kling_wait_for_tasks" in (route.request.post_data or "")
    held.append(route) if waits else route.continue_()


def cut_off_reading(route: Any) -> None:
    reads = "/video/0-" in (route.request.post_data or "")
    route.abort() if reads else route.continue_()


def test_a_take_is_followed_from_its_price_to_the_video(stage: MakeStage) -> None:
    at = stage(sandbox_render_s=2)
    frame = at.open()

    expect(frame.get_by_role("progressbar")).to_be_visible()
    expect(frame.get_by_text("1.5 units ($0.21)")).to_be_visible()
    expect(frame.get_by_text("photo.png 640x480")).to_be_visible()
    expect(frame.get_by_alt_text("The picture that is animated")).to_be_visible()
    at.shoot("being-made")
    assert_accessible(frame)
    expect(video(frame)).to_be_visible()
    frame.wait_for_function("Math.round(document.querySelector('video').duration) == 5")
    expect(frame.get_by_text("Take 1 done")).to_be_visible()
    expect(frame.get_by_text("Saved at")).to_be_visible()
    at.shoot("done")
    assert_accessible(frame)
    assert at.failed_requests == []


def test_another_take_is_made_after_its_price_was_agreed_to_and_stands_beside_the_first(
    stage: MakeStage,
) -> None:
    at = stage()
    frame = at.open()
    button(frame, "Another take").click()

    expect(frame.get_by_text("This costs 1.5 units ($0.21)")).to_be_visible()
    assert frame.get_by_role("listitem").count() == 1
    button(frame, "Make it").click()
    expect(video(frame, take=2)).to_be_visible()
    first, second = video(frame).bounding_box(), video(frame, take=2).bounding_box()
    assert first["y"] == second["y"]
    assert first["x"] + first["width"] < second["x"]
    at.shoot("two-takes")
    at.page.wait_for_function("host.said.context[0]?.content[0].text.includes('take 2')")


def test_a_price_that_is_not_agreed_to_is_not_spent(stage: MakeStage) -> None:
    at = stage()
    frame = at.open()
    button(frame, "Another take").click()
    expect(frame.get_by_text("This costs")).to_be_visible()
    button(frame, "Not now").click()

    expect(frame.get_by_text("This costs")).to_be_hidden()
    assert frame.get_by_role("listitem").count() == 1
    assert len(list((at.folder / "videos").iterdir())) == 1


def test_the_next_clip_goes_on_from_the_last_frame(stage: MakeStage) -> None:
    at = stage(sandbox_side_px=SIDE_PX)
    frame = at.open()
    button(frame, "Continue").click()
    frame.get_by_label("What happens next?").fill("It turns to the left")
    button(frame, "Ask for the price").click()
    button(frame, "Make it").click()

    expect(frame.get_by_label("Take 1: It turns to the left")).to_be_visible()
    assert frame.get_by_role("listitem").count() == 2


def test_a_video_that_is_not_saved_by_itself_is_saved_by_a_button_and_then_shown(
    stage: MakeStage,
) -> None:
    at = stage(save=False)
    frame = at.open()
    expect(frame.get_by_text("is not saved yet")).to_be_visible()
    button(frame, "Save").click()

    expect(frame.get_by_text("Saved at")).to_be_visible()
    expect(video(frame)).to_be_visible()
    expect(button(frame, "Save")).to_be_hidden()
    assert len(list((at.folder / "videos").iterdir())) == 1


def test_a_link_that_the_host_does_not_load_is_replaced_by_the_saved_bytes(
    stage: MakeStage, tmp_path: Path
) -> None:
    with served_sandbox(tmp_path / "kling") as url:
        at = stage(provider="kling", kling_api_key="sandbox-key", kling_base_url=url)
        frame = at.open()

        expect(video(frame)).to_be_visible()
        expect(video(frame)).to_have_attribute("src", re.compile("^data:video/mp4;"))


def test_the_link_of_a_video_can_be_copied(stage: MakeStage) -> None:
    at = stage()
    frame = at.open()
    button(frame, "Copy link").click()

    expect(frame.get_by_text("Copied")).to_be_visible()


def test_a_failed_task_says_why_and_what_to_do(stage: MakeStage) -> None:
    at = stage(sandbox_faults="task-fails")
    frame = at.open()

    expect(frame.get_by_text("Take 1 failed")).to_be_visible()
    expect(frame.get_by_text("The provider says:")).to_be_visible()
    expect(frame.get_by_role("progressbar")).to_be_hidden()
    at.shoot("failed")
    assert_accessible(frame)


def test_a_lost_connection_is_told_and_mended(stage: MakeStage) -> None:
    at = stage()
    at.page.route("**/mcp", cut_off_waiting)
    frame = at.open()

    expect(frame.get_by_text("The connection to the server is lost")).to_be_visible()
    at.shoot("lost")
    at.page.unroute("**/mcp", cut_off_waiting)
    expect(video(frame)).to_be_visible()
    expect(frame.get_by_text("The connection to the server is lost")).to_be_hidden()


def test_a_video_that_cannot_be_shown_says_why_and_can_be_tried_again(stage: MakeStage) -> None:
    at = stage()
    at.page.route("**/mcp", cut_off_reading)
    frame = at.open()

    expect(frame.get_by_text("The video cannot be shown here")).to_be_visible()
    assert_accessible(frame)
    at.page.unroute("**/mcp", cut_off_reading)
    button(frame, "Show the video").click()
    expect(video(frame)).to_be_visible()


@pytest.mark.parametrize("width", [700, 300])
def test_it_is_legible_in_the_dark_and_in_a_narrow_place(stage: MakeStage, width: int) -> None:
    at = stage({"color_scheme": "dark", "reduced_motion": "reduce"})
    frame = at.open(theme="dark", width=width)
    expect(video(frame)).to_be_visible()

    assert frame.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(28, 28, 26)"
    assert frame.evaluate("document.documentElement.scrollWidth <= innerWidth")
    at.shoot(f"dark-{width}")
    assert_accessible(frame)


def test_everything_can_be_done_with_the_keyboard(stage: MakeStage) -> None:
    at = stage()
    frame = at.open()
    expect(video(frame)).to_be_visible()
    button(frame, "Another take").focus()
    at.page.keyboard.press("Enter")
    expect(button(frame, "Make it")).to_be_focused()
    at.shoot("keyboard")
    at.page.keyboard.press("Enter")

    expect(video(frame, take=2)).to_be_visible()


def test_the_full_size_is_asked_of_the_host(stage: MakeStage) -> None:
    at = stage()
    frame = at.open(width=400)
    button(frame, "Full size").click()

    expect(button(frame, "Small size")).to_be_visible()
    frame.wait_for_function("innerWidth > 700")


def shown_size(picture: Any) -> tuple[int, int]:
    size: list[int] = picture.evaluate(
        "async it => { await it.decode(); return [it.naturalWidth, it.naturalHeight]; }"
    )
    return size[0], size[1]


def test_a_film_shows_its_shots_as_a_strip_and_then_plays(stage: MakeStage) -> None:
    at = stage(sandbox_render_s=1)
    shots = [{"prompt": "A beach"}, {"prompt": "The sea"}]
    frame = at.open(tool="kling_film", given={"name": "Holiday", "shots": shots}, can=EVERYTHING)

    expect(frame.get_by_role("heading", name="Film Holiday")).to_be_visible()
    expect(frame.get_by_text("2 shots, 10 s. 3 units ($0.42).")).to_be_visible()
    expect(frame.get_by_alt_text("Shot 2")).to_be_visible(timeout=30_000)
    expect(frame.get_by_label("Film Holiday", exact=True)).to_be_visible(timeout=60_000)
    expect(frame.get_by_text("nothing amiss")).to_be_visible()
    at.shoot("film")
    assert_accessible(frame)
    button(frame, "Download").click()
    expect(button(frame, "Downloaded")).to_be_visible()
    file = at.page.evaluate("host.said.files[0].contents[0].resource")
    assert (at.folder / "videos" / file["uri"].rpartition("/")[2]).read_bytes() == b64decode(
        file["blob"]
    )


def test_pictures_are_shown_side_by_side_and_one_of_them_is_animated(stage: MakeStage) -> None:
    at = stage()
    given = {"n": 2, "aspect_ratio": "1:1"}
    frame = at.open("A red fox", tool="kling_generate_image", given=given)

    first = frame.get_by_alt_text("Picture 1 of take 1: A red fox")
    second = frame.get_by_alt_text("Picture 2 of take 1: A red fox")
    expect(first).to_be_visible()
    expect(second).to_be_visible()
    expect(
        frame.get_by_text("kling-v3-omni, 1k, 2 pictures, sandbox. 16 image units")
    ).to_be_visible()
    expect(frame.get_by_text("Would have cost 16 image units")).to_be_visible()
    expect(frame.get_by_text("-1.png, and 1 more.")).to_be_visible()
    assert frame.locator("#source").is_hidden()
    assert shown_size(first)[0] == shown_size(first)[1] > 0
    boxes = [picture.bounding_box() for picture in (first, second)]
    assert boxes[0]["y"] == boxes[1]["y"]
    at.shoot("pictures")
    assert_accessible(frame)
    button(frame, "Animate picture 2").click()
    frame.get_by_label("What happens next?").fill("It looks up")
    button(frame, "Ask for the price").click()
    expect(frame.get_by_text("This costs 1.5 units ($0.21)")).to_be_visible()
    button(frame, "Make it").click()
    expect(frame.get_by_label("Take 1: It looks up")).to_be_visible()
    assert at.failed_requests == []
    assert at.complaints == []


def test_a_clip_of_words_an_edit_a_dance_and_a_voice_are_played(stage: MakeStage) -> None:
    at = stage()
    film = make_film(
        at.folder / "dance.mp4",
        [Image.new("RGB", (720, 720), (n, 40, 90)) for n in range(96)],
        loudness=0.4,
    )
    given: dict[str, dict[str, Any]] = {
        "kling_text_to_video": {},
        "kling_edit_video": {"video": str(film)},
        "kling_motion_control": {"video": str(film), "image": picture(at.folder)},
        "kling_talking_photo": {
            "sound_file": tone(at.folder / "tone.wav"),
            "image": picture(at.folder),
        },
    }
    for tool, arguments in given.items():
        frame = at.open(tool=tool, given=arguments)
        expect(video(frame)).to_be_visible()
        at.shoot(tool)
        if tool == "kling_edit_video":
            expect(frame.get_by_text("video: dance.mp4 720x720")).to_be_visible()
            expect(frame.get_by_alt_text("The picture that is animated")).to_be_hidden()
        assert_accessible(frame)
    assert at.failed_requests == []
    assert at.complaints == []


OWN = "Animate a picture of your own"
EVERYTHING = {"message": {"text": {}}, "openLinks": {}, "downloadFile": {}}


def as_data(path: str) -> str:
    return "data:image/png;base64," + b64encode(Path(path).read_bytes()).decode()


def chooses(at: Stage, frame: Any, name: str = "mine.png", words: str = "The sea moves") -> str:
    """A person chooses a picture of their own in the player; its path."""
    path = picture(at.folder / "own", name, (640, 640))
    button(frame, OWN).click()
    frame.get_by_label("Your picture").set_input_files(path)
    frame.get_by_label("What happens in it?").fill(words)
    return path


@pytest.mark.parametrize("own_origin", [True, False], ids=["uploaded", "in the call"])
def test_a_picture_of_the_person_s_own_becomes_a_clip_after_its_price(
    stage: MakeStage, own_origin: bool
) -> None:
    at = stage()
    frame = at.open(ownOrigin=own_origin)
    expect(video(frame)).to_be_visible()
    chooses(at, frame)
    expect(frame.get_by_alt_text("The picture that you chose")).to_be_visible()
    at.shoot(f"own-picture-{own_origin}")
    assert_accessible(frame)
    button(frame, "Ask for the price").click()
    expect(frame.get_by_text("This costs 1.5 units ($0.21)")).to_be_visible()
    assert frame.get_by_role("listitem").count() == 1
    at.shoot(f"own-price-{own_origin}")
    assert_accessible(frame)
    button(frame, "Make it").click()

    expect(frame.get_by_label("Take 1: The sea moves")).to_be_visible()
    uploads = [*(at.folder / "home" / "uploads").glob("*/*")]
    assert len(uploads) == own_origin
    sent = "sent as kling://uploads/" if own_origin else "of a picture in the player"
    at.page.wait_for_function(
        "(words) => host.said.context[0]?.content[0].text.includes(words)", arg=sent
    )
    expect(frame.get_by_label("What happens in it?")).to_be_hidden()
    assert at.failed_requests == []
    assert at.complaints == []


def test_a_picture_that_lies_in_the_chat_is_given_in_the_player(stage: MakeStage) -> None:
    at = stage()
    given = {"image": "/mnt/user-data/uploads/photo.png"}
    frame = at.open(given=given)

    expect(frame.get_by_text("lies in the chat's own storage")).to_be_visible()
    expect(frame.get_by_label("What happens in it?")).to_have_value("A slow zoom")
    at.shoot("picture-in-the-chat")
    assert_accessible(frame)
    frame.get_by_label("Your picture").set_input_files(picture(at.folder / "own", "mine.png"))
    button(frame, "Ask for the price").click()
    button(frame, "Make it").click()
    expect(video(frame)).to_be_visible()
    assert at.complaints == []


DROPS = """([kind, bytes, type]) => {
    const held = new DataTransfer();
    held.items.add(new File([Uint8Array.from(bytes)], "dropped.png", { type }));
    const event = kind === "paste"
        ? new ClipboardEvent(kind, { clipboardData: held, bubbles: true, cancelable: true })
        : new DragEvent(kind, { dataTransfer: held, bubbles: true, cancelable: true });
    document.body.dispatchEvent(event);
}"""


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_picture_can_be_dropped_or_pasted(stage: MakeStage, kind: str) -> None:
    at = stage()
    frame = at.open()
    expect(video(frame)).to_be_visible()
    data = [*Path(picture(at.folder / "own", "mine.png")).read_bytes()]
    if kind == "drop":
        frame.evaluate(DROPS, ["dragover", data, "image/png"])
        at.shoot("dropping")
    frame.evaluate(DROPS, [kind, data, "image/png"])

    expect(frame.get_by_alt_text("The picture that you chose")).to_be_visible()
    expect(frame.get_by_label("What happens in it?")).to_have_value("A slow zoom")
    button(frame, "Ask for the price").click()
    expect(frame.get_by_text("This costs")).to_be_visible()
    frame.evaluate(DROPS, [kind, [1, 2, 3], "text/plain"])
    expect(frame.get_by_text("dropped.png is no picture.")).to_be_visible()


def press_the_mouse(at: Stage, down: bool) -> None:
    at.page.mouse.down() if down else at.page.mouse.up()


def press_space(at: Stage, down: bool) -> None:
    at.page.keyboard.down(" ") if down else at.page.keyboard.up(" ")


@pytest.mark.parametrize("press", [press_the_mouse, press_space])
def test_a_click_counts_although_the_video_comes_while_the_button_is_down(
    stage: MakeStage, press: Callable[[Stage, bool], None]
) -> None:
    at, held = stage(), list[Any]()
    at.page.route("**/mcp", partial(hold_waiting, held))
    frame = at.open()
    button(frame, OWN).click()
    tiny = picture(at.folder / "own", "tiny.png", (100, 400))
    frame.get_by_label("Your picture").set_input_files(tiny)
    button(frame, "Ask for the price").hover()
    button(frame, "Ask for the price").focus()
    press(at, True)
    for route in held:
        route.continue_()
    at.page.unroute("**/mcp")
    at.page.wait_for_timeout(1_000)
    expect(video(frame)).to_have_count(0)
    press(at, False)

    expect(frame.get_by_text("100x400")).to_be_visible()
    expect(video(frame)).to_be_visible()
    expect(frame.get_by_text("100x400")).to_be_visible()


@pytest.mark.parametrize(
    ("pressed", "then"), [("right", ""), ("middle", ""), ("left", "blur"), ("left", "contextmenu")]
)
def test_the_video_comes_although_the_end_of_a_press_is_told_to_somebody_else(
    stage: MakeStage, pressed: str, then: str
) -> None:
    at, held = stage(), list[Any]()
    at.page.route("**/mcp", partial(hold_waiting, held))
    frame = at.open()
    button(frame, OWN).hover()
    at.page.mouse.down(button=pressed)
    if then:
        frame.evaluate("name => dispatchEvent(new Event(name))", then)
    for route in held:
        route.continue_()
    at.page.unroute("**/mcp")

    expect(video(frame)).to_be_visible(timeout=4_000)


@pytest.mark.parametrize("own_origin", [True, False], ids=["uploaded", "in the call"])
def test_a_picture_that_kling_refuses_is_told_and_another_one_is_taken(
    stage: MakeStage, own_origin: bool
) -> None:
    at = stage()
    frame = at.open(ownOrigin=own_origin)
    expect(video(frame)).to_be_visible()
    button(frame, OWN).click()
    field = frame.get_by_label("Your picture")
    large = {"name": "large.png", "mimeType": "image/png", "buffer": b"0" * (10 * 2**20 + 1)}
    field.set_input_files(large)
    expect(frame.get_by_text("large.png has 10.0 MB; Kling takes 10 MB at most.")).to_be_visible()
    field.set_input_files(picture(at.folder / "own", "tiny.png", (100, 400)))
    button(frame, "Ask for the price").click()
    expect(frame.get_by_text("100x400")).to_be_visible()
    assert_accessible(frame)
    field.set_input_files(picture(at.folder / "own", "mine.png"))
    button(frame, "Ask for the price").click()

    expect(frame.get_by_text("This costs")).to_be_visible()


def test_with_keys_alone_a_picture_is_chosen_and_its_price_agreed_to(stage: MakeStage) -> None:
    at = stage()
    frame = at.open(theme="dark", width=300)
    expect(video(frame)).to_be_visible()
    button(frame, OWN).focus()
    at.page.keyboard.press("Enter")
    expect(frame.get_by_label("Your picture")).to_be_focused()
    frame.get_by_label("Your picture").set_input_files(picture(at.folder / "own", "mine.png"))
    at.page.keyboard.press("Tab")
    at.page.keyboard.type(" over the sea")
    at.shoot("own-picture-dark-300")
    assert frame.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert_accessible(frame)
    at.page.keyboard.press("Tab")
    at.page.keyboard.press("Enter")
    expect(button(frame, "Make it")).to_be_focused()
    at.page.wait_for_timeout(2_500)
    expect(button(frame, "Make it")).to_be_focused()
    at.page.keyboard.press("Enter")
    expect(frame.get_by_role("listitem")).to_have_count(2)
    assert at.complaints == []


def test_the_host_downloads_opens_links_and_takes_messages_where_it_can(stage: MakeStage) -> None:
    at = stage()
    frame = at.open(can=EVERYTHING)
    expect(video(frame)).to_be_visible()
    (saved,) = (at.folder / "videos").iterdir()
    button(frame, "Download").click()
    expect(frame.get_by_text("Downloaded")).to_be_visible()
    button(frame, "Open link").click()
    button(frame, "Ask the assistant").click()
    frame.get_by_label("What should the assistant do?").fill("Make it slower")
    at.shoot("ask-the-assistant")
    assert_accessible(frame)
    button(frame, "Send it").click()
    expect(frame.get_by_label("What should the assistant do?")).to_be_hidden()

    said = at.page.evaluate("host.said")
    (file,) = said["files"][0]["contents"]
    assert file["resource"]["uri"] == f"file:///{saved.name}"
    assert file["resource"]["mimeType"] == "video/mp4"
    assert b64decode(file["resource"]["blob"]) == saved.read_bytes()
    assert said["links"][0]["url"].startswith("http")
    (message,) = said["messages"]
    assert message["role"] == "user"
    assert re.fullmatch(r"Make it slower \(Take 1, task \d+\)", message["content"][0]["text"])
    assert at.complaints == []


def test_the_video_of_a_team_s_server_is_downloaded_from_its_link(stage: MakeStage) -> None:
    at = stage(public=True)
    given = {"image": as_data(picture(at.folder))}
    frame = at.open(given=given, can=EVERYTHING, ownOrigin=True)
    button(frame, "Download").click()
    expect(button(frame, "Downloaded")).to_be_visible()

    (file,) = at.page.evaluate("host.said.files[0].contents")
    (saved,) = (at.folder / "videos").rglob("*.mp4")
    assert file["type"] == "resource_link"
    assert file["name"] == saved.name
    assert httpx.get(file["uri"]).content == saved.read_bytes()
    chooses(at, frame)
    button(frame, "Ask for the price").click()
    expect(frame.get_by_text("This costs")).to_be_visible()
    assert len([*(at.folder / "home" / "uploads").glob("*/*")]) == 1


def test_pictures_are_downloaded_as_they_are(stage: MakeStage) -> None:
    at = stage()
    frame = at.open("A red fox", tool="kling_generate_image", given={"n": 2}, can=EVERYTHING)
    button(frame, "Download").click()
    expect(button(frame, "Downloaded")).to_be_visible()

    contents = at.page.evaluate("host.said.files[0].contents")
    assert [one["resource"]["mimeType"] for one in contents] == ["image/png"] * 2


def test_a_host_that_refuses_is_told_of_with_what_works_instead(stage: MakeStage) -> None:
    at = stage()
    frame = at.open(can=EVERYTHING, unwilling=True)
    button(frame, "Download").click()
    expect(frame.get_by_text("Nothing was downloaded")).to_be_visible()
    button(frame, "Open link").click()
    expect(frame.get_by_text("The host did not open the link. It is: http")).to_be_visible()
    button(frame, "Ask the assistant").click()
    frame.get_by_label("What should the assistant do?").fill("Make it slower")
    button(frame, "Send it").click()
    expect(frame.get_by_text("Write it in the chat.")).to_be_visible()
    expect(frame.get_by_label("What should the assistant do?")).to_have_value("Make it slower")
    at.shoot("refused-by-the-host")
    assert_accessible(frame)


def test_what_a_host_cannot_do_is_not_offered(stage: MakeStage) -> None:
    at = stage()
    frame = at.open()
    expect(button(frame, "Copy link")).to_be_visible()

    for name in ("Download", "Open link", "Ask the assistant"):
        expect(button(frame, name)).to_have_count(0)


@pytest.mark.parametrize("may", [True, False], ids=["configured", "not configured"])
def test_a_page_of_another_origin_uploads_where_that_is_configured(
    stage: MakeStage, may: bool
) -> None:
    at = stage(name="localhost", origins="http://localhost:*" if may else "")
    frame = at.open(ownOrigin=True)
    expect(video(frame)).to_be_visible()
    chooses(at, frame)
    button(frame, "Ask for the price").click()
    expect(frame.get_by_text("This costs")).to_be_visible()

    assert len([*(at.folder / "home" / "uploads").glob("*/*")]) == may
    assert at.failed_requests == []
    assert at.complaints == []
