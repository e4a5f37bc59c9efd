"""Words in a prompt that the request does not give are found; ordinary prompts pass silently."""

import pytest
from tests.tools.judging import IMAGE, PICTURE, SEVERAL, drafted

from kling_tools.requests.arguments import EditVideoArguments, TextToVideoArguments
from kling_tools.requests.drafts import read_draft
from kling_tools.rules.prompt_warnings import (
    asked_ratio,
    asked_seconds,
    length_warnings,
    ratio_warnings,
    spoken_words,
    token_warnings,
)

ORDINARY = (
    "Slow zoom onto the cup, steam rises",
    "The cat blinks, then slowly turns her head towards the window.",
    "A woman walks through the rain under a red umbrella, cinematic, 35mm",
    'A neon sign that says "OPEN" flickers above the door',
    'The shop window with the words "Fresh Bread." glows at dusk',
    'A t-shirt that reads "I love NY" flutters in the wind',
    'The dog named "Mimi" jumps over the fence',
    'In the style of "Blade Runner", rain and neon',
    'A poster titled "The End." peels off the wall',
    "Her smile says it all as she turns to the camera",
    "Two people talk in a café, the camera circles them",
    "Two dice roll across the table",
    'The "Titanic" sails into the evening, a man sings',
    'A girl sings under a "Coca-Cola" billboard',
    'The clerk asks for "Vogue" at the kiosk',
    'The "Mona Lisa" blinks and looks around',
    'The choir of the "Blue Church" sings',
    "A singer on stage, hands raised, lights sweep over the crowd",
    "The clock on the wall shows 9:16, the pendulum swings",
    "The train leaves at 16:9 sharp",
    "A football match, final score 3:2, fans cheer",
    "A portrait of an old man, wrinkles, soft light",
    "A wide landscape with mountains, clouds drift",
    "The square fills with people, timelapse",
    "A vertical line of ants climbs the wall",
    "The fog whispers through the trees",
    "A letter that says nothing new lies on the desk",
    '12" vinyl record spins, 5\'10" man watches',
    "He waves as if to say goodbye",
    "Der Kaffee dampft, die Kamera fährt langsam näher",
    'Ein Schild mit der Aufschrift "Geöffnet" schwingt im Wind',
    "Eine alte Sage: der Drache fliegt über das Tal",
    "Um 9:16 Uhr fährt der Zug ein",
    "La mer se calme, un oiseau passe, lumière du soir",
    "Un panneau « Fermé » tremble sous la pluie",
    "Un lieu dit des Roches, brume du matin",
    "Dos dados ruedan sobre la mesa",
    'Un cartel que dice "Abierto" parpadea',
    "El perro corre por la playa al atardecer",
    "Il vento muove le foglie, luce calda",
    "O gato dorme no sofá, a câmera se aproxima",
    "小说的封面慢慢翻开,光线柔和",
    "招牌上写着“开门”,霓虹闪烁",
    "桜の花びらが風に舞う、カメラはゆっくり近づく",
    "看板に「営業中」と書かれている",
    "Кошка медленно поворачивает голову к окну",
    "Rzeka płynie powoli przez las, mgła nad wodą",
)


ORDINARY_SCENES = (
    "After 3 seconds the door opens, then it closes within 2 seconds.",
    "He holds his breath for ten seconds",
    "The kettle boils in 5 seconds, steam rises",
    "A slow pan of 1,5 seconds, 1.5 s, a cat",
    "Five seconds before midnight, the crowd counts down",
    "She extends her hand, the road continues to the horizon",
    "A tree twice as long as the house falls",
    "A portrait painter at work in a vertical garden",
    "A woman waits for a phone call",
)


@pytest.mark.parametrize("prompt", [*ORDINARY, *ORDINARY_SCENES])
def test_no_length_and_no_shape_is_read_into_a_scene(prompt: str) -> None:
    scene = read_draft(TextToVideoArguments, {"prompt": prompt}).arguments
    edit = read_draft(EditVideoArguments, {"video": "a.mp4", "prompt": prompt}).arguments

    assert asked_seconds(prompt) is None
    assert [*length_warnings(scene, ()), *length_warnings(edit, ())] == []
    assert [*ratio_warnings(scene, [])] == []


@pytest.mark.parametrize(
    ("prompt", "seconds"),
    [
        ("a lighthouse in a storm, ten seconds, portrait", 10),
        ("A fox, 8s", 8),
        ("A 10-second video of a fox", 10),
        ("A fox runs. 12 seconds long.", 12),
        ("Ein Fuchs, zehn Sekunden", 10),
        ("A fox. Duration: 7 seconds", 7),
        ("make it 10 seconds", 10),
        ("a fox, 20 seconds", 20),
    ],
)
def test_a_length_in_words_is_found(prompt: str, seconds: int) -> None:
    assert asked_seconds(prompt) == seconds


