"""Files that are odd, broken or hostile: what comes out is what a viewer shows, or an error that names the picture."""

import asyncio
import struct
import zlib
from base64 import b64encode
from collections.abc import Callable
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from safer_server.errors import ApiError, InvalidRequestError, TooLargeError
from safer_server.media import MAX_EXIF_SEGMENTS, Media, MediaLimits, Picture, read_picture

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
PIXELS = 1_000_000
PART = "messages[0].content[1]"

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # as the server does


def read(file: bytes, kind: str = "png") -> Picture:
    url = f"data:image/{kind};base64,{b64encode(file).decode()}"
    return asyncio.run(read_picture(url, PART, Media(MediaLimits(2_000_000, PIXELS))))


def refused(file: bytes, kind: str = "png") -> str | None:
    with pytest.raises(ApiError) as error:
        read(file, kind)
    assert error.value.param == PART
    assert isinstance(error.value, InvalidRequestError | TooLargeError)
    return error.value.code


def written(image: Image.Image, kind: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def drawn() -> Image.Image:
    """A picture that looks different from every side: red above, a blue corner."""
    image = Image.new("RGB", (48, 32), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 47, 7), "red")
    draw.rectangle((0, 24, 7, 31), "blue")
    return image


def looks_like(shown: Image.Image, image: Image.Image) -> bool:
    """Whether two pictures agree but for what a lossy format loses."""
    if shown.size != image.size:
        return False
    pairs = zip(shown.resize((12, 8)).tobytes(), image.convert("RGB").resize((12, 8)).tobytes(), strict=True)
    return max(abs(one - other) for one, other in pairs) < 60


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, color: int = 2, interlaced: int = 0) -> bytes:
    """A PNG of these chunks behind its header."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def idat(*rows: bytes) -> bytes:
    """The pixels of a PNG, unfiltered."""
    return chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))


TURNS: dict[int, Callable[[Image.Image], Image.Image]] = {
    1: lambda image: image,
    2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
    4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
    7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
}
"""How a camera of each orientation stores an upright picture."""


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_every_orientation_is_shown_upright(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = read(written(TURNS[orientation](drawn()), kind, exif=exif)).image
    assert looks_like(shown, drawn())


@pytest.mark.parametrize("orientation", [0, 9, 255, 65_535])
def test_an_orientation_that_there_is_not_is_none(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert looks_like(read(written(drawn(), "JPEG", exif=exif)).image, drawn())


@pytest.mark.parametrize(
    "exif", [b"", b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0\xff\xff\xff\xff", b"junk" * 50]
)
def test_broken_notes_of_a_camera_do_not_hide_the_picture(exif: bytes) -> None:
    assert looks_like(read(written(drawn(), "JPEG", exif=exif)).image, drawn())


@pytest.mark.parametrize(("segments", "code"), [(MAX_EXIF_SEGMENTS, None), (MAX_EXIF_SEGMENTS + 1, "invalid_image")])
def test_notes_of_a_camera_come_in_few_pieces(segments: int, code: str | None) -> None:
    """Ten megabytes of the smallest pieces would keep a thread busy for more than a minute."""
    file = written(drawn(), "JPEG")
    file = file[:2] + b"\xff\xe1\0\x09Exif\0\0x" * segments + file[2:]
    if code is None:
        assert looks_like(read(file).image, drawn())
    else:
        assert refused(file) == code


def adam7(image: Image.Image) -> bytes:
    """An interlaced PNG, which Pillow reads but does not write."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows: list[bytes] = []
    for left, top, right, down in passes:
        for y in range(top, image.height, down):
            row = b"".join(bytes(image.getpixel((x, y))) for x in range(left, image.width, right))  # type: ignore[arg-type]
            rows += [row] if row else []
    return png(*image.size, idat(*rows), interlaced=1)


PALETTE = bytes(value for number in range(256) for value in (number, 0, 255 - number))

