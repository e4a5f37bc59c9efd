import base64
import json
import random
import threading

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_mcp.inputs.held import CHUNK_BYTES, SourceChanged, StreamedBase64, size_text
from kling_mcp.providers.json_body import WRITE_BYTES, JsonBody
from kling_tools.errors import ImageRejected


class Bytes:
    """A source in memory that counts what is read and remembers the threads that read it."""

    def __init__(self, data):
        self.data = data
        self.size = len(data)
        self.lengths = []
        self.threads = set()

    def read_at(self, offset, length):
        self.lengths.append(length)
        self.threads.add(threading.get_ident())
        return self.data[offset : offset + length]


class Changing(Bytes):
    """A source that is found changed from its third chunk on."""

    def read_at(self, offset, length):
        if offset > CHUNK_BYTES:
            raise SourceChanged("photo.png was changed while it was being read")
        return super().read_at(offset, length)


def streamed(data, label="photo.png"):
    return StreamedBase64(Bytes(data), label)


def plain(value):
    """The value with every stream replaced by its whole text."""
    match value:
        case StreamedBase64():
            return b"".join(value).decode()
        case dict():
            return {name: plain(inner) for name, inner in value.items()}
        case list():
            return [plain(inner) for inner in value]
    return value


async def joined(body):
    return b"".join([chunk async for chunk in body])


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary(max_size=40).map(streamed),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), _values, max_size=5))
def test_the_body_is_the_json_of_its_fields_and_as_long_as_it_says(fields):
    body = JsonBody(fields)
    sent = anyio.run(joined, body)

    assert json.loads(sent) == plain(fields)
    assert sent == json.dumps(plain(fields), separators=(",", ":")).encode()
    assert body.content_length == len(sent)


@pytest.mark.anyio
@pytest.mark.parametrize("size", [0, 1, 2, 3, CHUNK_BYTES - 1, CHUNK_BYTES, 2 * CHUNK_BYTES + 1])
async def test_pictures_of_any_length_become_whole_base64(size):
    data = random.Random(size).randbytes(size)
    text = streamed(data)
    body = JsonBody({"image": text})

    sent = await joined(body)

    assert base64.b64decode(json.loads(sent)["image"], validate=True) == data
    assert len(b"".join(text)) == text.encoded_length
    assert body.content_length == len(sent)


@pytest.mark.anyio
async def test_no_piece_is_larger_than_256_kib_and_files_are_read_off_the_loop():
    source = Bytes(bytes(1_000_000))
    body = JsonBody({"image": StreamedBase64(source, "photo.png")})

    pieces = [len(piece) async for piece in body]

    assert 192 * 1024 <= max(pieces) <= WRITE_BYTES == 256 * 1024
    assert max(source.lengths) == CHUNK_BYTES
    assert threading.get_ident() not in source.threads


@pytest.mark.anyio
async def test_small_pictures_and_the_text_between_them_go_out_in_one_piece():
    pictures = [{"image": streamed(bytes([number]) * 40_000)} for number in range(4)]
    body = JsonBody({"model_name": "kling-v1-6", "image_list": pictures, "prompt": "waves"})

    pieces = [piece async for piece in body]

    assert [len(piece) for piece in pieces] == [body.content_length]
    assert [len(item["image"]) for item in json.loads(pieces[0])["image_list"]] == [53_336] * 4


@pytest.mark.anyio
async def test_a_body_of_a_long_text_goes_out_though_it_is_more_than_a_piece():
    body = JsonBody({"prompt": "x" * WRITE_BYTES, "image": streamed(b"abc")})

    assert len(await joined(body)) == body.content_length


@pytest.mark.anyio
async def test_numbers_beyond_2_to_the_53_stay_exact():
    body = JsonBody({"element_list": [{"element_id": 829611643369439283}]})

    assert await joined(body) == b'{"element_list":[{"element_id":829611643369439283}]}'


@pytest.mark.anyio
async def test_tuples_are_lists_and_a_lone_surrogate_is_still_json():
    assert await joined(JsonBody({"a": ("\ud800", 1)})) == b'{"a":["\\ud800",1]}'


@pytest.mark.parametrize(
    ("value", "error"),
    [(float("nan"), ValueError), (b"bytes", TypeError), ({1: 2}, TypeError), (object(), TypeError)],
)
def test_what_is_no_json_is_refused_before_anything_is_sent(value, error):
    with pytest.raises(error):
        JsonBody({"field": value})


@pytest.mark.anyio
async def test_a_request_sent_again_by_httpx_has_the_same_body_and_length():
    received = []

    async def answer(request):
        received.append((request.headers["content-length"], await request.aread()))
        assert "transfer-encoding" not in request.headers
        return httpx.Response(401 if len(received) == 1 else 200)

    class FreshToken(httpx.Auth):
        def auth_flow(self, request):
            response = yield request
            if response.status_code == 401:
                yield request

    body = JsonBody({"image": streamed(bytes(500_000)), "prompt": "waves"})
    transport = httpx.MockTransport(answer)
    async with httpx.AsyncClient(transport=transport, auth=FreshToken()) as client:
        response = await client.post(
            "http://kling.test/v1/videos/image2video",
            content=body,
            headers={"Content-Length": str(body.content_length)},
        )

    assert response.status_code == 200
    assert received[0] == received[1]
    assert len(received[0][1]) == int(received[0][0])


@pytest.mark.anyio
async def test_a_picture_that_changes_while_it_is_sent_ends_the_body_before_its_end():
    changing = StreamedBase64(Changing(bytes(CHUNK_BYTES * 3)), "photo.png")
    body = JsonBody({"dynamic_masks": [{"mask": streamed(b"abc")}, {"mask": changing}]})
    sent = bytearray()

    async def send():
        async for chunk in body:
            sent.extend(chunk)

    with pytest.raises(ImageRejected) as refused:
        await send()

    assert 0 < len(sent) < body.content_length
    (fault,) = refused.value.faults
    assert (fault.field, fault.rule) == ("dynamic_masks[1].mask", "image_changed")
    assert "photo.png was changed" in str(refused.value)


def test_the_preview_shows_pictures_in_a_few_words_and_all_else_as_it_is():
    body = JsonBody(
        {
            "model_name": "kling-v2-6",
            "image": streamed(bytes(1_258_291)),
            "image_list": [{"image": streamed(b"abc", "inline picture")}],
            "image_tail": "https://pics.example.com/end.png",
        }
    )

    assert body.preview() == {
        "model_name": "kling-v2-6",
        "image": "<base64 of photo.png, 1.2 MB>",
        "image_list": [{"image": "<base64 of inline picture, 3 bytes>"}],
        "image_tail": "https://pics.example.com/end.png",
    }


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (12_345, "12 KB"), (10 * 1024 * 1024, "10.0 MB")],
)
def test_sizes_are_told_in_words(size, text):
    assert size_text(size) == text
