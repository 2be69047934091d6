"""Web servers on this machine that misbehave as told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Web:
    """Files of a folder, with byte ranges; ``asked`` notes path and range of every request.

    Attributes:
        ranges: whether parts of a file can be asked for.
        length: whether the length is told.
        drop_after: bytes after which the connection ends, for the next ``drops`` answers.
        statuses: status codes to answer with first.
        pages: answers in JSON to some paths, which come before files.
        tag: names the version of all files; ``None`` sends none.
    """

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.url = root, url
        self.ranges = self.length = True
        self.drop_after, self.drops = 0, 0
        self.statuses: list[int] = []
        self.tag: str | None = '"1"'
        self.asked: list[tuple[str, str | None]] = []
        self.sent = 0
        self.pages: dict[str, bytes] = {}


@contextmanager
def serving(root: Path) -> Iterator[Web]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            answer(self, web)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    web = Web(root, f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(handler: BaseHTTPRequestHandler, web: Web) -> None:
    asked = handler.headers.get("Range")
    web.asked.append((handler.path, asked))
    page = web.pages.get(handler.path.partition("?")[0])
    if page is not None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(page)))
        handler.end_headers()
        handler.wfile.write(page)
        return
    path = web.root / handler.path.partition("?")[0].lstrip("/")
    if web.statuses or not path.is_file():
        handler.send_error(web.statuses.pop(0) if web.statuses else 404)
        return
    content, status, span = path.read_bytes(), 200, ""
    total = len(content)
    if asked and web.ranges and handler.headers.get("If-Range", web.tag) == web.tag:
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or total - 1), total - 1)
        if start >= total:
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{total}")
            handler.end_headers()
            return
        content, status, span = content[start : end + 1], 206, f"bytes {start}-{end}/{total}"
    handler.send_response(status)
    if web.length:
        handler.send_header("Content-Length", str(len(content)))
    if span:
        handler.send_header("Content-Range", span)
    if web.tag is not None:
        handler.send_header("ETag", web.tag)
    handler.end_headers()
    if web.drops:
        web.drops -= 1
        content = content[: web.drop_after]
    web.sent += len(content)
    handler.wfile.write(content)


@contextmanager
def saying(*answers: bytes) -> Iterator[str]:
    """Give the address of a server that sends one of these to each connection; `SILENCE` keeps it waiting."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for content in answers:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.recv(65536)
                if content == SILENCE:
                    open_ones.append(connection)
                    continue
                with connection:
                    connection.sendall(content)

        open_ones: list[socket.socket] = []
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        for connection in open_ones:
            connection.close()


SILENCE = b""


def answer_of(content: bytes, status: str = "200 OK", **headers: object) -> bytes:
    """One answer; header names have ``_`` for ``-``."""
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + content
