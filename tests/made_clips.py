"""Small real MP4 files for tests, encoded on the spot."""

from pathlib import Path

import av
from PIL import Image


def make_clip(
    path: Path,
    *,
    frames: int = 24,
    fps: int = 24,
    size: tuple[int, int] = (64, 48),
    sound: bool = False,
    options: dict[str, str] | None = None,
    title: str = "",
) -> Path:
    """An H.264 clip whose n-th frame is a grey of brightness n * 255 / (frames - 1)."""
    with av.open(str(path), "w", format="mp4", options=options or {}) as container:
        if title:
            container.metadata["title"] = title
        video = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        video.width, video.height = size
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=8000, layout="mono") if sound else None
        for number in range(frames):
            grey = round(number * 255 / max(frames - 1, 1))
            picture = av.VideoFrame.from_image(Image.new("RGB", size, (grey, grey, grey)))
            container.mux(video.encode(picture))
        container.mux(video.encode())
        if audio is not None:
            _play_silence(container, audio)
    return path


def make_sound(path: Path) -> Path:
    """An MP4 with an AAC track and no video."""
    with av.open(str(path), "w", format="mp4") as container:
        _play_silence(container, container.add_stream("aac", rate=8000, layout="mono"))
    return path


def _play_silence(container: av.container.OutputContainer, audio: av.AudioStream) -> None:
    silence = av.AudioFrame(format="fltp", layout="mono", samples=1024)
    silence.sample_rate = 8000
    for plane in silence.planes:
        plane.update(bytes(plane.buffer_size))
    container.mux(audio.encode(silence))
    container.mux(audio.encode())
