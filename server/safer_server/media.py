"""Pictures of a request: from a `data:` or `https:` URL to an RGB image, with every cap checked before anything is decoded."""

import binascii
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO

import anyio.to_thread
from PIL import Image, ImageOps

from safer_server.errors import InvalidRequestError, TooLargeError
from safer_server.fetch import IMAGE_TYPES, Fetcher

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
_JPEG_WITH_PREVIEWS = "MPO"
_EXIF = b"Exif\0\0"
_DECODER_FAULTS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    struct.error,
    zlib.error,
)

# Pillow warns of notes in a file that it cannot read. Python remembers every wording for good, and callers choose the wording.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

MAX_EXIF_SEGMENTS = 100
"""A JPEG may spread its camera's notes over segments, which Pillow joins one by one: a file of small ones takes it minutes."""

MAX_ASPECT = 200
"""Longest side over shortest: the most that Qwen2.5-VL's image processor takes."""


@dataclass(frozen=True)
class MediaLimits:
    """Caps on one picture: bytes of the file, and pixels."""

    image_bytes: int
    image_pixels: int


@dataclass(frozen=True)
class Media:
    """How pictures are taken."""

    limits: MediaLimits
    fetcher: Fetcher | None = None
    """Fetches what `https:` URLs lead to; None where only `data:` URLs are allowed."""
    reduce: Callable[[Image.Image], Image.Image] | None = None
    """Resizes a large picture as the model's own processor would, so that no more than it needs is kept."""


@dataclass(frozen=True)
class Picture:
    """A decoded picture; of an animated one only the first frame is looked at."""

    image: Image.Image
    animated: bool
    sha256: str
    """Of the file as it came."""


async def read_picture(url: str, param: str, media: Media) -> Picture:
    """Decode a picture off the event loop; `param` names its part in errors."""
    if url[:5].lower() == "data:":
        return await anyio.to_thread.run_sync(_read_data, url, param, media)
    if media.fetcher is None:
        raise InvalidRequestError(f"{param}: only data: URLs are allowed", param=param, code="invalid_image_url")
    file = await media.fetcher.fetch(url, param)
    return await anyio.to_thread.run_sync(_decode, file, param, media)


def _read_data(url: str, param: str, media: Media) -> Picture:
    return _decode(_file_of(url, param, media.limits), param, media)


def _file_of(url: str, param: str, limits: MediaLimits) -> bytes:
    """Take the file out of a `data:` URL."""
    head, comma, data = url[5:].partition(",")
    kind, *parameters = head.lower().split(";")
    if not comma or parameters != ["base64"]:
        message = f"{param}: the URL must have the form data:image/TYPE;base64,DATA"
        raise InvalidRequestError(message, param=param, code="invalid_image_url")
    if kind not in IMAGE_TYPES:
        message = f"{param}: the picture must be a PNG, JPEG, WebP or GIF"
        raise InvalidRequestError(message, param=param, code="unsupported_image_type")
    if len(data) * 3 // 4 > limits.image_bytes + 2:
        raise TooLargeError(f"{param}: the picture is larger than {limits.image_bytes} bytes", param=param)
    try:
        return binascii.a2b_base64(data, strict_mode=True)
    except ValueError:
        message = f"{param}: the data of the URL is not valid base64"
        raise InvalidRequestError(message, param=param, code="invalid_base64") from None


def _decode(file: bytes, param: str, media: Media) -> Picture:
    try:
        if file.count(_EXIF) > MAX_EXIF_SEGMENTS:
            raise ValueError("too many notes")
        with Image.open(BytesIO(file), formats=_FORMATS) as image:
            _check_size(image, param, media.limits)
            animated = image.format != _JPEG_WITH_PREVIEWS and getattr(image, "is_animated", False)
            image.load()
            shown = _on_white(_eight_bits(ImageOps.exif_transpose(image)))
            kept = shown if media.reduce is None else media.reduce(shown)
            return Picture(kept, animated, sha256(file).hexdigest())
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise TooLargeError(f"{param}: the picture has too many pixels", param=param) from None
    except _DECODER_FAULTS:
        message = f"{param}: the picture cannot be decoded"
        raise InvalidRequestError(message, param=param, code="invalid_image") from None


def _check_size(image: Image.Image, param: str, limits: MediaLimits) -> None:
    """Judge the size that the header announces; nothing has been decoded yet."""
    width, height = image.size
    if width * height > limits.image_pixels:
        raise TooLargeError(f"{param}: the picture has more than {limits.image_pixels} pixels", param=param)
    if max(width, height) > MAX_ASPECT * max(1, min(width, height)):
        message = f"{param}: one side of the picture is more than {MAX_ASPECT} times the other"
        raise InvalidRequestError(message, param=param, code="invalid_image")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit greys down; Pillow's own conversion cuts them off, which would blank the picture out."""
    if not image.mode.startswith("I"):
        return image
    return image.convert("I").point(lambda level: level * (1 / 256)).convert("L")


def _on_white(image: Image.Image) -> Image.Image:
    """Show the picture as a viewer would: what is transparent appears white, and its hidden colours are not read."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    layered = image.convert("RGBA")
    canvas = Image.new("RGB", layered.size, "white")
    canvas.paste(layered, mask=layered.getchannel("A"))
    return canvas
