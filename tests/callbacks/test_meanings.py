"""What figures mean, in a run's README and the picture of its curves."""

from __future__ import annotations

import re

import pytest

from vocolab.callbacks.curves import draw_curves
from vocolab.callbacks.meanings import meaning
from vocolab.lm.core import TOP


@pytest.mark.parametrize(
    "name, told",
    [
        ("val/stoi", "intelligibility by the bands' envelopes (STOI) (0 to 1; more is better)"),
        ("val/mel_l1", "difference of log-mel spectra (nepers; less is better)"),
        ("val/mcd", "mel-cepstral distance, after time warping (less is better)"),
        ("val/loss", "what training makes small (less is better)"),
        ("train/loss_level_0", "cross-entropy of the codes of codebook 0 (nats; less is better)"),
        (
            "val/acc_level_7",
            "how often the right code of codebook 7 is among the ten likeliest (0 to 1; more is better)",
        ),
        ("tokens_processed", ""),
    ],
)
def test_what_a_figure_is(name, told):
    assert meaning(name) == told and TOP == 10


def test_a_panel_for_each_figure_of_validation(tmp_path, monkeypatch):
    """Those of several codebooks share one; the loss has a logarithmic axis with plain numbers."""
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: (drawn.append(figure), path.touch()))
    names = ["train/loss", "train/acc_level_0", "val/loss", "val/loss_level_0", "val/loss_level_1", "val/stoi"]
    lines = [
        f"{step},{4.0 / (step + 1)},0.5" + ",,,," * (step % 4 > 0) + ",2,3,4,0.5" * (step % 4 == 0)
        for step in range(12)
    ]
    (tmp_path / "metrics.csv").write_text("\n".join([",".join(["step", *names]), *lines]) + "\n")
    draw_curves(tmp_path)
    (figure,) = drawn
    training, losses, stoi = figure.axes
    assert [line.get_label() for line in training.lines] == ["train/loss"] and training.get_yscale() == "log"
    figure.canvas.draw()
    assert {"0.5", "1", "2"} <= {label.get_text() for label in training.get_yticklabels()}
    assert [line.get_label() for line in losses.lines] == ["val/loss", "val/loss_level_0", "val/loss_level_1"]
    assert re.sub(r"\s+", " ", stoi.get_title(loc="left")) == f"validation: val/stoi, {meaning('val/stoi')}"
    assert stoi.lines[0].get_marker() == "o" and stoi.get_legend() is None
