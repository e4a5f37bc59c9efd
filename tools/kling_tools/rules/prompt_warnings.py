"""What a prompt asks for in words and the request does not give: warned of before it is paid.

A warning costs attention, so each pattern is narrow: where a sentence can be read in two ways, it
keeps silent.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

from kling_tools.faults import Fault
from kling_tools.products import PRODUCTS
from kling_tools.quoting import clipped, quote_provider
from kling_tools.requests.requests import Request, SpeakingRequest

__all__ = [
    "asked_ratio",
    "asked_seconds",
    "foreign_language",
    "language_warning",
    "length_warnings",
    "ratio_warnings",
    "speech_warning",
    "spoken_words",
    "token_warnings",
    "unspoken_warning",
]

SHOWN = 60
"""Characters of a prompt that a warning repeats."""

NEAR = 40
"""Characters between a verb of speaking and what is said, or between a sign and its words."""

_QUOTED = re.compile(
    "\u201c([^\u201c\u201d]{1,300})\u201d|\u201e([^\u201e\u201c\u201d]{1,300})[\u201c\u201d]"
    "|\u00ab\\s?([^\u00ab\u00bb]{1,300}?)\\s?\u00bb|\u300c([^\u300c\u300d]{1,300})\u300d"
    '|"([^"]{1,300})"'
)
"""Words in the quotation marks of English, German, French, Chinese and Japanese."""

_SAYING = (
    r"(?:\b(?:says?|said|saying|asks?|asking|answers?|repl(?:y|ies)|shouts?|shouting|yells?|yelling"
    r"|whispers?|whispering|sings?|singing|exclaims?|speaks?|speaking|tells?|telling|murmurs?"
    r"|screams?|announces?|sag(?:t|en)|fragt|ruft|flüstert|schreit|singt|spricht|antwortet"
    r"|dit|disent|crie|chuchote|murmure|demande|répond|chante|dice|dicen|grita|susurra|pregunta"
    r"|responde|canta|diz|sussurra|fala|chiede|grida|risponde|mówi|krzyczy|zegt|roept|fluistert)\b"
    r"|говорит|кричит|шепчет|поёт|поет|спрашивает|[说說喊唱问問道]|言う|言い|言って|叫|囁|歌う)"
)
_SAYS_QUOTE = re.compile(
    rf"{_SAYING}(?:\s+(?!(?:for|about|of|under|at|like|near|in|on|with|from|by)\b)\w+)?\s*$"
    rf"|{_SAYING}(?:\s+\w+){{0,4}}\s*[:,\uff1a\uff0c]\s*$",
    re.IGNORECASE,
)
_SAID = re.compile(rf"(?:\s*,\s*|\s*と\s*){_SAYING}|\s*says\b", re.IGNORECASE)
_SAID_BY = re.compile(rf"\s*(?:[,.-]\s*)?(?:\w+\s+){{0,3}}{_SAYING}", re.IGNORECASE)

_WRITTEN = re.compile(
    r"\b(?:signs?|text|words?|letters?|lettering|read(?:s|ing)?|written|writes?|writing|label\w*"
    r"|titled?|titles|logo|banner|shirt|t-shirt|caption|poster|named?|called|billboard|headline"
    r"|spell\w*|engraved|inscri\w+|display\w*|shows?|screen|book|song|style|film|movie|tattoo"
    r"|card|note|neon|button|schild|aufschrift|steht|schrift\w*|namens|titel|liest|plakat"
    r"|panneau|enseigne|affiche|texte|écrit\w*|intitulé\w*|nommé\w*|cartel|letrero|texto|escrito"
    r"|llamad\w+|titulad\w+|cartello|scritta|insegna|placa|chamad\w+)\b"
    r"|写着|寫著|字样|标题|名为|招牌|书名|という|看板|文字|書かれ|надпись|вывеск",
    re.IGNORECASE,
)
"""What shows words instead of speaking them: a sign, a shirt, a title, a name."""

_SENTENCE_END = re.compile("[.!?…,\u3002\uff01\uff1f]$")

_SAYS_PLAINLY = re.compile(
    r"\b(?:(?P<before>\w+(?:[ -]\w+)?)\s+)?(?:says|sagt)[\s,:]+(?P<said>\w[^.;]{0,80})",
    re.IGNORECASE,
)
"""What somebody says without quotation marks, in the two verbs that mean nothing else."""

_NOBODY = re.compile(
    r"\b(?:that|which|who|it|as|everything|nothing|look|smile|face|gesture|das|die|der|es)$",
    re.IGNORECASE,
)
"""Subjects that leave open whether anybody speaks: a sign that says, a smile that says it all."""


def spoken_words(prompt: str) -> str:
    """The first words of the prompt that somebody speaks in it; empty without any."""
    for match in _QUOTED.finditer(prompt):
        quote = next(group for group in match.groups() if group).strip()
        before = prompt[max(0, match.start() - NEAR) : match.start()]
        after = prompt[match.end() : match.end() + NEAR]
        if _WRITTEN.search(before):
            continue
        sentence = _SENTENCE_END.search(quote)
        said = _SAYS_QUOTE.search(before) or (
            _SAID_BY.match(after) if sentence else _SAID.match(after)
        )
        if said or (sentence and " " in quote):
            return quote
    for match in _SAYS_PLAINLY.finditer(prompt):
        subject = match["before"] or ""
        if not _NOBODY.search(subject) and not _WRITTEN.search(subject):
            return match["said"].strip()
    return ""


def speech_warning(request: Request) -> Fault | None:
    """A warning about words that are spoken in the prompt, or in a shot, while sound is off; the
    caller adds with which change they are heard."""
    texts = [request.prompt, *(shot.prompt for shot in getattr(request, "multi_prompt", ()))]
    words = next(filter(None, map(spoken_words, texts)), "")
    silent = request.setting.sound == "on" or not request.setting.duration
    if not words or silent or "sound" in request.absent:
        return None
    shown = clipped(quote_provider(words), SHOWN)
    message = f'sound is off, so nobody will hear "{shown}" of the prompt.'
    return Fault("sound", "speech_without_sound", message)


def unspoken_warning(request: Request) -> Iterator[Fault]:
    """A warning about words that are spoken in the prompt for a video that cannot have speech: it
    has the sound of another video, or none."""
    words = spoken_words(request.prompt)
    if words and "sound" in request.absent:
        shown = clipped(quote_provider(words), SHOWN)
        because, use = "no speech is made here, a kept sound is the video's", ""
        if isinstance(request, SpeakingRequest):
            because, use = "the prompt is not spoken", "text with voice_id for what is said"
        elif not hasattr(request, "video"):
            because = "no speech is made here"
        message = f'nobody will hear "{shown}": {because}.'
        yield Fault("prompt", "speech_not_made", message, use)


_COMMON: Mapping[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "English": "the a an and is are am was to of in on at you i it that for with this my your "
        "we he she they hello hi good how what not be have do will can so but",
        "German": "der die das und ist sind war nicht ich du wir ihr sie ein eine einen mit auf "
        "für guten gute hallo wie geht was zu den dem mein dein es heute",
        "French": "le la les et est sont je tu nous vous un une des pas que qui bonjour avec pour "
        "dans mon ma ce cette il elle aujourd'hui comment",
        "Spanish": "el la los las y es son yo tú que de una un por para hola cómo está con en mi "
        "no buenos buenas días hoy",
        "Italian": "il lo la gli le e è sono che di una un per ciao come con in mio non buongiorno "
        "oggi",
        "Portuguese": "o os as e é são que de uma um por para olá como com em meu não bom dia hoje",
    }.items()
}
"""Frequent words of languages that are written with Latin letters."""


def language_warning(request: Request) -> Iterator[Fault]:
    """A warning about words to speak that are neither English nor Chinese: Kling speaks no other
    language, and takes and charges for them all the same."""
    other = foreign_language(request.words())
    if other:
        message = f"it looks like {other}: Kling's voices speak English and Chinese alone."
        use = "English or Chinese words, or a recording as sound_file"
        yield Fault("text", "speech_language", message, use)


def foreign_language(text: str) -> str:
    """What a text is written in that is neither English nor Chinese; empty where nothing shows."""
    for letter in filter(str.isalpha, text):
        script = unicodedata.name(letter, "LATIN").partition(" ")[0]
        if script not in ("LATIN", "CJK", "FULLWIDTH", "FEMININE", "MASCULINE", "MICRO"):
            return script.capitalize()
    said = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", text.lower())
    hits = {language: sum(word in common for word in said) for language, common in _COMMON.items()}
    most = max(hits, key=lambda language: hits[language])
    accents = any(not letter.isascii() for word in said for letter in word if letter < "\u0250")
    if hits[most] >= (1 if accents else 2) and hits[most] > hits["English"]:
        return most
    return "another language" if accents and not hits["English"] and len(said) > 1 else ""


_TOKEN = re.compile(r"<<<([^<>]{0,60})>>>")
_NUMBERED = re.compile(r"(image|voice|element|video)_(\d{1,3})")


def token_warnings(request: Request) -> Iterator[Fault]:
    """Names in triple angle brackets that nothing in the request answers to: faults where they name
    material by Kling's own words (`token_unanswered`), else warnings. Those of voices and of listed
    material with a wrong number are faults of `checks`."""
    shots = getattr(request, "multi_prompt", ())
    named = {
        "image": getattr(request, "image_list", None),
        "voice": getattr(request, "voice_list", None),
        "element": getattr(request, "element_list", None),
    }
    texts = [("prompt", request.prompt)]
    texts += [(f"multi_prompt[{place}].prompt", shot.prompt) for place, shot in enumerate(shots)]
    for field, text in texts:
        for token in dict.fromkeys(map(str.strip, _TOKEN.findall(text))):
            match = _NUMBERED.fullmatch(token)
            if match and match[1] in request.references():
                continue
            listed = named.get(match[1]) if match else None
            if match and listed is not None and match[1] != "element":
                continue
            if match and listed is not None and 1 <= int(match[2]) <= len(listed):
                continue
            message = f"nothing in this request answers to <<<{quote_provider(token)}>>>."
            use = "plain words in its place"
            if listed is not None:
                use = "an id in element_list for it, or plain words"
            elif match and match[1] == "element" and request.setting.duration:
                use += "; or kling_multi_image_to_video with element_list"
            yield Fault(field, "token_unanswered" if match else "token_unknown", message, use)


_RATIO = re.compile(
    r"(?<![\d:.,/])(16|9|21|4|3|1|2)\s?[:\u2236]\s?(9|16|21|3|4|1|2)(?![\d:])", re.IGNORECASE
)
_SURE = frozenset({"16:9", "9:16", "21:9"})
_POSSIBLE = _SURE | {"1:1", "4:3", "3:4", "3:2", "2:3"}
_ABOUT_RATIO = re.compile(
    r"ratio|aspect|format|verhältnis|画幅|比例|宽高|アスペクト|比率|соотношени|proporci|vertical"
    r"|portrait|landscape|horizontal|square",
    re.IGNORECASE,
)
_A_TIME = re.compile(
    r"\b(?:at|clock|time|watch|um|uhr|uhrzeit|à|las|score|alle|o'clock|am|pm|a\.m|p\.m)\b", re.I
)
_SHAPES: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "9:16",
        re.compile(
            r"\b(?:vertical|portrait)[- ](?:video|format|orientation|aspect|mode)\b|\bhochformat\b"
            r"|\bformat (?:vertical|portrait)\b|\b(?:formato|v[ií]deo|video) verticale?\b"
            r"|竖屏|竖版|豎屏|縦長動画|縦型動画|縦動画|вертикальн\w{1,4} (?:видео|формат)",
            re.IGNORECASE,
        ),
    ),
    (
        "16:9",
        re.compile(
            r"\b(?:horizontal|landscape)[- ](?:video|format|orientation|aspect|mode)\b"
            r"|\bwidescreen (?:video|format)\b|\bquerformat\b|\bformat (?:horizontal|paysage)\b"
            r"|\b(?:formato|v[ií]deo|video) (?:horizontal|orizzontale)\b|横屏|横版|横長動画"
            r"|горизонтальн\w{1,4} (?:видео|формат)",
            re.IGNORECASE,
        ),
    ),
    (
        "1:1",
        re.compile(
            r"\bsquare[- ](?:video|format|aspect)\b|\bquadratisches (?:video|format)\b"
            r"|\bformat carré\b|\bformato (?:cuadrado|quadrado|quadrato)\b|方形画面|正方形の動画",
            re.IGNORECASE,
        ),
    ),
)
"""The shape of a video in words, and the ratio of those that Kling makes."""


_BY_ITSELF = r"(?:^|(?<!\d)[,;.(\n])\s{{0,9}}(?:{})\s{{0,9}}(?:[,;.)!\n]|$)"
"""A part of a sentence that is nothing but these words."""

_BARE_SHAPES: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "9:16",
        re.compile(
            _BY_ITSELF.format("(?:in )?vertical(?:ly)?|(?:in )?portrait")
            + r"|\bin (?:portrait|vertical)\s{0,9}(?:[,;.!]|$)"
            r"|\bfor (?:an? |my |our |the )?(?:instagram|insta|tik ?tok|reels?|(?:youtube )?shorts"
            r"|snapchat)\b",
            re.IGNORECASE,
        ),
    ),
    ("16:9", re.compile(_BY_ITSELF.format("horizontal(?:ly)?|widescreen"), re.IGNORECASE)),
    ("1:1", re.compile(_BY_ITSELF.format("square"), re.IGNORECASE)),
)
"""Words for the shape of a video that no picture has; for a picture a portrait is what is in it."""

_SECONDS_IN_WORDS = {
    word: number
    for number, words in {
        3: "three drei trois tres",
        4: "four vier quatre cuatro",
        5: "five fünf cinq cinco",
        6: "six sechs seis",
        7: "seven sieben sept siete",
        8: "eight acht huit ocho",
        9: "nine neun neuf nueve",
        10: "ten zehn dix diez",
        12: "twelve zwölf douze doce",
        15: "fifteen fünfzehn quinze quince",
        20: "twenty zwanzig vingt veinte",
        30: "thirty dreißig trente treinta",
        60: "sixty sechzig soixante sesenta",
    }.items()
    for word in words.split()
}
_LONG = (
    rf"(?P<n>\d{{1,3}}|{'|'.join(_SECONDS_IN_WORDS)})[ -]?"
    r"(?:s|secs?|seconds?|sekunden|secondes|segundos|秒)"
)
_LASTS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        _BY_ITSELF.format(rf"(?:about |exactly |ca\.? )?{_LONG}(?: long| lang)?"),
        rf"\b{_LONG}[ -](?:videos?|clips?|films?|movies?|footage|loops?|animations?|long\b)",
        rf"\b(?:duration|length|dauer|durée|duración)\s{{0,9}}(?:of|is|[:=])?\s{{0,9}}{_LONG}(?!\w)",
        rf"\bmake (?:it|this) (?:last )?{_LONG}(?!\w)",
    )
)
"""A length that is said of the whole: what happens after, or for, some seconds is none."""

_LONGER = re.compile(
    r"\bextend(?:ed)? (?:it|this|that|by|for|the (?:video|clip|shot|scene|film|footage))\b"
    r"|\b(?:twice|double|two times|three times|[2-9]x) (?:as long|longer|the (?:length|duration))\b"
    r"(?! as\b)"
    r"|\bmake (?:it|this|that|the (?:video|clip|shot|scene|film)) longer\b"
    r"|\bcontinue (?:it|this|the (?:video|clip|shot|scene|story|film|footage))\b"
    r"|\b(?:add|append) (?:another )?\d{1,2} (?:more )?s(?:ec(?:onds?)?)?\b"
    r"|\bverlänger[ent]|\bdoppelt so lang|延长|延長|удлин",
    re.IGNORECASE,
)
"""A wish for a longer video than the one that is edited."""


def asked_seconds(prompt: str) -> int | None:
    """The seconds that the prompt says the video has; None where it says nothing of the whole."""
    match = next(filter(None, (pattern.search(prompt) for pattern in _LASTS)), None)
    if match is None:
        return None
    said = match["n"].lower()
    return _SECONDS_IN_WORDS.get(said) or int(said)


def length_warnings(request: Request, durations: Sequence[str]) -> Iterator[Fault]:
    """A warning if the prompt asks for a length that the video will not have; `durations` are those
    of the model, empty for one that is not known. An edit is as long as its video."""
    if request.lasts_as():
        if _LONGER.search(request.prompt) and hasattr(request, "refer_type"):
            message = "the prompt asks for a longer video, and an edit is as long as its video."
            use = '"feature", which makes the shot after it, as long as duration says'
            yield Fault("refer_type", "longer_in_words", message, use)
        return
    asked, has = asked_seconds(request.prompt), request.setting.duration
    if asked is None or not has or asked == int(has) or "multi_prompt" in request.given():
        return
    nearest = min(durations or (str(asked),), key=lambda seconds: abs(int(seconds) - asked))
    message = f"the prompt asks for {asked} s, the video will have {has} s."
    if nearest == has:
        message = f"{message} That is the nearest that the model makes."
    use = f'"{nearest}"' if nearest != has else ""
    yield Fault("duration", "length_in_words", message, use)


def asked_ratio(prompt: str, bare: bool = False) -> str:
    """The ratio that the prompt asks for (`9:16`); empty without one. A time or a score is none.
    Words that may also say what is in a picture count only if they stand `bare` in it, by
    themselves, where there is no picture."""
    for match in _RATIO.finditer(prompt):
        ratio = f"{match[1]}:{match[2]}"
        around = prompt[max(0, match.start() - NEAR) : match.end() + NEAR]
        about = _ABOUT_RATIO.search(around)
        if ratio in _POSSIBLE and (about or (ratio in _SURE and not _A_TIME.search(around))):
            return ratio
    shapes = (*_SHAPES, *_BARE_SHAPES) if bare else _SHAPES
    return next((ratio for ratio, words in shapes if words.search(prompt)), "")


FITS = frozenset({"16:9", "9:16", "1:1"})
"""The ratios to which a first frame can be cropped here."""

UNLIKE = 0.05
"""How much (natural logarithm of their quotient) two ratios differ at least."""


def ratio_warnings(
    request: Request, sizes: Sequence[tuple[str, int | None, int | None]]
) -> Iterator[Fault]:
    """A warning if the prompt asks for a ratio that the video will not have. `sizes` are the
    pictures by field, with width and height in pixels, None where they are not known."""
    result = PRODUCTS[request.products[0]].result
    open_to_words = result == "video" and "aspect_ratio" not in request.model_fields_set
    asked = asked_ratio(request.prompt, open_to_words and not request.pictures())
    if not asked:
        return
    if hasattr(request, "aspect_ratio"):
        if asked != request.aspect_ratio and not request.lasts_as():
            has = request.aspect_ratio or "the ratio of its video"
            message = f"the prompt asks for {asked}, the {result} will have {has}."
            yield Fault("aspect_ratio", "ratio_in_words", message, f'"{asked}"')
        return
    for field, width, height in sizes:
        if field not in ("image", "image_tail") or not width or not height:
            continue
        wide, high = map(int, asked.split(":"))
        if abs(math.log(width * high / (height * wide))) > UNLIKE:
            message = f"the prompt asks for {asked}, the video takes its ratio from {field}, "
            message += f"{width}x{height} px."
            use = f'fit "{asked}"' if asked in FITS else f"a picture cropped to {asked}"
            yield Fault(field, "ratio_in_words", message, use)
        return
