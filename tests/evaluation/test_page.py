"""The page of an evaluation: whole in one file, the worst first, and texts that cannot become part of its code."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import soundfile
import torch

from vocolab.evaluation import evaluate, folder_pairs
from vocolab.evaluation.page import badness, mp3
from vocolab.metrics import STOI, MelL1


class Sources(HTMLParser):
    """What a page points at."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


@pytest.fixture(scope="module")
def page(folders, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("page") / "out"
    evaluate(folder_pairs(*folders), [MelL1()], folder)
    return (folder / "index.html").read_text()


def test_it_is_whole_in_one_file(page):
    sources = Sources()
    sources.feed(page)
    assert len(sources.found) == 3 * 2 * 2 and all(source.startswith("data:") for source in sources.found)
    player = next(source for source in sources.found if source.startswith("data:audio/mpeg;base64,"))
    wav, rate = soundfile.read(io.BytesIO(base64.b64decode(player.partition(",")[2])))
    assert rate == 16000 and len(wav) / rate == pytest.approx(2, abs=0.1)
    assert "<!--" not in page and "http" not in page


def test_the_worst_come_first_and_texts_are_texts(page):
    assert re.findall(r"<b>(\d+)</b>", page) == ["0002", "0001", "0000"]  # ever less noise
    assert "sentence &lt;0001&gt;" in page and "sentence <" not in page


def test_how_bad_an_utterance_is():
    rows = [{"stoi": 0.9, "mel_l1": 1.0}, {"stoi": 0.5, "mel_l1": 2.0}, {"stoi": 0.5}, {}]
    assert badness(rows, [STOI(), MelL1()]) == [0, (0.75 + 1) / 2, 0.75, 0]


@pytest.mark.parametrize("rate, written", [(16000, 16000), (11025, 24000), (96000, 48000)])
def test_every_rate_can_be_played(rate, written):
    wav, found = soundfile.read(io.BytesIO(mp3(torch.zeros(rate), rate)))
    assert found == written and len(wav) / found == pytest.approx(1, abs=0.1)


def test_results_are_plain_json(folders, tmp_path):
    """NaN, which `json` would write by itself, is none."""
    evaluate(folder_pairs(*folders), [MelL1()], tmp_path / "out")
    text = (Path(tmp_path) / "out" / "results.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in the results"))
