"""The tab "Speak": a text, a voice, the result."""

from __future__ import annotations

from typing import Any

import gradio as gr

from vocolab.demo import widgets
from vocolab.demo.limits import Limits
from vocolab.demo.speaking import Manner, Speaking

NO_MODEL = """### No model that speaks is loaded

The package holds a converter, but no model that says a text: those are trained. A small one is made of the speech in
the package, on two processor cores in less than half an hour, with nothing downloaded:

```sh
vocolab fit -c recipes/quickstart-tts-vocoder.yaml
vocolab fit -c recipes/quickstart-tts.yaml
vocolab fit -c recipes/quickstart-tts-aligned.yaml
vocolab demo --lm runs/quickstart-tts-aligned/checkpoints/last.ckpt
```

It says the few sentences of its training in its ten voices. For new texts and voices, train on more speech:
`docs/valle.md` tells how (`recipes/valle_transformer.yaml` and its siblings, on a GPU). Then open this page with `--lm`
and that checkpoint."""
EXAMPLES = {
    "a sentence in the voice of a woman": (
        "A narrow path wound through the orchard and down to the quiet river.",
        "synth/3003",
    ),
    "another in the voice of a man": (
        "The old lighthouse keeper counted seven ships before the morning fog rolled in.",
        "synth/3006",
    ),
}


def show(speaking: Speaking, limits: Limits) -> None:
    tts = speaking.tts
    names = [name for name in tts.symbols.languages if name]
    with gr.Row():
        with gr.Column():
            text = gr.Textbox(
                label=f"The text to say, at most {limits.characters} characters",
                lines=3,
                max_length=limits.characters,
                elem_id="speak-text",
            )
            files, recorded = widgets.voice("speak")
            ref_text = gr.Textbox(
                label="What the recordings of the voice say, word for word", visible=tts.needs_ref_text, lines=2
            )
            language = gr.Dropdown(names, value=names[0] if names else None, label="Language", visible=len(names) > 1)
            manner = _manner(speaking)
            button = gr.Button("Speak", variant="primary", elem_id="speak")
        with gr.Column():
            shown = widgets.result("speak")

    def speak(
        text: str | None,
        files: list[str] | None,
        recorded: str | None,
        ref_text: str | None,
        language: str | None,
        speed: float,
        seed: float | None,
        ar_temp: float,
        nar_temp: float,
        top_k: int,
        top_p: float,
        repetition_penalty: float,
        best_of: int,
        max_ar_steps: int,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (Gradio finds it by this default)
    ) -> list[Any]:
        sampling = {
            "ar_temp": ar_temp,
            "nar_temp": nar_temp,
            "top_k": int(top_k),
            "top_p": top_p,
            "repetition_penalty": repetition_penalty,
            "best_of": int(best_of),
            "max_ar_steps": int(max_ar_steps),
        }
        with widgets.told(speaking.folder, limits):
            chosen = Manner(sampling, speed, int(seed or 0), language or None, (ref_text or "").strip() or None)
            steps = int(max_ar_steps)
            found = speaking(
                text, files, recorded, chosen, lambda frame: progress((frame, steps), desc="speaking", unit="frames")
            )
            return widgets.answer(found)

    widgets.on_click(button, speak, [text, files, recorded, ref_text, language, *manner], shown, "speak")
    if not tts.needs_ref_text:
        widgets.examples(EXAMPLES, text, files)


def _manner(speaking: Speaking) -> list[gr.components.Component]:
    """The sampling that suits the model, to change."""
    usual = speaking.tts.default_sampling
    with gr.Accordion("Options", open=False):
        return [
            gr.Slider(0.5, 2, 1, step=0.05, label="Speed", info="by stretching the sound: the pitch stays"),
            gr.Number(0, label="Seed", info="the same seed says the same; another says it otherwise", precision=0),
            gr.Slider(
                0,
                max(2, usual.ar_temp),
                usual.ar_temp,
                step=0.01,
                label="Temperature, first codebook",
                info="0: the likeliest",
            ),
            gr.Slider(0, max(2, usual.nar_temp), usual.nar_temp, step=0.01, label="Temperature, other codebooks"),
            gr.Slider(
                0, max(200, usual.top_k), usual.top_k, step=1, label="Top k", info="sample among so many; 0: all"
            ),
            gr.Slider(0.05, 1, usual.top_p, step=0.01, label="Top p", info="sample among the likeliest up to this sum"),
            gr.Slider(1, 3, usual.repetition_penalty, step=0.05, label="Repetition penalty", info="1: none"),
            gr.Slider(
                1,
                max(8, usual.best_of),
                usual.best_of,
                step=1,
                label="Best of",
                info="responses to choose the likeliest from",
            ),
            gr.Slider(
                50,
                max(900, usual.max_ar_steps),
                usual.max_ar_steps,
                step=10,
                label="Longest (frames)",
                info="then it is cut",
            ),
        ]
