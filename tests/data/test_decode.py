from __future__ import annotations

import math
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from senet.data import decode as room
from senet.data.decode import MOST_PIXELS, ImageFacts, LargeEnough, UnreadableImage, decode, examine

from .pictures import encoded, noise, quadrants, smooth


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM", "GIF"])
def test_lossless_formats_come_back_exactly(format: str) -> None:
    picture = quadrants()
    assert np.array_equal(pixels(decode(encoded(picture, format), "x")), pixels(picture))


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_lossy_formats_come_back_nearly(format: str) -> None:
    picture = smooth(40, 24)
    assert np.abs(pixels(decode(encoded(picture, format, quality=98), "x")) - pixels(picture)).max() < 12


def test_greyscale_stays_greyscale() -> None:
    picture = noise(9, 5, channels=1)
    image = decode(encoded(picture), "x")
    assert image.mode == "L" and np.array_equal(pixels(image), pixels(picture))


def test_one_bit_becomes_black_and_white() -> None:
    picture = quadrants().convert("1")
    image = decode(encoded(picture), "x")
    assert image.mode == "L" and set(pixels(image).ravel()) == {0, 255}


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_greyscale_is_scaled_and_not_clipped(format: str) -> None:
    values = np.array([[0, 257, 128], [32768, 40000, 65535]], dtype=np.uint16)
    image = decode(encoded(Image.fromarray(values), format), "x")
    assert image.mode == "L"
    assert pixels(image).tolist() == np.rint(values / 65535 * 255).astype(int).tolist()


def test_big_endian_16_bit_greyscale() -> None:
    content = b"P5 2 1 65535\n" + bytes([0x80, 0x00, 0xFF, 0xFF])  # PGM stores the high byte first
    assert pixels(decode(content, "x")).tolist() == [[128, 255]]


@pytest.mark.parametrize("value", [-1, 70_000])
def test_32_bit_pixels_outside_16_bits_are_refused(value: int) -> None:
    picture = Image.fromarray(np.full((2, 2), value, dtype=np.int32))
    with pytest.raises(UnreadableImage, match=f"range from {value} to {value}, but only"):
        decode(encoded(picture, "TIFF"), "x")


def test_floating_point_pixels_are_refused() -> None:
    picture = Image.fromarray(np.full((2, 2), 0.5, dtype=np.float32))
    with pytest.raises(UnreadableImage, match="floating-point"):
        decode(encoded(picture, "TIFF"), "x")


def test_transparency_shows_white() -> None:
    values = np.zeros((1, 3, 4), dtype=np.uint8)
    values[0, :, 0] = 200
    values[0, :, 3] = [255, 0, 128]
    image = decode(encoded(Image.fromarray(values)), "x")
    half = round((200 * 128 + 255 * 127) / 255), round(255 * 127 / 255), round(255 * 127 / 255)
    assert image.mode == "RGB"
    assert np.abs(pixels(image)[0] - [(200, 0, 0), (255, 255, 255), half]).max() <= 1


def test_transparent_greyscale_stays_greyscale() -> None:
    values = np.array([[[50, 255], [50, 0], [50, 128]]], dtype=np.uint8)
    image = decode(encoded(Image.fromarray(values, "LA")), "x")
    assert image.mode == "L"
    assert np.abs(pixels(image)[0] - [50, 255, (50 * 128 + 255 * 127) / 255]).max() <= 1


def test_palette_with_and_without_transparency() -> None:
    picture = quadrants().quantize(4)
    assert np.array_equal(pixels(decode(encoded(picture), "x")), pixels(quadrants()))
    red = picture.getpixel((0, 0))
    image = decode(encoded(picture, "PNG", transparency=red), "x")
    assert image.getpixel((0, 0)) == (255, 255, 255) and image.getpixel((39, 0)) == (0, 255, 0)


