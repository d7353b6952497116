"""What both tabs show: the recordings of a voice, a result, an error."""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

import vocolab
from vocolab.audio.io import EXTENSIONS
from vocolab.demo.limits import Limits
from vocolab.demo.results import Result, sweep
from vocolab.errors import VocolabError

CORPUS = Path(vocolab.__file__).parent / "assets" / "corpus"
EXAMPLE_FILES = 10  # of a voice in the package: half a minute and more
MODEL = "model"  # what both tabs wait for together, so that one request at a time is worked on

logger = logging.getLogger(__name__)


def voice(kind: str) -> tuple[gr.File, gr.Audio]:
    """Where the recordings of a voice go: files, or the microphone."""
    files = gr.File(
        label="Recordings of the voice wanted",
        file_count="multiple",
        file_types=sorted(EXTENSIONS),
        height=150,
        elem_id=f"{kind}-voice",
    )
    with gr.Accordion("or record the voice", open=False):
        recorded = gr.Audio(
            sources=["microphone"],
            type="filepath",
            format=None,
            label="The voice wanted",
            buttons=[],
            elem_id=f"{kind}-recorded",
        )
    return files, recorded


def examples(rows: Mapping[str, tuple[str, str]], said: gr.components.Component, files: gr.File) -> None:
    """Speech of the package to begin with: `rows` gives each by its name, as what `said` becomes and the folder in the
    corpus whose last recordings `files` becomes.
    """
    values = [
        [first, [str(path) for path in sorted((CORPUS / folder).glob("*/*.opus"))[-EXAMPLE_FILES:]]]
        for first, folder in rows.values()
    ]
    gr.Examples(values, [said, files], label="Speech to begin with", example_labels=list(rows), cache_examples=False)


@dataclass(frozen=True)
class Shown:
    """Where a result goes."""

    speech: gr.Audio
    download: gr.DownloadButton
    told: gr.Markdown
    picture: gr.Image

    def parts(self) -> list[gr.components.Component]:
        return [self.speech, self.download, self.told, self.picture]


def result(kind: str) -> Shown:
    return Shown(
        gr.Audio(label="Result", type="filepath", interactive=False, buttons=[], elem_id=f"{kind}-result"),
        gr.DownloadButton("Download", interactive=False, elem_id=f"{kind}-download"),
        gr.Markdown("What comes out is heard, seen and downloaded here.", elem_id=f"{kind}-told"),
        gr.Image(
            show_label=False,
            type="filepath",
            interactive=False,
            visible=False,
            buttons=["fullscreen"],
            elem_id=f"{kind}-picture",
        ),
    )


def answer(found: Result) -> list[Any]:
    """What `Shown.parts` become."""
    speech, picture = str(found.speech), str(found.picture)
    return [speech, gr.DownloadButton(value=speech, interactive=True), found.told, gr.Image(picture, visible=True)]


def on_click(
    button: gr.Button,
    work: Callable[..., list[Any]],
    inputs: Sequence[gr.components.Component],
    shown: Shown,
    name: str,
) -> None:
    """Let a button do `work` on what `inputs` hold, and show it; `name` is that of the work for Gradio's clients."""
    button.click(
        work,
        [*inputs],
        shown.parts(),
        api_name=name,
        show_progress_on=shown.speech,
        concurrency_limit=1,
        concurrency_id=MODEL,
    )


@contextmanager
def told(folder: Path, limits: Limits) -> Iterator[None]:
    """A user's mistake in this block is said on the page, in the line that commands print; a fault of the program is
    said to be one, and the terminal tells more. `folder`: where uploads lie, which errors need not name.
    """
    sweep(folder, limits.keep)
    try:
        yield
    except VocolabError as error:
        line = re.sub(rf"{re.escape(str(folder))}/[^/]+/", "", str(error))
        raise _shown(line) from error
    except gr.Error:
        raise
    except Exception as error:
        logger.exception("a fault in the page")
        raise _shown("a fault in the program: the terminal where vocolab demo runs tells more") from error


def _shown(line: str) -> gr.Error:
    return gr.Error(html.escape(line), title="Not done", duration=None, print_exception=False)
