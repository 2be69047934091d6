"""Published files, fetched once into the folder that `torch.hub` keeps checkpoints in."""

from __future__ import annotations

import http.client
import re
import socket
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch

from senet.errors import SenetError

SECONDS_TO_ANSWER = 10.0

# Published files have the start of their SHA-256 between the last dash and the suffix.
_HASH = re.compile(r"-([a-f0-9]{8,})\.")


def download(url: str, *, hashed: bool = True) -> Path:
    """Return the file at ``url`` on this disk; it is fetched where it is not there yet.

    A partial or damaged file is never left behind.

    Args:
        url: of the file.
        hashed: whether its name tells the start of its SHA-256, which is then compared.

    Raises:
        SenetError: the server cannot be reached, has no such file, or the file has another hash.
    """
    name = PurePosixPath(urlsplit(url).path).name
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / name
    if path.is_file():
        return path
    address = urlsplit(url)
    by_hand = f"or download {url} elsewhere and give its path as weights"
    if not reachable(url):
        raise SenetError(
            f"{address.hostname} cannot be reached to download {name}: check the network, {by_hand}."
        )
    wanted = _HASH.search(name) if hashed else None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), wanted[1] if wanted else None)
    except (OSError, http.client.HTTPException) as error:
        raise SenetError(
            f"{name} could not be downloaded from {address.hostname} ({reason_of(error)}): try again, "
            f"{by_hand}."
        ) from error
    except RuntimeError as error:
        raise SenetError(
            f"The download of {name} from {address.hostname} has a wrong checksum: try again, {by_hand}."
        ) from error
    return path


def reachable(url: str) -> bool:
    """Tell whether the server of ``url`` answers, asked once and briefly."""
    if getproxies():
        return True  # a proxy may answer where the server itself does not
    address = urlsplit(url)
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname, port), timeout=SECONDS_TO_ANSWER).close()
    except OSError:
        return False
    return True


def reason_of(error: Exception) -> str:
    """Return an error's text on one line, shortened."""
    return " ".join(str(error).split())[:160] or type(error).__name__