def test_transparent_colour_key_of_rgb() -> None:
    image = decode(encoded(quadrants(), "PNG", transparency=(255, 0, 0)), "x")
    assert image.getpixel((0, 0)) == (255, 255, 255) and image.getpixel((39, 0)) == (0, 255, 0)


def test_cmyk_jpeg_is_stored_inverted_and_comes_back_upright() -> None:
    values = np.zeros((16, 16, 4), dtype=np.uint8)
    values[..., 0] = 255  # full cyan ink
    content = encoded(Image.fromarray(values, "CMYK"), "JPEG", quality=100, subsampling=0)
    assert b"Adobe" in content
    red, green, blue = decode(content, "x").getpixel((8, 8))
    assert red < 8 and green > 247 and blue > 247


def test_cmyk_tiff_is_not_inverted() -> None:
    picture = Image.new("CMYK", (4, 4), (255, 0, 0, 0))
    assert decode(encoded(picture, "TIFF"), "x").getpixel((0, 0)) == (0, 255, 255)


# Where the first row and first column of the stored picture are to be seen (Exif 2.3, tag 0x0112).
STORED_FOR_UPRIGHT = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: np.rot90,
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", sorted(STORED_FOR_UPRIGHT))
def test_exif_orientation_is_applied(orientation: int, format: str) -> None:
    upright = quadrants(64, 32)
    stored = np.ascontiguousarray(STORED_FOR_UPRIGHT[orientation](np.asarray(upright)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(stored), format, exif=exif)
    image = decode(content, "x")
    assert image.size == (64, 32)
    for corner in ((4, 4), (60, 4), (4, 28), (60, 28)):
        assert np.abs(np.subtract(image.getpixel(corner), upright.getpixel(corner))).max() < 20
    assert examine(content, "x") == ImageFacts(64, 32, greyscale=False)


def at_least(side: int) -> LargeEnough:
    return lambda width, height: min(width, height) >= side


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_is_decoded_smaller_but_never_too_small(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(smooth(641, 479), "JPEG", exif=exif)
    sizes = set()
    for side in (1, 59, 60, 61, 119, 120, 200, 239, 240, 300, 479, 480):
        image = decode(content, "x", at_least(side))
        assert min(image.size) >= min(side, 479)
        sizes.add(min(image.size))
    assert sizes == {60, 120, 240, 479}
    assert max(decode(content, "x").size) == 641


@settings(deadline=None)
@given(
    width=st.integers(1, 200),
    height=st.integers(1, 200),
    orientation=st.sampled_from([1, 3, 5, 6, 8]),
    progressive=st.booleans(),
    least=st.tuples(st.integers(1, 100), st.integers(1, 100)),
)
def test_a_jpeg_is_decoded_at_the_least_size_that_is_large_enough(
    width: int, height: int, orientation: int, progressive: bool, least: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(noise(width, height), "JPEG", exif=exif, progressive=progressive)
    upright = (height, width) if orientation >= 5 else (width, height)
    possible = [tuple(math.ceil(side / reduction) for side in upright) for reduction in (8, 4, 2, 1)]
    enough = [size for size in possible if size[0] >= least[0] and size[1] >= least[1]]
    decoded = decode(content, "x", lambda width, height: width >= least[0] and height >= least[1]).size
    # A side of one or two pixels may stay whole: Pillow is asked for sides of one pixel at least.
    assert decoded == (enough or [upright])[0] or (min(upright) < 8 and decoded in (enough or [upright]))


def test_a_defect_of_who_asks_is_no_damage_of_the_image() -> None:
    with pytest.raises(ZeroDivisionError):
        decode(encoded(noise(16, 16), "JPEG"), "x", lambda width, height: bool(width // 0))


def test_only_a_jpeg_is_decoded_smaller() -> None:
    for format in ("PNG", "WEBP", "TIFF"):
        assert decode(encoded(smooth(64, 48), format), "x", at_least(1)).size == (64, 48)


def test_a_smaller_decoding_shows_the_same_picture() -> None:
    content = encoded(smooth(640, 480), "JPEG", quality=95)
    small = decode(content, "x", at_least(100))
    assert small.size == (160, 120)
    whole = decode(content, "x").resize(small.size, Image.Resampling.BOX)
    assert np.abs(pixels(small) - pixels(whole)).max() <= 4


def test_examine_tells_the_full_size_and_colour() -> None:
    assert examine(encoded(smooth(640, 480), "JPEG"), "x") == ImageFacts(640, 480, greyscale=False)
    assert examine(encoded(noise(33, 20, channels=1), "JPEG"), "x") == ImageFacts(33, 20, greyscale=True)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims a huge picture."""
    content = bytearray(encoded(quadrants(8, 8)))
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    import zlib

    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize("side", [9_460, 12_000])
def test_a_bomb_is_refused_from_its_header_naming_the_sizes(side: int) -> None:
    assert MOST_PIXELS < side**2 < 2 * MOST_PIXELS  # where Pillow only warns
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UnreadableImage, match=f"{side} × {side} pixels, more than the 89,478,485"):
            decode(bomb(side, side), "x")


def test_a_bigger_bomb_is_refused_too() -> None:
    with pytest.raises(
        UnreadableImage, match="header declares 10,000,000,000 pixels, more than the 89,478,485 that are"
    ):
        decode(bomb(100_000, 100_000), "x")


def test_a_bomb_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_PIXELS", 8 * 8 - 1)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(UnreadableImage, match="8 × 8 pixels"):
        decode(encoded(quadrants(8, 8)), "x")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"GIF98a is none", "unsupported image format; supported are JPEG"),
        (b"\n<!DOCTYPE html><p>404", "it is an HTML page: download the image again"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer: .*git lfs pull"),
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
            "unsupported image format; supported are JPEG",
        ),
        (encoded(noise(64, 64), "JPEG")[:-900], r"cats/1\.jpg cannot be read as an"),
        (encoded(noise(64, 64), "PNG")[:-900], r"cats/1\.jpg cannot be read as an"),
        (encoded(noise(64, 64), "BMP")[:-900], r"cats/1\.jpg cannot be read as an"),
    ],
)
def test_damaged_content_says_why(content: bytes, reason: str) -> None:
    for read in (decode, examine):
        with pytest.raises(UnreadableImage, match=reason) as caught:
            read(content, "cats/1.jpg")
        assert caught.value.name == "cats/1.jpg" and len(caught.value.reason) < 160
        assert str(caught.value).startswith("cats/1.jpg cannot be read as an image: ")


def test_truncated_images_stay_refused_and_pillow_untouched() -> None:
    decode(encoded(quadrants()), "x")
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    assert Image.MAX_IMAGE_PIXELS == MOST_PIXELS  # Pillow's own default


def test_the_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(UnreadableImage("a.jpg", "it is empty")))
    assert (error.name, error.reason) == ("a.jpg", "it is empty")


def test_nothing_is_printed_or_warned_for_odd_metadata(recwarn: pytest.WarningsRecorder) -> None:
    content = encoded(smooth(32, 32), "JPEG", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x09\x01")
    decode(content, "x")
    assert not recwarn.list


ORIGINALS = [
    encoded(noise(30, 20), format, **options)
    for format, options in [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("PPM", {}),
    ]
]


@settings(max_examples=300, deadline=None)
@given(
    content=st.sampled_from(ORIGINALS),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
    end=st.integers(0, 3000),
)
def test_any_damage_gives_an_image_or_unreadable_image(
    content: bytes, changes: list[tuple[int, int]], end: int
) -> None:
    damaged = bytearray(content[: max(end, 1)])
    for place, value in changes:
        damaged[place % len(damaged)] = value
    try:
        image = decode(bytes(damaged), "x")
    except UnreadableImage:
        return
    assert image.mode in ("L", "RGB")
