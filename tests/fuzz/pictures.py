"""Fuzz the intake of pictures: whatever the URL or file, there is a picture within the cap or an error that names the part.

python tests/fuzz/pictures.py -max_total_time=60
"""

import asyncio
import struct
import warnings
import zlib
from base64 import b64encode
from io import BytesIO

import atheris

with atheris.instrument_imports(include=["PIL", "safer_server.media", "safer_server.fetch"]):
    from PIL import GifImagePlugin, Image, JpegImagePlugin, MpoImagePlugin, PngImagePlugin, WebPImagePlugin  # noqa: F401

    from safer_server.errors import InvalidRequestError, TooLargeError
    from safer_server.fetch import Fetcher
    from safer_server.media import Media, MediaLimits, read_picture

from seeds import arguments

PART = "messages[0].content[1]"
PIXELS = 50_000
WORDS = (
    b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"eXIf", b"iCCP", b"zTXt", b"iTXt",
    b"\xff\xd8", b"\xff\xc0", b"\xff\xc2", b"\xff\xda", b"\xff\xd9", b"\xff\xe1", b"\xff\xe2", b"Exif\0\0", b"MPF\0", b"\x01\x12",
    b"RIFF", b"WEBP", b"VP8 ", b"VP8L", b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"EXIF", b"GIF87a", b"GIF89a", b"\x21\xf9\x04",
    b"\x21\xff\x0bNETSCAPE2.0", b"II*\0", b"MM\0*", b"data:image/png;base64,", b"https://allowed.example/",
)  # fmt: skip


class Prepared(Fetcher):
    """Has the file already."""

    file = b""

    def __init__(self) -> None:
        """Nothing to connect to."""

    async def fetch(self, url: str, param: str) -> bytes:
        """Give the file."""
        return self.file


def examples() -> list[bytes]:
    """Small files of every format and mode, behind a byte that says that they are files, and URLs behind another."""
    files: list[bytes] = []
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    image = Image.radial_gradient("L").resize((16, 12))
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"):
        for kind in ("PNG", "JPEG", "WEBP", "GIF", "MPO"):
            for options in ({}, {"exif": exif, "progressive": True, "lossless": True}, {"save_all": True}):
                file = BytesIO()
                more = {"append_images": [image.convert(mode)]} if "save_all" in options else {}
                try:
                    image.convert(mode).save(file, kind, **options, **more)
                except (LookupError, OSError, ValueError):
                    continue  # not every format has every mode
                files.append(b"f" + file.getvalue())
    url = b"udata:image/png;base64," + b64encode(files[0][1:])
    return [*files, url, b"uhttps://allowed.example/a.png"]


def sealed(file: bytes) -> bytes:
    """The same file, but if it is a PNG with right checksums, for without them nothing in it is looked at."""
    if file[:4] != b"\x89PNG":
        return file
    at, whole = 8, file[:8]
    while at + 12 <= len(file):
        (length,) = struct.unpack_from(">I", file, at)
        chunk = file[at + 4 : at + 8 + length]
        whole += file[at : at + 4] + chunk + struct.pack(">I", zlib.crc32(chunk))
        at += 12 + length
    return whole + file[at:]


def main() -> None:
    """Run until the time is up, or something is found."""
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    loop, fetcher = asyncio.new_event_loop(), Prepared()
    media = Media(MediaLimits(100_000, PIXELS), fetcher)

    def try_one(data: bytes) -> None:
        fetcher.file = sealed(data[1:])
        url = data[1:].decode("utf-8", "replace") if data[:1] == b"u" else "https://allowed.example"
        try:
            image = loop.run_until_complete(read_picture(url, PART, media)).image
        except (InvalidRequestError, TooLargeError) as error:
            image, param = Image.new("RGB", (1, 1)), error.param
        else:
            param = PART
        assert (image.mode, param) == ("RGB", PART)
        assert 0 < image.width * image.height <= PIXELS
        assert len(image.tobytes()) == 3 * image.width * image.height

    with arguments(examples(), WORDS) as given:
        atheris.Setup(given, try_one)
        atheris.Fuzz()


main()
