"""Downloading LibriSpeech, from a server of our own."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import tarfile
import threading
from pathlib import Path

import pytest

from tests.data.speech import librispeech
from vocolab.data.corpora import LibriSpeech
from vocolab.data.corpora.download import fetch
from vocolab.errors import VocolabError


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `files`, with ranges; breaks off after `limit` bytes of a reply."""

    files: dict[str, bytes] = {}
    ranges: list[str | None] = []
    limit: int | None = None
    honour_ranges = True

    def do_GET(self):
        wanted = self.headers.get("Range")
        type(self).ranges.append(wanted)
        data = self.files.get(self.path.rpartition("/")[2])
        if data is None:
            self.send_error(404, "Not Found")
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.honour_ranges else 0
        if wanted and start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if wanted and self.honour_ranges else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start:][: self.limit])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    """A handler class of this test's own, and the address it serves at."""
    handler = type("Own", (Handler,), {"files": {}, "ranges": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as http_server:
        threading.Thread(target=http_server.serve_forever, daemon=True).start()
        yield handler, f"http://127.0.0.1:{http_server.server_port}/resources/12"
        http_server.shutdown()


def archive(folder: Path, subset: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        tar.add(folder / "LibriSpeech" / subset, f"LibriSpeech/{subset}")
    return file.getvalue()


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def test_missing_subsets_are_fetched_only_on_request(tmp_path, server, monkeypatch):
    handler, url = server
    librispeech(tmp_path / "there", speakers=1, each=2, dev=1)
    handler.files = {f"{s}.tar.gz": archive(tmp_path / "there", s) for s in ("train-clean-100", "dev-clean")}
    monkeypatch.setattr(LibriSpeech, "md5", {n.split(".")[0]: md5(data) for n, data in handler.files.items()})
    root = tmp_path / "here"
    with pytest.raises(VocolabError, match="--data.corpus.download true"):
        LibriSpeech(root, url=url).splits()
    assert handler.ranges == []
    splits = LibriSpeech(root, url=url, download=True).splits()
    assert {split: len(us) for split, us in splits.items()} == {"train": 2, "val": 1}
    assert sorted(p.name for p in root.iterdir()) == ["LibriSpeech"]
    assert sorted(p.name for p in (root / "LibriSpeech").iterdir()) == ["dev-clean", "train-clean-100"]
    assert len(handler.ranges) == 2
    LibriSpeech(root, url=url, download=True).splits()
    assert len(handler.ranges) == 2  # what is there is fetched no second time


def test_a_download_cut_off_goes_on_where_it_stopped(tmp_path, server):
    handler, url = server
    data = bytes(range(256)) * 4000
    handler.files = {"x.tar.gz": data}
    handler.limit = 300_000
    get = functools.partial(fetch, f"{url}/x.tar.gz", tmp_path / "x.tar.gz", md5(data))
    for size in (300_000, 600_000):
        with pytest.raises(VocolabError, match="run again"):
            get()
        assert not (tmp_path / "x.tar.gz").exists()
        assert (tmp_path / "x.tar.gz.part").stat().st_size == size
    handler.limit = None
    get()
    assert (tmp_path / "x.tar.gz").read_bytes() == data
    assert handler.ranges == [None, "bytes=300000-", "bytes=600000-"]
    assert not (tmp_path / "x.tar.gz.part").exists()


def test_a_server_without_ranges_sends_it_anew(tmp_path, server):
    handler, url = server
    handler.files, handler.honour_ranges = {"x": b"abcdef"}, False
    (tmp_path / "x.part").write_bytes(b"abc")
    fetch(f"{url}/x", tmp_path / "x", md5(b"abcdef"))
    assert (tmp_path / "x").read_bytes() == b"abcdef"


def test_a_complete_part_needs_no_more_bytes(tmp_path, server):
    handler, url = server
    handler.files = {"x": b"abcdef"}
    (tmp_path / "x.part").write_bytes(b"abcdef")
    fetch(f"{url}/x", tmp_path / "x", md5(b"abcdef"))
    assert (tmp_path / "x").read_bytes() == b"abcdef"


def test_a_wrong_checksum_leaves_nothing(tmp_path, server):
    handler, url = server
    handler.files = {"x": b"abcdef"}
    with pytest.raises(VocolabError, match="md5 is e80b5017098950fc58aad83c8c14978e, expected 0000.*run again"):
        fetch(f"{url}/x", tmp_path / "x", "0000")
    assert list(tmp_path.iterdir()) == []


def test_no_server_and_no_file_are_one_line(tmp_path, server):
    _, url = server
    with pytest.raises(VocolabError, match="download failed .Not Found.*resources/12/x"):
        fetch(f"{url}/x", tmp_path / "x", "")
    with pytest.raises(VocolabError, match="download failed.*127.0.0.1:9/x") as error:
        fetch("http://127.0.0.1:9/x", tmp_path / "x", "")
    assert "\n" not in str(error.value)


def test_an_unknown_subset_is_refused_before_any_download(tmp_path, server):
    handler, url = server
    with pytest.raises(VocolabError, match="no such LibriSpeech subset 'train-clean-1000'.*train-clean-100"):
        LibriSpeech(tmp_path, train=["train-clean-1000"], url=url, download=True).splits()
    assert handler.ranges == []


def test_a_damaged_archive_is_one_line(tmp_path, server, monkeypatch):
    handler, url = server
    handler.files = {"dev-clean.tar.gz": b"no archive"}
    monkeypatch.setattr(LibriSpeech, "md5", {"dev-clean": md5(b"no archive")})
    with pytest.raises(VocolabError, match="damaged archive.*dev-clean.tar.gz.*move the file away"):
        LibriSpeech(tmp_path, train=["dev-clean"], val=(), url=url, download=True).splits()
    assert not (tmp_path / "LibriSpeech" / "dev-clean").exists()