SHOWN: list[tuple[str, bytes, Image.Image]] = [
    ("interlaced PNG", adam7(drawn()), drawn()),
    ("interlaced GIF", written(drawn().quantize(8), "GIF", interlace=True), drawn()),
    ("progressive JPEG", written(drawn(), "JPEG", progressive=True, quality=95), drawn()),
    ("CMYK JPEG", written(drawn().convert("CMYK"), "JPEG", quality=95), drawn()),
    ("grey JPEG", written(drawn().convert("L"), "JPEG"), drawn().convert("L")),
    ("lossless WebP", written(drawn(), "WEBP", lossless=True), drawn()),
    ("palette", written(drawn().quantize(4), "PNG", bits=2), drawn()),
    ("bilevel", written(drawn().convert("1", dither=Image.Dither.NONE), "PNG"), drawn().convert("1", dither=Image.Dither.NONE)),
    (
        "16 bit RGB", png(2, 1, idat(bytes.fromhex("ffff 8000 0000  0000 8000 ffff")), depth=16),
        Image.frombytes("RGB", (2, 1), b"\xff\x80\0\0\x80\xff"),
    ),
    (
        "16 bit grey", png(2, 1, idat(bytes.fromhex("8000 ffff")), depth=16, color=0),
        Image.frombytes("L", (2, 1), b"\x80\xff"),
    ),
    (
        "16 bit grey, transparent", png(2, 1, idat(bytes.fromhex("0000 ffff  0000 0000")), depth=16, color=4),
        Image.frombytes("L", (2, 1), b"\0\xff"),
    ),
    (
        "transparent palette", png(2, 1, chunk(b"PLTE", PALETTE[:6]), chunk(b"tRNS", b"\0"), idat(b"\0\1"), color=3),
        Image.frombytes("RGB", (2, 1), b"\xff\xff\xff\1\0\xfe"),
    ),
    (
        "transparent colour", png(2, 1, chunk(b"tRNS", b"\0\0\0\0\0\0"), idat(b"\0\0\0\0\0\1")),
        Image.frombytes("RGB", (2, 1), b"\xff\xff\xff\0\0\1"),
    ),
    (
        "transparent grey", png(2, 1, chunk(b"tRNS", b"\0\7"), idat(b"\7\0"), color=0),
        Image.frombytes("RGB", (2, 1), b"\xff\xff\xff\0\0\0"),
    ),
    ("text behind the end", written(drawn(), "PNG") + b"<script>alert(1)</script>", drawn()),
    ("archive behind the end", written(drawn(), "JPEG") + b"PK\3\4" * 100, drawn()),
    ("GIF that says PNG later", written(drawn().quantize(8), "GIF") + written(Image.new("RGB", (9, 9)), "PNG"), drawn()),
]  # fmt: skip


@pytest.mark.parametrize(("file", "image"), [row[1:] for row in SHOWN], ids=[row[0] for row in SHOWN])
def test_what_is_shown_is_what_a_viewer_shows(file: bytes, image: Image.Image) -> None:
    picture = read(file)
    assert (picture.image.mode, picture.animated) == ("RGB", False)
    assert looks_like(picture.image, image)
    if max(image.size) == 2:
        assert picture.image.tobytes() == image.convert("RGB").tobytes()


@pytest.mark.parametrize("declared", ["png", "jpeg", "jpg", "webp", "gif"])
@pytest.mark.parametrize("kind", FORMATS)
def test_the_file_says_which_of_the_four_it_is(kind: str, declared: str) -> None:
    assert read(written(drawn(), kind), declared).image.size == (48, 32)


OTHER = {
    **{kind: written(drawn(), kind) for kind in ("BMP", "TIFF", "ICO", "PPM", "TGA", "PCX", "DDS", "SGI", "PDF", "EPS")},
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "XML": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><svg>&b;</svg>',
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 100,
    "AVIF": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + b"\0" * 100,
    "JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0" * 100,
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 100,
    "PSD": b"8BPS\0\1" + b"\0" * 100,
    "HTML": b"<!doctype html><img src=x>",
    "ZIP": b"PK\3\4" + b"\0" * 100,
    "MP4": b"\0\0\0\x18ftypmp42" + b"\0" * 100,
    "WAV": b"RIFF\x24\0\0\0WAVEfmt " + b"\0" * 100,
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "nothing": b"",
    "zeros": b"\0" * 1000,
}  # fmt: skip


@pytest.mark.parametrize("declared", ["png", "jpeg", "webp", "gif"])
@pytest.mark.parametrize("kind", OTHER)
def test_other_formats_are_refused_whatever_they_are_called(kind: str, declared: str) -> None:
    assert refused(OTHER[kind], declared) == "invalid_image"


