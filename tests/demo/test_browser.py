"""The page in a real browser, Debian's chromium without a window: what a user does, and what he gets."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from vocolab import audio
from vocolab.demo.conversion import Conversion
from vocolab.demo.limits import Limits
from vocolab.pipelines import KNNVC

pytestmark = pytest.mark.slow
pytest.importorskip("gradio", reason="the extra demo is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (make test-browser)")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("chromium is not installed (make test-browser)", allow_module_level=True)

from vocolab.demo.page import build  # noqa: E402
from vocolab.demo.server import free_address, serving, workplace  # noqa: E402

LIMITS = Limits(seconds=10, megabytes=0.5)
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --use-fake-ui-for-media-stream --use-fake-device-for-media-stream"
).split()
PATIENCE = 120_000  # ms


@pytest.fixture(scope="module")
def vc() -> KNNVC:
    return KNNVC.pretrained()


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with workplace() as folder:
        yield folder
    assert not folder.exists()


@pytest.fixture(scope="module")
def address(vc, place) -> Iterator[str]:
    page = build(Conversion(vc, LIMITS, place), None, LIMITS)
    with serving(page, "127.0.0.1", free_address("127.0.0.1", 0), LIMITS) as found:
        yield found


@pytest.fixture(scope="module")
def microphone(speech_file, tmp_path_factory) -> Path:
    """What the browser's microphone hears, again and again."""
    path = tmp_path_factory.mktemp("microphone") / "heard.wav"
    audio.write(path, audio.read(speech_file, 48000)[0], 48000)
    return path


@pytest.fixture(scope="module")
def browser(microphone):
    with playwright.sync_playwright() as found:
        flags = [*FLAGS, f"--use-file-for-fake-audio-capture={microphone}"]
        one = found.chromium.launch(executable_path=CHROMIUM, headless=True, args=flags)
        yield one
        one.close()


@pytest.fixture
def visit(browser, address):
    """Opens the page as one more visitor, who notes what the browser asks for."""
    contexts = []

    def open_page():
        contexts.append(browser.new_context(viewport={"width": 1280, "height": 1000}, permissions=["microphone"]))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE)
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(address)
        page.locator("button#convert").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()


def give(page, source: Path | None, *voice: Path) -> None:
    """Upload, and wait until the page shows it."""
    if source is not None:
        page.locator("#convert-source input[type=file]").set_input_files(source)
        page.locator("#convert-source button[aria-label=Play], #convert-source .waveform-container").first.wait_for()
    page.locator("#convert-voice input[type=file]").set_input_files(voice)
    page.locator(f"#convert-voice :text('{voice[-1].stem}')").first.wait_for()


def press(page) -> None:
    page.locator("button#convert").click()


def download(page, folder: Path) -> Path:
    page.locator("#convert-told :text('s of speech')").wait_for()
    with page.expect_download() as found:
        page.locator("#convert-download").click()
    path = folder / found.value.suggested_filename
    found.value.save_as(path)
    return path


def refusal(page) -> str:
    """What the page says to a mistake."""
    message = page.locator("[data-testid=toast-body]").first
    message.wait_for()
    return message.inner_text()


def test_upload_convert_download(visit, vc, place, address, builtin_corpus, tmp_path):
    source, *target = (builtin_corpus / f"synth/{s}/10" for s in ("3001", "3002"))
    sentence = source / "3001-10-0000.opus"
    voice = sorted(target[0].glob("*.opus"))[-8:]
    page = visit()
    give(page, sentence, *voice)
    press(page)
    path = download(page, tmp_path)
    assert path.name == "3001-10-0000-as-3002-10-0012.wav"
    (wav, rate), spoken = audio.read(path), audio.info(sentence).seconds
    assert rate == 16000 and len(wav) / rate == pytest.approx(spoken, abs=0.05)
    assert -22 < audio.loudness(wav, rate) < -15 and audio.true_peak(wav, rate) <= 0
    assert page.locator("#convert-picture img").evaluate("image => image.naturalWidth") > 500
    assert [url for url in page.asked if not url.startswith((address, "blob:", "data:"))] == []

    voices = {
        s: sorted((builtin_corpus / f"synth/{s}/10").glob("*.opus"))[:6] for s in ("3001", "3002", "3004", "3005")
    }
    means = {s: torch.cat([vc.get_features(file) for file in files]).mean(0) for s, files in voices.items()}
    heard = vc.get_features(path).mean(0)
    centre = torch.stack(list(means.values())).mean(0)
    near = {s: torch.cosine_similarity(heard - centre, mean - centre, dim=0) for s, mean in means.items()}
    assert max(near, key=near.__getitem__) == "3002", near


def test_the_microphone(visit, speech_file, tmp_path):
    page = visit()
    page.locator("#convert-source button[aria-label='Record audio']").click()
    page.locator("#convert-source button.record-button, #convert-source .record").first.click()
    page.wait_for_timeout(2500)  # it speaks
    page.locator("#convert-source button.stop-button, #convert-source .stop-button").first.click()
    give(page, None, speech_file)
    press(page)
    wav, rate = audio.read(download(page, tmp_path))
    assert 1 < len(wav) / rate < 5 and audio.loudness(wav, rate) > -30


@pytest.mark.parametrize(
    "name, line",
    [
        ("text.wav", "text.wav"),
        ("long.flac", "13.3 s, at most 10 s are taken here: long.flac: give a shorter recording"),
    ],
)
def test_a_wrong_file_is_told(visit, speech_file, tmp_path, name, line):
    (tmp_path / "text.wav").write_text("la la la")
    audio.write(tmp_path / "long.flac", audio.read(speech_file)[0].repeat(3), 16000)
    page = visit()
    give(page, tmp_path / name, speech_file)
    press(page)
    said = refusal(page)
    assert line in said and "Traceback" not in said and "/" not in said.replace("s/", "")
    page.screenshot(path=tmp_path / "error.png")


def test_a_missing_voice_and_a_large_file_are_told(visit, speech_file, tmp_path, place):
    page = visit()
    press(page)
    assert "no speech to convert: upload a recording" in refusal(page)
    audio.write(tmp_path / "large.wav", torch.zeros(20 * 16000), 16000)
    page = visit()
    page.locator("#convert-voice input[type=file]").set_input_files(tmp_path / "large.wav")
    assert "size" in refusal(page).lower()
    assert not list(place.rglob("large.wav"))


def test_two_visitors_at_once(visit, builtin_corpus, tmp_path):
    files = [sorted((builtin_corpus / f"synth/{s}/10").glob("*.opus")) for s in ("3001", "3002")]
    pages = [visit(), visit()]
    for page, mine, other in zip(pages, files, reversed(files), strict=True):
        give(page, mine[0], *other[1:3])
    for page in pages:
        press(page)
    paths = [download(page, tmp_path) for page in pages]
    assert [path.name for path in paths] == [f"{a[0].stem}-as-{b[1].stem}.wav" for a, b in (files, files[::-1])]
    for path, (source, *_) in zip(paths, files, strict=True):
        assert audio.info(path).seconds == pytest.approx(audio.info(source).seconds, abs=0.05)


def test_the_other_tab_says_how_to_get_a_model(visit):
    page = visit()
    page.get_by_role("tab", name="Speak").click()
    told = page.locator("#no-model")
    told.wait_for()
    assert "No model that speaks is loaded" in told.inner_text() and "vocolab demo --lm" in told.inner_text()