@pytest.mark.parametrize(
    ("prompt", "ratio"),
    [
        ("a lighthouse in a storm, ten seconds, portrait", "9:16"),
        ("A fox, vertical", "9:16"),
        ("A fox for instagram", "9:16"),
        ("A fox for my TikTok", "9:16"),
        ("A fox, square", "1:1"),
    ],
)
def test_the_shape_of_a_video_without_a_picture_is_found_in_a_single_word(
    prompt: str, ratio: str
) -> None:
    scene = read_draft(TextToVideoArguments, {"prompt": prompt}).arguments
    chosen = read_draft(TextToVideoArguments, {"prompt": prompt, "aspect_ratio": "16:9"}).arguments

    (warning,) = ratio_warnings(scene, [])
    assert warning.use == f'"{ratio}"'
    assert [*ratio_warnings(chosen, [])] == []


@pytest.mark.parametrize("prompt", ORDINARY)
def test_an_ordinary_prompt_gives_no_warning(prompt: str) -> None:
    request = drafted(IMAGE | {"prompt": prompt}).arguments

    assert spoken_words(prompt) == ""
    assert [*token_warnings(request), *ratio_warnings(request, [("image", 640, 480)])] == []


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ('The man looks up and says "Hello there"', "Hello there"),
        ('"We made it!" she shouts, arms raised', "We made it!"),
        ("The man says “Good morning”", "Good morning"),
        ('"It is over." The old man closes the book.', "It is over."),
        ("The woman says hello to the camera", "hello to the camera"),
        ("Der Mann sagt: „Guten Morgen“", "Guten Morgen"),
        ("Der Junge sagt Hallo", "Hallo"),
        ('She says softly to him: "Stay"', "Stay"),
        ('"Stop!" the old man shouts', "Stop!"),
        ('"Hello there" says the man', "Hello there"),
        ('"Bonjour", dit la femme', "Bonjour"),
        ("Elle dit « Bonjour »", "Bonjour"),
        ('La mujer dice: "Hola, amigo"', "Hola, amigo"),
        ("她说:“你好”", "你好"),
        ("男は「ありがとう」と言う", "ありがとう"),
        ('A child whispers "good night" to the bear', "good night"),
    ],
)
def test_words_that_somebody_speaks_are_found(prompt: str, words: str) -> None:
    assert spoken_words(prompt) == words


@pytest.mark.parametrize(
    ("prompt", "ratio"),
    [
        ("Slow zoom, 9:16", "9:16"),
        ("in 16:9, cinematic", "16:9"),
        ("aspect ratio 1:1, soft light", "1:1"),
        ("vertical video of the cat", "9:16"),
        ("im Hochformat", "9:16"),
        ("竖屏视频, 猫转头", "9:16"),
        ("Querformat, langsamer Zoom", "16:9"),
        ("square video", "1:1"),
    ],
)
def test_a_ratio_in_words_is_found_and_held_against_the_picture(prompt: str, ratio: str) -> None:
    wide, high = map(int, ratio.split(":"))
    request = drafted(IMAGE | {"prompt": prompt}).arguments

    assert asked_ratio(prompt) == ratio
    assert [w.rule for w in ratio_warnings(request, [("image", 640, 480)])] == ["ratio_in_words"]
    assert [*ratio_warnings(request, [("image", wide * 80, high * 80)])] == []
    assert [*ratio_warnings(request, [("image", None, None)])] == []


def test_several_pictures_have_the_ratio_of_their_argument() -> None:
    request = drafted(SEVERAL | {"prompt": "they dance, 9:16"}).arguments
    (warning,) = ratio_warnings(request, [])

    assert (warning.field, warning.use) == ("aspect_ratio", '"9:16"')
    right = drafted(SEVERAL | {"prompt": "they dance, 9:16", "aspect_ratio": "9:16"}).arguments
    assert [*ratio_warnings(right, [])] == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (IMAGE | {"prompt": "<<<image_1>>> turns"}, ["<<<image_1>>>"]),
        (IMAGE | {"prompt": "<<<object_2>>> turns"}, ["<<<object_2>>>"]),
        (IMAGE | {"prompt": "<<< element_1 >>> turns"}, ["<<<element_1>>>"]),
        (IMAGE | {"prompt": "<<<element_1>>> turns", "element_list": ["160"]}, []),
        (IMAGE | {"prompt": "<<<voice_3>>> speaks"}, []),
        (SEVERAL | {"prompt": "<<<image_1>>> meets <<<voice_1>>>"}, ["<<<voice_1>>>"]),
        (
            {"image": PICTURE, "multi_shot": True, "shot_type": "customize"}
            | {"multi_prompt": [{"prompt": "<<<video_1>>>", "duration": "5"}]},
            ["<<<video_1>>>"],
        ),
    ],
)
def test_a_name_that_nothing_answers_to_is_told(
    arguments: dict[str, object], told: list[str]
) -> None:
    found = [*token_warnings(drafted(arguments).arguments)]

    assert len(found) == len(told)
    assert all(name in warning.message for name, warning in zip(told, found, strict=True))
