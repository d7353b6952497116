"""A server of files for tests of downloads."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import threading
from collections.abc import Iterator


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `files` by their names, with ranges; breaks off after `limit` bytes of a reply."""

    files: dict[str, bytes] = {}
    ranges: list[str | None] = []  # what each request asked for
    limit: int | None = None
    honour_ranges = True
    tags = False  # whether replies name the version of their file
    kind = "application/octet-stream"

    def do_GET(self):
        wanted = self.headers.get("Range")
        type(self).ranges.append(wanted)
        data = self.files.get(self.path.rpartition("/")[2])
        if data is None:
            self.send_error(404, "Not Found")
            return
        tag = f'"{hashlib.md5(data).hexdigest()}"'
        same = self.headers.get("If-Range") in (None, tag)
        partial = bool(wanted) and self.honour_ranges and same
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if partial else 0
        if partial and start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if partial else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("Content-Type", self.kind)
        if self.tags:
            self.send_header("ETag", tag)
        self.end_headers()
        self.wfile.write(data[start:][: self.limit])

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving() -> Iterator[tuple[type[Handler], str]]:
    """A handler class of its own, to set what is served and how, and the address it serves at."""
    handler = type("Own", (Handler,), {"files": {}, "ranges": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as http_server:
        threading.Thread(target=http_server.serve_forever, daemon=True).start()
        yield handler, f"http://127.0.0.1:{http_server.server_port}/resources/12"
        http_server.shutdown()