@pytest.mark.parametrize("kind", ["svg+xml", "heic", "avif", "bmp", "tiff", "x-icon", "*", "apng", ""])
def test_other_types_are_refused_whatever_they_hold(kind: str) -> None:
    assert refused(written(drawn(), "PNG"), kind) == "unsupported_image_type"


@pytest.mark.parametrize("kind", FORMATS)
def test_of_a_file_that_ends_early_nothing_is_shown_that_is_not_there(kind: str) -> None:
    """Cut anywhere: what is shown is the whole picture, because no more than an end mark is missing."""
    file = written(drawn(), kind)
    whole = read(file).image.tobytes()
    cut = [end for end in range(len(file)) if end < 64 or end % 7 == 0 or end > len(file) - 32]
    for end in cut:
        try:
            shown = read(file[:end]).image.tobytes()
        except InvalidRequestError:
            continue
        assert shown == whole, end


def gif(width: int, height: int, frame: tuple[int, int, int, int], data: bytes) -> bytes:
    """A GIF of one frame, which may lie anywhere."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return head + b"\x2c" + struct.pack("<HHHHB", *frame, 0) + b"\x02" + bytes([len(data)]) + data + b"\0\x3b"


def vp8x(width: int, height: int, file: bytes) -> bytes:
    """A WebP whose canvas has another size than its picture."""
    canvas = struct.pack("<I", 0) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", len(canvas)) + canvas + file[12:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def sof(file: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header tells another size."""
    at = file.index(b"\xff\xc0") + 5
    return file[:at] + struct.pack(">HH", height, width) + file[at + 4 :]


SMALL, ROW = written(drawn(), "WEBP"), b"\0\0\0" * 9
BOMB = zlib.compress(b"0" * 30_000_000, 9)

