"""Downloads, from a server of our own."""

from __future__ import annotations

import functools
import hashlib
import threading

import pytest

from vocolab.downloads import fetch
from vocolab.errors import VocolabError


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


@pytest.mark.parametrize("checked", [True, False], ids=["checked", "by its tag"])
def test_a_download_cut_off_goes_on_where_it_stopped(tmp_path, server, checked):
    handler, url = server
    data = bytes(range(256)) * 4000
    handler.files, handler.tags = {"x.tar.gz": data}, not checked
    handler.limit = 300_000
    get = functools.partial(
        fetch, f"{url}/x.tar.gz", tmp_path / "x.tar.gz", sha256=hashlib.sha256(data).hexdigest() if checked else None
    )
    for size in (300_000, 600_000):
        with pytest.raises(VocolabError, match="run again"):
            get()
        assert not (tmp_path / "x.tar.gz").exists()
        assert (tmp_path / "x.tar.gz.part").stat().st_size == size
    handler.limit = None
    assert get() == tmp_path / "x.tar.gz"
    assert (tmp_path / "x.tar.gz").read_bytes() == data
    assert handler.ranges == [None, "bytes=300000-", "bytes=600000-"]
    assert [p.name for p in tmp_path.iterdir()] == ["x.tar.gz"]


@pytest.mark.parametrize("tags", [True, False])
@pytest.mark.parametrize("checked", [True, False])
def test_a_file_that_changed_meanwhile_is_fetched_from_the_start(tmp_path, server, tags, checked):
    """Never is a file put together of two versions."""
    handler, url = server
    handler.files, handler.tags, handler.limit = {"x": b"old version"}, tags, 5
    new = b"new and longer version"
    get = functools.partial(fetch, f"{url}/x", tmp_path / "x", md5=md5(new) if checked else None)
    with pytest.raises(VocolabError, match="connection lost after 5 of 11 bytes"):
        get()
    handler.files, handler.limit = {"x": new}, None
    if checked and not tags:  # nothing but the digest can tell
        with pytest.raises(VocolabError, match="md5 is"):
            get()
    get()
    assert (tmp_path / "x").read_bytes() == new


def test_a_server_without_ranges_sends_it_anew(tmp_path, server):
    handler, url = server
    handler.files, handler.honour_ranges = {"x": b"abcdef"}, False
    (tmp_path / "x.part").write_bytes(b"abc")
    fetch(f"{url}/x", tmp_path / "x", md5=md5(b"abcdef"))
    assert (tmp_path / "x").read_bytes() == b"abcdef"


def test_a_complete_part_needs_no_more_bytes(tmp_path, server):
    handler, url = server
    handler.files = {"x": b"abcdef"}
    (tmp_path / "x.part").write_bytes(b"abcdef")
    fetch(f"{url}/x", tmp_path / "x", md5=md5(b"abcdef"))
    assert (tmp_path / "x").read_bytes() == b"abcdef"


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_a_wrong_checksum_leaves_nothing(tmp_path, server, kind):
    handler, url = server
    handler.files, handler.tags = {"x": b"abcdef"}, True
    found = hashlib.new(kind, b"abcdef").hexdigest()
    with pytest.raises(VocolabError, match=f"{kind} is {found}, expected 0000.*run again"):
        fetch(f"{url}/x", tmp_path / "x", **{kind: "0000"})
    assert list(tmp_path.iterdir()) == []


def test_a_web_page_is_no_file(tmp_path, server):
    handler, url = server
    handler.files, handler.kind = {"x": b"<html>please log in"}, "text/html"
    with pytest.raises(VocolabError, match="sent a web page"):
        fetch(f"{url}/x", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_two_that_fetch_one_file_fetch_it_once(tmp_path, server):
    handler, url = server
    handler.files = {"x": bytes(5_000_000)}
    threads = [threading.Thread(target=fetch, args=(f"{url}/x", tmp_path / "x")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "x").read_bytes() == handler.files["x"]
    assert len(handler.ranges) == 1


def test_progress_goes_to_standard_error(tmp_path, server, capsys):
    handler, url = server
    handler.files = {"x": bytes(5_000_000)}
    fetch(f"{url}/x", tmp_path / "quiet", progress=False)
    assert capsys.readouterr() == ("", "")
    fetch(f"{url}/x", tmp_path / "x")
    out, err = capsys.readouterr()
    assert out == "" and err.splitlines()[-1] == f"{url}/x: 5 of 5 MB"


def test_no_server_and_no_file_are_one_line(tmp_path, server):
    _, url = server
    for address, message in (
        (f"{url}/x", "download failed .Not Found.*resources/12/x"),
        ("http://127.0.0.1:9/x", "download failed.*127.0.0.1:9/x"),
        ("no address", "download failed.*no address: correct the address"),
    ):
        with pytest.raises(VocolabError, match=message) as error:
            fetch(address, tmp_path / "x")
        assert "\n" not in str(error.value)
