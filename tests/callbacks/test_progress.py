"""What is said of a run while it goes on."""

from __future__ import annotations

import re

from tests.tasks.test_vocoder import run, small_task
from vocolab.callbacks import Progress


def test_a_line_has_updates_and_the_loss(tmp_path, mel_data, capsys):
    run(tmp_path, small_task(), mel_data(), 5, callbacks=[Progress(every=0.0)], enable_progress_bar=True)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("update ")]
    assert [int(line.split()[1].split("/")[0]) for line in lines][:4] == [1, 2, 3, 4]
    assert all(re.search(r"train/loss \d", line) for line in lines[1:]) and "val/mel_l1" in lines[-1]


def test_a_bar_on_a_terminal_has_them_too(tmp_path, mel_data, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    progress, shown = Progress(), []
    show = progress._show
    progress._show = lambda *given: (show(*given), shown.append(progress._bar.tasks[0]))
    run(tmp_path, small_task(), mel_data(), 3, callbacks=[progress], enable_progress_bar=True)
    assert 1 <= len(shown) <= 4 and shown[-1].completed == 3 and "train/loss" in shown[-1].fields["metrics"]