HOSTILE: list[tuple[str, bytes, str]] = [
    # headers that lie
    ("PNG without pixels", png(9, 9), "invalid_image"),
    ("PNG of no width", png(0, 9, idat(b"")), "invalid_image"),
    ("PNG of no height", png(9, 0, idat(b"")), "invalid_image"),
    ("PNG of no size", png(0, 0, idat(b"")), "invalid_image"),
    ("PNG of the largest size", png(2**31 - 1, 2**31 - 1, idat(b"")), "too_large"),
    ("PNG of a negative size", png(2**32 - 1, 2**32 - 1, idat(b"")), "too_large"),
    ("PNG over the cap by a row", png(1000, 1001, idat(b"\0" * 3000)), "too_large"),
    (
        "PNG with a second header",
        png(9, 9, chunk(b"IHDR", struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0)), idat(ROW)), "too_large",
    ),
    ("PNG of an unknown depth", png(9, 9, idat(ROW), depth=7), "invalid_image"),
    ("PNG of an unknown colour", png(9, 9, idat(ROW), color=9), "invalid_image"),
    ("PNG without its palette", png(9, 1, idat(b"\1" * 9), color=3, depth=9), "invalid_image"),
    ("GIF of no size", gif(0, 0, (0, 0, 0, 0), b"\x44\x01"), "invalid_image"),
    ("GIF whose frame is larger than its screen", gif(1, 1, (0, 0, 30_000, 30_000), b"\x44\x01"), "too_large"),
    ("GIF whose frame lies outside its screen", gif(9, 9, (65_535, 65_535, 1, 1), b"\x44\x01"), "too_large"),
    ("GIF with too little data", gif(900, 900, (0, 0, 900, 900), b"\x44\x01"), "invalid_image"),
    ("WebP with a large canvas", vp8x(16_000, 16_000, SMALL), "too_large"),
    ("WebP with a small canvas", vp8x(2, 2, SMALL), "invalid_image"),
    ("JPEG of no size", sof(written(drawn(), "JPEG"), 0, 0), "invalid_image"),
    ("JPEG with a large header", sof(written(drawn(), "JPEG"), 60_000, 60_000), "too_large"),
    ("two hundred times as wide as high", png(201, 1, idat(b"\0" * 603)), "invalid_image"),
    # what swells when it is unpacked
    ("text that swells", png(9, 1, chunk(b"zTXt", b"k\0\0" + BOMB), idat(ROW)), "invalid_image"),
    ("international text that swells", png(9, 1, chunk(b"iTXt", b"k\0\1\0\0\0" + BOMB), idat(ROW)), "invalid_image"),
    ("text that swells behind the pixels", png(9, 1, idat(ROW), chunk(b"zTXt", b"k\0\0" + BOMB)), "invalid_image"),
    ("profile that swells", png(9, 1, chunk(b"iCCP", b"k\0\0" + BOMB), idat(ROW)), "invalid_image"),
    ("many texts", png(9, 1, *[chunk(b"zTXt", b"k\0\0" + zlib.compress(b"0" * 1_000_000))] * 80, idat(ROW)), "invalid_image"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "code"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_a_hostile_file_is_refused(file: bytes, code: str) -> None:
    assert refused(file) == code


@pytest.mark.parametrize(
    ("file", "size"),
    [
        (png(9, 9, idat(ROW)), (9, 9)),
        (sof(written(drawn(), "JPEG"), 48, 900), (48, 900)),
        (png(9, 1, chunk(b"IDAT", zlib.compress(b"\0" * 30_000_000))), (9, 1)),
        (png(9, 1, idat(ROW)).replace(b"IEND", b"JEND"), (9, 1)),
    ],
    ids=["PNG with too few rows", "JPEG with too few rows", "PNG with too many rows", "PNG without an end"],
)
def test_a_header_is_taken_at_its_word_as_viewers_do(file: bytes, size: tuple[int, int]) -> None:
    """What the file lacks of its picture is filled, what it has too much is never unpacked."""
    assert read(file).image.size == size


def test_an_animation_may_hide_behind_a_still_picture() -> None:
    """Viewers that know APNG never show the picture that others see: one frame that is not the default image is an animation."""
    control = struct.pack(">IIIIIHHBB", 0, 9, 1, 0, 0, 1, 1, 0, 0)
    frame = chunk(b"fdAT", struct.pack(">I", 1) + zlib.compress(b"\0" + b"\xff\0\0" * 9))
    file = png(9, 1, chunk(b"acTL", struct.pack(">II", 1, 0)), idat(ROW), chunk(b"fcTL", control), frame)
    assert read(file).animated


EXIF = Image.Exif()
EXIF[0x0112], EXIF[0x010F], EXIF[0x8769] = 6, "maker", {0x9003: "2026:01:01 00:00:00"}
FILES = [
    *(written(Image.linear_gradient("L").resize((12, 12)), kind) for kind in FORMATS),
    *(written(drawn().resize((12, 9)), kind, exif=EXIF) for kind in ("PNG", "JPEG", "WEBP")),
    written(drawn().resize((12, 9)).convert("CMYK"), "JPEG", progressive=True),
    written(drawn().resize((12, 9)).quantize(4), "PNG", transparency=1),
    adam7(drawn().resize((12, 9))),
    *(
        written(drawn().resize((12, 9)), kind, save_all=True, append_images=[Image.new("RGB", (12, 9), "red")])
        for kind in ("PNG", "GIF", "WEBP", "MPO")
    ),
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A small file with some bytes changed, cut out, repeated or taken from another."""
    data = bytearray(draw(st.sampled_from(FILES)))
    for _ in range(draw(st.integers(1, 8))):
        at = draw(st.integers(0, len(data) - 1))
        match draw(st.sampled_from(["byte", "bit", "cut", "repeat", "swap"])):
            case "byte":
                data[at] = draw(st.integers(0, 255))
            case "bit":
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[at : at + draw(st.integers(1, 8))]
            case "repeat":
                data[at:at] = data[at : at + draw(st.integers(1, 40))]
            case "swap":
                other = draw(st.sampled_from(FILES))
                data[at : at + 8] = other[at : at + 8]
        if not data:
            break
    return bytes(data[: draw(st.integers(0, len(data))) if draw(st.booleans()) else None])


@settings(max_examples=300)
@given(file=damaged())
def test_a_damaged_file_is_a_picture_or_refused(file: bytes) -> None:
    try:
        image = read(file).image
        code, param = "invalid_image", PART
    except ApiError as error:
        image, code, param = Image.new("RGB", (1, 1)), str(error.code), str(error.param)
    assert (code in ("invalid_image", "too_large"), param) == (True, PART)
    assert (image.mode, image.width * image.height <= PIXELS) == ("RGB", True)
