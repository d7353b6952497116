"""The page: a heading and two tabs."""

from __future__ import annotations

import gradio as gr

from vocolab.demo import convert_tab, speak_tab
from vocolab.demo.conversion import Conversion
from vocolab.demo.limits import Limits
from vocolab.demo.speaking import Speaking

HEADING = """# vocolab
**Convert** says a recording in another voice. **Speak** says a text in a voice. All of it is computed on the machine
that serves this page. Recordings and results are deleted there after an hour, and when it stops serving."""


def build(conversion: Conversion, speaking: Speaking | None, limits: Limits) -> gr.Blocks:
    """The page of a converter and, where there is one, of a language model. One request at a time is worked on."""
    with gr.Blocks(title="vocolab", analytics_enabled=False, delete_cache=(60, limits.keep)) as page:
        gr.Markdown(HEADING, elem_id="heading")
        with gr.Tab("Convert", id="convert"):
            convert_tab.show(conversion, limits)
        with gr.Tab("Speak", id="speak"):
            if speaking is None:
                gr.Markdown(speak_tab.NO_MODEL, elem_id="no-model")
            else:
                speak_tab.show(speaking, limits)
    return page
