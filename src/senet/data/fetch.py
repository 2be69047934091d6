"""Files fetched from web servers: once, several at a time, going on where an interrupted fetch stopped."""

from __future__ import annotations

import errno
import http.client
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from senet.data.cache import locked
from senet.errors import SenetError
from senet.files import put_in_place

AT_A_TIME = 8
# Attempts in a row that bring nothing new, and the pauses between them in seconds.
ATTEMPTS = 5
PAUSES = (1.0, 2.0, 4.0, 8.0)
SECONDS_TO_ANSWER = 30.0
CHUNK_BYTES = 1 << 20
# Answers after which asking again may help: too slow, too many requests, and the server's own trouble.
PASSING = (408, 425, 429, 500, 502, 503, 504)


class _StoppedError(Exception):
    """Another fetch failed, or the user stopped all."""


def fetch_all(
    files: Sequence[tuple[str, Path]],
    *,
    check: Callable[[Path], None],
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Fetch files that are not there yet, `AT_A_TIME` at once.

    Args:
        files: URL and path of each; the folders must exist.
        check: raises `SenetError` where what came is not what was wanted.
        progress: called with files done and files in all.

    Raises:
        SenetError: a file cannot be fetched; what has come of it is kept for the next call.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        jobs = [pool.submit(fetch, url, path, check=check, stop=stop) for url, path in files]
        try:
            for done, job in enumerate(as_completed(jobs), start=1):
                job.result()
                if progress is not None:
                    progress(done, len(files))
        finally:  # an error or Ctrl-C ends the others as well
            stop.set()
            pool.shutdown(cancel_futures=True)


def fetch(url: str, path: Path, *, check: Callable[[Path], None], stop: threading.Event) -> None:
    """Fetch one file unless it is there; raises as `fetch_all`."""
    if path.exists():
        return
    part = path.with_name(f"{path.name}.part")
    with locked(path):
        if path.exists():  # another process fetched it meanwhile
            return
        most, fruitless = _size(part), 0
        while not stop.is_set():
            try:
                _go_on(url, part, stop)
            except (OSError, http.client.HTTPException) as error:
                fruitless = 0 if _size(part) > most else fruitless + 1
                most = max(most, _size(part))
                if fruitless == ATTEMPTS or not _may_pass(error):
                    raise _explained(url, error, part) from error
                stop.wait(PAUSES[max(fruitless - 1, 0)])
            except _StoppedError:
                return
            else:
                _finish(part, path, check)
                return


def _finish(part: Path, path: Path, check: Callable[[Path], None]) -> None:
    version = _version_file(part)
    try:
        check(part)
    except SenetError:
        part.unlink()
        version.unlink(missing_ok=True)
        raise
    put_in_place(part, path)
    version.unlink(missing_ok=True)


def _go_on(url: str, part: Path, stop: threading.Event) -> None:
    """Fetch what ``part`` lacks; the whole where the server cannot go on or has another version now."""
    version = _version_file(part)
    have = _size(part) if version.exists() else 0
    # Compressed on the way, the length and places would be those of something else.
    headers = {"Accept-Encoding": "identity", "User-Agent": "senet"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": version.read_text()}
    try:
        response = urlopen(Request(url, headers=headers), timeout=SECONDS_TO_ANSWER)
    except HTTPError as error:
        if error.code != 416:
            raise
        if _total(error.headers.get("Content-Range")) == have:
            return  # all of it had come before
        version.unlink()
        raise ConnectionError("the server has another version now") from error
    with response:
        if response.status == 206:
            content_range = response.headers.get("Content-Range", "")
            if not content_range.startswith(f"bytes {have}-"):
                version.unlink()
                raise ConnectionError(f"the server sent another part ({content_range})")
            total = _total(content_range)
        else:
            have = 0
            length = response.headers.get("Content-Length")
            total = int(length) if length is not None else None
            _begin(part, version, response.headers)
        with part.open("ab") as stream:
            while chunk := response.read(CHUNK_BYTES):
                stream.write(chunk)
                if stop.is_set():
                    raise _StoppedError
    if total is not None and _size(part) != total:
        raise ConnectionError(f"the connection ended after {_size(part):,} of {total:,} bytes")


def _begin(part: Path, version: Path, headers: http.client.HTTPMessage) -> None:
    """Empty ``part`` and note which version of the file it is going to hold."""
    version.unlink(missing_ok=True)
    part.write_bytes(b"")
    tag = headers.get("ETag", "")
    # A weak tag does not promise the same bytes.
    known = tag if tag.startswith('"') else headers.get("Last-Modified", "")
    if known:
        version.write_text(known)


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}-version")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _total(content_range: str | None) -> int | None:
    total = (content_range or "").rpartition("/")[2]
    return int(total) if total.isdigit() else None


def _may_pass(error: Exception) -> bool:
    if isinstance(error, HTTPError):
        return error.code in PASSING
    return not (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES))


def _explained(url: str, error: Exception, part: Path) -> SenetError:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SenetError(
            f"The disk is full: {url} could not be fetched to {part.parent}; free some space and run "
            "the same command again, which goes on from there."
        )
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    kept = f" {_size(part):,} bytes of it are kept, and" if _size(part) else ""
    return SenetError(
        f"{url} could not be fetched ({reason}): check the address and the network;{kept} the same "
        "command goes on from there."
    )
