"""The tab "Convert": a recording, a voice, the result."""

from __future__ import annotations

from typing import Any

import gradio as gr

from vocolab.demo import widgets
from vocolab.demo.conversion import Conversion, Manner
from vocolab.demo.limits import Limits

EXAMPLES = {
    "a sentence by a woman, in the voice of a man": ("synth/3001/10/3001-10-0000.opus", "synth/3002"),
    "a sentence by a man, in the voice of a woman": ("synth/3004/10/3004-10-0003.opus", "synth/3005"),
    "an announcement in French, in the voice of an Italian": ("ivr/1002/30/1002-30-0005.opus", "ivr/1003"),
}


def show(conversion: Conversion, limits: Limits) -> None:
    with gr.Row():
        with gr.Column():
            source = gr.Audio(
                sources=["upload", "microphone"],
                type="filepath",
                format=None,
                label=f"The speech to convert, at most {limits.seconds:g} s",
                buttons=[],
                elem_id="convert-source",
            )
            files, recorded = widgets.voice("convert")
            manner = _manner(conversion)
            button = gr.Button("Convert", variant="primary", elem_id="convert")
        with gr.Column():
            shown = widgets.result("convert")

    def convert(
        source: str | None,
        files: list[str] | None,
        recorded: str | None,
        topk: int,
        quiet: bool,
        silence: float,
        loudness: float,
        trim: bool,
        duration: float | None,
        seed: float | None,
    ) -> list[Any]:
        with widgets.told(conversion.folder, limits):
            chosen = Manner(int(topk), silence if quiet else None, loudness, trim, duration, int(seed or 0))
            return widgets.answer(conversion(source, files, recorded, chosen))

    widgets.on_click(button, convert, [source, files, recorded, *manner], shown, "convert")
    rows = {name: (str(widgets.CORPUS / sentence), voice) for name, (sentence, voice) in EXAMPLES.items()}
    widgets.examples(rows, source, files)


def _manner(conversion: Conversion) -> list[gr.components.Component]:
    usual = Manner(conversion.vc.topk)
    with gr.Accordion("Options", open=False):
        return [
            gr.Slider(
                1,
                max(32, usual.topk),
                usual.topk,
                step=1,
                label="k",
                info="frames of the voice averaged into each frame of the result",
            ),
            gr.Checkbox(usual.silence is not None, label="Make long pauses silent"),
            gr.Slider(-90, -30, usual.silence, step=1, label="Pauses are below (dB)"),
            gr.Slider(-36, -10, usual.loudness, step=1, label="Loudness of the result (LKFS)"),
            gr.Checkbox(usual.trim, label="Trim silence off the recordings of the voice"),
            gr.Number(0, label="Length of the result (s)", info="0: that of the speech to convert", minimum=0),
            gr.Number(usual.seed, label="Seed", info="the same seed gives the same result", precision=0, minimum=0),
        ]
