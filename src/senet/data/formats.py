"""The formats of pictures: those that are read, those that are not and what would read them."""

from __future__ import annotations

import importlib
import importlib.util

from PIL import features


def _built_with(feature: str) -> bool:
    known = feature in features.modules or feature in features.codecs  # Pillow warns of others
    return known and features.check(feature) is True


def _heic_is_read() -> bool:
    """Let Pillow read HEIC where the package for it is installed (the extra ``heic``)."""
    if importlib.util.find_spec("pillow_heif") is None:
        return False
    pillow_heif = importlib.import_module("pillow_heif")
    pillow_heif.register_heif_opener()
    return True


# Formats that Pillow decodes by itself; others (EPS, for one) start programs.
_ALWAYS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".pjpeg", ".pjp", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "DIB": (".dib",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
# Formats that are read where something is there for them, and what to do where it is not.
_SOMETIMES = {
    "AVIF": ((".avif", ".avifs"), _built_with("avif"), ".avif needs a Pillow built with AVIF support"),
    "JPEG2000": (
        (".jp2", ".j2k", ".jpx", ".j2c", ".jpf"),
        _built_with("jpg_2000"),
        "JPEG 2000 needs a Pillow built with OpenJPEG",
    ),
    "HEIF": ((".heic", ".heif", ".hif"), _heic_is_read(), "HEIC needs pip install 'senet[heic]'"),
}
_READ = _ALWAYS | {name: suffixes for name, (suffixes, read, _) in _SOMETIMES.items() if read}
_OTHERS = (
    ".jxl .svg .svgz .psd .psb .xcf .eps .ai .ico .icns .tga .pcx .exr .hdr .pfm .dds .sgi .xbm .xpm .qoi "
    ".dcm .dicom .nii .raw .dng .cr2 .cr3 .crw .nef .nrw .arw .srf .orf .rw2 .raf .pef .srw .3fr .x3f"
)
FORMATS = tuple(_READ)
SUFFIXES = tuple(suffix for suffixes in _READ.values() for suffix in suffixes)
# Suffixes of pictures that are not read, and what to do about each.
UNREAD_FORMATS = {
    **{suffix: advice for suffixes, read, advice in _SOMETIMES.values() if not read for suffix in suffixes},
    **dict.fromkeys(_OTHERS.split(), "convert other formats to JPEG or PNG"),
}
# How the content of those that are read begins.
_BEGINNINGS = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
    b"\0\0\0\x0cjP  ",
)
# What an ISO container names as its brand, and the suffix of such a file.
_BRANDS = {b"hei": ".heic", b"hev": ".heic", b"mif1": ".heic", b"msf1": ".heic", b"avi": ".avif"}


def is_picture_content(head: bytes) -> bool:
    """Tell whether the first 32 bytes of a file are those of a picture that is read, by all appearance."""
    # Two letters (BM of a bitmap, P6 of PPM) are too few to tell a picture from a text.
    return head.startswith(_BEGINNINGS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def not_a_picture(head: bytes) -> str:
    """Return what content is that people find under a picture's name, and what to do, or ``""``."""
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer: fetch the file itself with git lfs pull"
    if head.lstrip(b"\xef\xbb\xbf \r\n\t").lower().startswith((b"<!doctype html", b"<html")):
        return "it is an HTML page: download the image again"
    return ""


def unread_format(head: bytes) -> str:
    """Return what to do about content in a format that is not read, by its first bytes, or ``""``."""
    if head[4:8] == b"ftyp":
        suffix = next((suffix for brand, suffix in _BRANDS.items() if head[8:].startswith(brand)), "")
        return UNREAD_FORMATS.get(suffix, "")
    return UNREAD_FORMATS[".jxl"] if head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")) else ""
