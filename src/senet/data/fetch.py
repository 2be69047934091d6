"""Files fetched from web servers: once, several at a time, going on where an interrupted fetch stopped."""

from __future__ import annotations

import email.utils
import errno
import http.client
import queue
import shutil
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from senet.data.cache import is_intact, is_unchanged, locked, note_content
from senet.errors import SenetError
from senet.files import put_in_place

AT_A_TIME = 8
# Attempts in a row that bring nothing new, and the pauses between them in seconds.
ATTEMPTS = 5
PAUSES = (1.0, 2.0, 4.0, 8.0)
SECONDS_TO_ANSWER = 15.0
# A server that asks to be left alone for longer is given up.
MOST_SECONDS_ASKED = 60.0
# What is still under way when all are to stop is waited for so long; a silent server is not.
SECONDS_TO_STOP = 0.5
CHUNK_BYTES = 1 << 20
# The most that is taken from a server that does not tell a length.
MOST_UNTOLD = 100_000_000_000
# Answers after which asking again may help: too slow, too many requests, and the server's own trouble.
PASSING = (408, 425, 429, 500, 502, 503, 504)


class _StoppedError(Exception):
    """Another fetch failed, or the user stopped all."""


class _Redirects(HTTPRedirectHandler):
    """Follows a server to http:// and https:// addresses, never from the latter to the former."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.startswith("https://" if req.type == "https" else ("http://", "https://")):
            raise SenetError(
                f"{req.full_url} redirects to {newurl[:200]!r}, which is not followed (https:// may only "
                "redirect to https://): check the address."
            )
        return super().redirect_request(req, fp, code, msg, headers, checked_url(newurl))


def checked_url(url: str) -> str:
    """Return an address as it is sent: its path in percent signs where it needs them.

    Raises:
        SenetError: it is not one of http:// or https://, or its host or port cannot be, or it tells a
            user's name, which would not be sent.
    """
    try:
        address = urlsplit(url)
        port = address.port
        host = (address.hostname or "").encode("idna").decode()
    except ValueError as error:
        raise SenetError(
            f"{url!r} is not a valid address ({error}): give one such as https://host/folder/train-0000.tar."
        ) from error
    if address.scheme.lower() not in ("http", "https") or not host or port == 0:
        raise SenetError(
            f"{url!r} is not a valid address: give one such as https://host/folder/train-0000.tar."
        )
    if "@" in address.netloc:
        raise SenetError(
            f"The address on {host} contains a user name or password, which senet never sends: download "
            "the files with a program that can log in, and give their folder."
        )
    server = f"[{host}]" if ":" in host else host
    if port is not None:
        server += f":{port}"
    safe = "/%:=&?~+!$,;'@()*[]"
    return urlunsplit(
        (address.scheme.lower(), server, quote(address.path, safe), quote(address.query, safe), "")
    )


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
    waiting: queue.SimpleQueue[tuple[str, Path]] = queue.SimpleQueue()
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    for each in files:
        waiting.put(each)

    def work() -> None:
        while not stop.is_set():
            try:
                url, path = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                fetch(url, path, check=check, stop=stop)
            except BaseException as error:  # noqa: BLE001  raised again where the threads are waited for
                ended.put(error)
            else:
                ended.put(None)

    # A thread that waits for a silent server must not hold up the end of the program.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(AT_A_TIME, len(files)))]
    try:
        for thread in threads:
            thread.start()
        for done in range(1, len(files) + 1):
            error = ended.get()
            if error is not None:
                raise error
            if progress is not None:
                progress(done, len(files))
    finally:  # an error or Ctrl-C ends the others as well
        stop.set()
        until = time.monotonic() + SECONDS_TO_STOP
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(until - time.monotonic(), 0))


def fetch(url: str, path: Path, *, check: Callable[[Path], None], stop: threading.Event) -> None:
    """Fetch one file unless it is there, as it came; raises as `fetch_all`."""
    if is_unchanged(path):
        return
    part = path.with_name(f"{path.name}.part")
    with locked(path):
        if path.exists():
            if is_unchanged(path) or is_intact(path, check):  # another process may have fetched it meanwhile
                return
            path.unlink()
        most, fruitless = _size(part), 0
        while not stop.is_set():
            try:
                _go_on(url, part, stop)
            except (OSError, http.client.HTTPException, UnicodeError) as error:
                fruitless = 0 if _size(part) > most else fruitless + 1
                most = max(most, _size(part))
                asked = _asked_to_wait(error)
                if fruitless == ATTEMPTS or not _may_pass(error) or asked > MOST_SECONDS_ASKED:
                    raise _explained(url, error, part) from error
                if fruitless:
                    warnings.warn(f"{url}: {_reason(error)}; retrying.", stacklevel=1)
                stop.wait(max(PAUSES[max(fruitless - 1, 0)], asked))
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
    note_content(path)


def _go_on(url: str, part: Path, stop: threading.Event) -> None:
    """Fetch what ``part`` lacks; the whole where the server cannot go on or has another version now."""
    version = _version_file(part)
    have = _size(part) if version.exists() else 0
    # Compressed on the way, the length and places would be those of something else.
    headers = {"Accept-Encoding": "identity", "User-Agent": "senet"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": version.read_text()}
    try:
        response = build_opener(_Redirects).open(
            Request(checked_url(url), headers=headers), timeout=SECONDS_TO_ANSWER
        )
    except HTTPError as error:
        if error.code != 416:
            raise
        if _total(error.headers.get("Content-Range")) == have:
            return  # all of it had come before
        version.unlink(missing_ok=True)
        raise ConnectionError("the file on the server changed during the download") from error
    with response:
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            raise SenetError(
                f"The server sent {url} compressed ({encoding[:40]}) although it was asked not to: "
                "download it with another program and give its folder."
            )
        if response.status == 206:
            content_range = response.headers.get("Content-Range", "")
            known = version.read_text() if have else ""
            same = _version(response.headers) in ("", known)
            if not same or not content_range.startswith(f"bytes {have}-"):
                version.unlink(missing_ok=True)
                raise ConnectionError(f"the server sent the wrong byte range ({content_range})")
            total = _total(content_range)
        else:
            have = 0
            total = _length(response.headers.get("Content-Length"))
            _begin(part, version, response.headers)
        _require_room(url, part, total, have)
        most = MOST_UNTOLD if total is None else total
        with part.open("ab") as stream:
            # What is there at once, so that a slow server does not keep Ctrl-C waiting.
            while have <= most and (chunk := response.read1(min(CHUNK_BYTES, most - have + 1))):
                stream.write(chunk[: most - have])
                have += len(chunk)
                if stop.is_set():
                    raise _StoppedError
    if have > most:
        part.unlink()
        version.unlink(missing_ok=True)
        raise SenetError(f"{url} is larger than {most:,} bytes, the limit: check the address and the server.")
    if total is not None and have != total:
        raise ConnectionError(f"the connection closed after {have:,} of {total:,} bytes")


def _require_room(url: str, part: Path, total: int | None, have: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - have > free:
        raise SenetError(
            f"{url} has {total:,} bytes but only {free:,} are free in {part.parent}: free some space, or "
            "set SENET_CACHE to a folder on a larger disk."
        )


def _begin(part: Path, version: Path, headers: http.client.HTTPMessage) -> None:
    """Empty ``part`` and note which version of the file it is going to hold."""
    version.unlink(missing_ok=True)
    part.write_bytes(b"")
    if known := _version(headers):
        version.write_text(known)


def _version(headers: http.client.HTTPMessage) -> str:
    """Return what names the version of a file in an answer, or ``""``."""
    tag: str = headers.get("ETag", "")
    # A weak tag does not promise the same bytes.
    return tag if tag.startswith('"') else str(headers.get("Last-Modified", ""))


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}-version")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _total(content_range: str | None) -> int | None:
    return _number((content_range or "").rpartition("/")[2])


def _length(told: str | None) -> int | None:
    length = None if told is None else _number(told)
    if told is not None and length is None:
        raise ConnectionError(f"the server gives an invalid length, {told[:40]!r}")
    return length


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _asked_to_wait(error: Exception) -> float:
    """Return the seconds that a server asks to be left alone (Retry-After)."""
    asked = error.headers.get("Retry-After", "") if isinstance(error, HTTPError) else ""
    if (seconds := _number(asked)) is not None:
        return float(seconds)
    when = email.utils.parsedate_tz(asked)
    return 0.0 if when is None else max(email.utils.mktime_tz(when) - time.time(), 0.0)


def _may_pass(error: Exception) -> bool:
    if isinstance(error, HTTPError):
        return error.code in PASSING
    if isinstance(error, http.client.InvalidURL | UnicodeError):
        return False
    return not (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES))


def _reason(error: Exception) -> str:
    if isinstance(error, URLError) and isinstance(error.reason, Exception):
        error = error.reason
    if isinstance(error, TimeoutError):
        return f"no response within {SECONDS_TO_ANSWER:g} s"
    return " ".join(str(error).split())[:160] or type(error).__name__


def _explained(url: str, error: Exception, part: Path) -> SenetError:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SenetError(
            f"The disk is full, so {url} could not be downloaded to {part.parent}: free some space and "
            "run the same command again to resume."
        )
    advice = "check the address and the network"
    if isinstance(error, HTTPError) and error.code in (401, 403, 407):
        advice = (
            "it requires a login, which senet does not support: download it with a program that can log in"
        )
    elif (wait := _asked_to_wait(error)) > MOST_SECONDS_ASKED:
        advice = f"the server asks to retry in {wait:,.0f} s"
    kept = f"; {_size(part):,} bytes are kept, and the same command resumes from there" if _size(part) else ""
    return SenetError(f"{url} could not be downloaded ({_reason(error)}): {advice}{kept}.")
