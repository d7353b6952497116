"""How the page looks: fonts of the reader's system, so that nothing is fetched."""

from __future__ import annotations

import gradio as gr

THEME = gr.themes.Default(
    primary_hue="indigo",
    neutral_hue="slate",
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
)
STYLE = """
.gradio-container { max-width: 1180px !important; margin: 0 auto !important; }
"""
