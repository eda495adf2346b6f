"""Pictures: what the model is shown is what a viewer would show."""

import asyncio
import binascii
import threading
from base64 import b64decode
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from safer_server.errors import ApiError, TooLargeError
from safer_server.fetch import Fetcher
from safer_server.media import Media, MediaLimits, Picture, read_picture

LIMITS = MediaLimits(1_000_000, 1_000_000)
Write = Callable[..., str]


def read(url: str, limits: MediaLimits = LIMITS) -> Picture:
    return asyncio.run(read_picture(url, "messages[0].content[1]", Media(limits)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_every_allowed_format_becomes_rgb(data_url: Write, kind: str) -> None:
    picture = read(data_url(Image.new("RGB", (30, 20), (250, 0, 0)), kind))
    assert (picture.image.mode, picture.image.size, picture.animated) == ("RGB", (30, 20), False)
    red, green, blue = picture.image.getpixel((5, 5))  # type: ignore[misc]
    assert red > 240 > 20 > max(green, blue)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
def test_every_mode_becomes_rgb(data_url: Write, mode: str) -> None:
    picture = read(data_url(Image.new(mode, (9, 9)), "JPEG" if mode == "CMYK" else "PNG"))
    assert picture.image.mode == "RGB"


def test_transparent_pixels_look_white_and_hide_nothing(data_url: Write) -> None:
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    image.putpixel((0, 0), (0, 0, 255, 255))
    shown = read(data_url(image)).image
    assert shown.getpixel((0, 0)) == (0, 0, 255)
    assert shown.getpixel((3, 3)) == (255, 255, 255)


def test_a_16_bit_picture_keeps_its_contrast(data_url: Write) -> None:
    image = Image.new("I;16", (2, 1), 65_535)
    image.putpixel((0, 0), 32_768)
    shown = read(data_url(image)).image
    assert (shown.getpixel((0, 0)), shown.getpixel((1, 0))) == ((128, 128, 128), (255, 255, 255))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_shown_and_the_rest_is_told(data_url: Write, kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    picture = read(data_url(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert picture.animated
    red, _, blue = picture.image.getpixel((4, 4))  # type: ignore[misc]
    assert red > blue


def test_a_camera_s_preview_is_no_animation(data_url: Write) -> None:
    frames = [Image.new("RGB", (size, size), "red") for size in (16, 8)]
    url = data_url(frames[0], "MPO", save_all=True, append_images=frames[1:]).replace("image/mpo", "image/jpeg")
    assert not read(url).animated


def test_caps_are_exact(data_url: Write) -> None:
    url = data_url(Image.new("RGB", (10, 10)))
    size = len(b64decode(url.partition(",")[2]))
    assert read(url, MediaLimits(size, 100)).image.size == (10, 10)
    for limits in (MediaLimits(size, 99), MediaLimits(size - 3, 100)):
        with pytest.raises(TooLargeError) as error:
            read(url, limits)
        assert error.value.param == "messages[0].content[1]"


def test_pixels_are_judged_before_anything_is_decoded(data_url: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    with pytest.raises(TooLargeError):
        read(data_url(Image.new("1", (1001, 1000))))


class Prepared(Fetcher):
    """Has the file already."""

    def __init__(self, file: bytes) -> None:
        self.file = file

    async def fetch(self, url: str, param: str) -> bytes:
        return self.file


@pytest.mark.parametrize("scheme", ["data", "https"])
def test_the_event_loop_does_none_of_the_work(data_url: Write, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    threads: dict[str, int] = {}

    def note(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **options: Any) -> Any:
            threads[name] = threading.get_ident()
            return work(*arguments, **options)

        return noted

    image = Image.new("RGBA", (40, 20))
    image.getexif()[0x0112] = 6
    url = data_url(image, exif=image.getexif())
    fetcher = Prepared(b64decode(url.partition(",")[2]))
    for owner, name in (
        (binascii, "a2b_base64"),
        (Image, "open"),
        (ImageFile.ImageFile, "load"),
        (ImageOps, "exif_transpose"),
        (Image.Image, "convert"),
        (Image.Image, "paste"),
    ):
        monkeypatch.setattr(owner, name, note(name, getattr(owner, name)))
    reduce = note("reduce", lambda picture: picture.resize((2, 4)))
    media = Media(LIMITS, fetcher, reduce)
    shown = asyncio.run(read_picture(url if scheme == "data" else "https://allowed.example", "part", media))
    assert shown.image.size == (2, 4)
    assert len(threads) == 7 - (scheme == "https")
    assert threading.get_ident() not in threads.values()


@settings(max_examples=200)
@given(url=st.text(max_size=60) | st.text(max_size=40).map(lambda text: f"data:image/png;base64,{text}"))
def test_any_text_as_url_is_refused(url: str) -> None:
    with pytest.raises(ApiError) as error:
        read(url)
    assert error.value.status in (400, 413)
