"""Opening the page, and closing it so that nothing is left."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vocolab.demo.limits import Limits
from vocolab.errors import UsageError, VocolabError
from vocolab.signals import interrupted_by

if TYPE_CHECKING:
    import gradio as gr

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def free_address(host: str, port: int) -> int:
    """The port to serve at: `port`, or where that is 0 any free one. Raises `UsageError` where it cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError, OverflowError) as error:
        remedy = "give an address of this machine; 127.0.0.1 serves it alone"
        raise UsageError(f"no such address ({error})", f"--host {host}", remedy) from error
    with socket.socket(family, kind, protocol) as found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind(address)
        except OSError as error:
            remedy = "give another --port (0: any that is free), or the address of this machine with --host"
            what = f"cannot serve there ({error.strerror or error})"
            raise UsageError(what, f"--host {host} --port {port}", remedy) from error
        return int(found.getsockname()[1])


@contextmanager
def workplace() -> Iterator[Path]:
    """A folder for all files of the page, which Gradio takes for its uploads. It is removed at the end, also where the
    process is told to stop (SIGTERM, or the terminal closes): that becomes a `KeyboardInterrupt`.
    """
    with tempfile.TemporaryDirectory(prefix="vocolab-demo-", ignore_cleanup_errors=True) as folder:
        # Requests to this machine itself go through no proxy.
        local = ",".join(filter(None, [os.environ.get("no_proxy"), "localhost", "127.0.0.1"]))
        settings = {
            "GRADIO_TEMP_DIR": os.path.realpath(folder),
            "GRADIO_ANALYTICS_ENABLED": "False",
            "no_proxy": local,
            "NO_PROXY": local,
        }
        with _environment(settings), interrupted_by("SIGTERM", "SIGHUP"):
            yield Path(os.path.realpath(folder))


@contextmanager
def serving(page: gr.Blocks, host: str, port: int, limits: Limits, share: bool = False) -> Iterator[str]:
    """Serve a page and give its address. Raises `VocolabError` where it cannot be reached there."""
    page.queue(max_size=limits.waiting, default_concurrency_limit=1)
    try:
        _launch(page, host, port, limits, share)
        yield str(page.share_url or page.local_url)
    finally:
        page.close(verbose=False)


def _launch(page: gr.Blocks, host: str, port: int, limits: Limits, share: bool) -> None:
    from gradio.exceptions import ServerFailedToStartError

    from vocolab.demo.look import STYLE, THEME

    try:
        page.launch(
            server_name=f"[{host}]" if ":" in host else host,
            server_port=port,
            share=share,
            max_file_size=int(limits.megabytes * 2**20),
            prevent_thread_lock=True,
            quiet=True,
            inline=False,
            footer_links=[],
            run_history=False,  # what people say is not for their browser to keep
            enable_monitoring=False,
            mcp_server=False,
            ssr_mode=False,
            pwa=False,
            theme=THEME,
            css=STYLE,
        )
    except ServerFailedToStartError as error:  # Gradio gives it 5 s
        raise VocolabError(
            "the server did not start within 5 s", "vocolab demo", "try again: is this machine busy?"
        ) from error
    except (OSError, ValueError) as error:
        raise VocolabError(f"cannot serve there ({error})", f"--host {host} --port {port}", "give another") from error
    if share and not page.share_url:
        remedy = "check the network (the lines above say more), or leave --share out"
        raise VocolabError("no public address could be had", "--share", remedy)


def wait() -> None:
    """Serve until the user says that it is enough (Ctrl-C)."""
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print("vocolab: closed", file=sys.stderr, flush=True)


@contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Environment variables that hold in this block alone."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
