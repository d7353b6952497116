"""Speech while the codes are being written: what of it equals speech at once, and when it comes."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.pipelines import tiny
from vocolab import TTS
from vocolab.codecs import Codec
from vocolab.errors import UsageError, VocolabError
from vocolab.lm import AR, NAR, LanguageModel, MedusaHeads, Sampling, Split, Unified, first_codebook
from vocolab.lm.backbones import Llama, Transformer
from vocolab.pipelines import passages, spoken_stream
from vocolab.pipelines.spoken_stream import Chunk
from vocolab.text import Characters, SymbolMap
from vocolab.text.pieces import pause_after

SHORT = {"max_ar_steps": 40, "length_penalty": 100.0, "nar_temp": 0.8}  # it stops only where it is cut
VOICE = tiny.OTHER[0]
TEXT = "hello there"


def speaker(codec: Codec) -> TTS:
    lm = tiny.language_model(codec.levels, codec.size)
    return TTS(lm, codec, Characters(), SymbolMap(tiny.SYMBOLS, ["en"]), 2.0)


@pytest.fixture(scope="module")
def kmeans() -> TTS:
    return speaker(tiny.codec())


@pytest.fixture(scope="module")
def encodec(tmp_path_factory: pytest.TempPathFactory) -> TTS:
    return speaker(tiny.encodec(tmp_path_factory.mktemp("encodec")))


@pytest.fixture(params=["kmeans", "encodec"])
def tts(request: pytest.FixtureRequest) -> TTS:
    return request.getfixturevalue(request.param)


def chunks(tts: TTS, texts: list[str], seed: int = 0, sampling: dict | None = None, **windows) -> list[list[Chunk]]:
    """The chunks of each text."""
    found = tts.chunks(
        tts.read(texts), tts.get_prompt([VOICE]), Sampling(**SHORT | (sampling or {})), seed=seed, **windows
    )
    of_text: list[list[Chunk]] = [[] for _ in texts]
    for chunk in found:
        of_text[chunk.number].append(chunk)
    assert all([chunk.last for chunk in own] == [False] * (len(own) - 1) + [True] for own in of_text)
    return of_text


def at_once(tts: TTS, texts: list[str], **sampling) -> list:
    return list(tts.speak(tts.read(texts), tts.get_prompt([VOICE]), Sampling(**SHORT | sampling)))


def codes(own: list[Chunk]) -> Tensor:
    return torch.cat([chunk.codes for chunk in own], dim=1)


def wav(own: list[Chunk]) -> Tensor:
    return torch.cat([chunk.wav for chunk in own])


def frames(tts: TTS, count: int) -> float:
    return count / tts.codec.frame_rate


@pytest.mark.parametrize(("block", "lookahead", "context"), [(10, 6, None), (1, 0, 0), (7, 3, 5), (16, 0, None)])
def test_what_equals_speech_at_once(tts, block, lookahead, context):
    """The first codebook; and the speech, which is that of the codes."""
    sizes = {"block": frames(tts, block), "lookahead": frames(tts, lookahead)}
    own = chunks(tts, [TEXT], context=None if context is None else frames(tts, context), **sizes)[0]
    whole = at_once(tts, [TEXT])[0]
    assert torch.equal(codes(own)[0], whole.codes[0]) and codes(own).shape == whole.codes.shape
    decided = [chunk.codes.shape[1] for chunk in own]
    assert decided[:-1] == [block] * ((40 - lookahead) // block)
    assert torch.allclose(wav(own), tts.codec.decode(codes(own)[None])[0], atol=1e-5)
    assert len(own[0].wav) > 0 or decided[0] < 20


@pytest.mark.parametrize("lookahead", [None, 2.0])
def test_with_all_of_the_text_ahead_it_is_the_speech_at_once(tts, lookahead):
    own, whole = chunks(tts, [TEXT], lookahead=lookahead)[0], at_once(tts, [TEXT])[0]
    assert len(own) == 1 and torch.equal(codes(own), whole.codes)
    assert torch.allclose(wav(own), whole.wav, atol=1e-5)


def windowed(kind: str, codec: Codec) -> TTS:
    """A model with a window and draft heads, `Split` of transformers or `Unified` of Llama's blocks."""
    torch.manual_seed(1)
    sizes = {"levels": codec.levels, "size": codec.size, "symbols": 64}
    more = {"window": 12, "drafts": MedusaHeads(2)}
    lm: LanguageModel
    if kind == "unified":
        lm = Unified(Llama(32, 2, 1), **sizes, **more)
    else:
        lm = Split(AR(Transformer(32, 2, 1), **sizes, **more), NAR(Transformer(32, 2, 1), **sizes))
    first = first_codebook(lm)
    for parameter in lm.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.6)
    first.classifier.bias.data[first.stop] = -20.0
    return TTS(lm.eval(), codec, Characters(), SymbolMap(tiny.SYMBOLS, ["en"]), 2.0)


@pytest.mark.parametrize("kind", ["split", "unified"])
def test_a_window_and_drafts_stream(kind, kmeans):
    """With either, both or less context than trained, a stream shares with speech at once what it shares without."""
    tts = windowed(kind, kmeans.codec)
    for more in ({}, {"draft": "medusa"}, {"draft": "medusa", "max_ar_context": 5}, {"max_ar_context": 5}):
        whole = at_once(tts, [TEXT], **more | {"draft": ""})[0]
        ahead = chunks(tts, [TEXT], sampling=more, lookahead=None)[0]
        assert torch.equal(codes(ahead), whole.codes) and torch.allclose(wav(ahead), whole.wav, atol=1e-4)
        own = chunks(tts, [TEXT], sampling=more)[0]
        assert torch.equal(codes(own)[0], whole.codes[0]) and len(own) > 2
        assert torch.allclose(wav(own), tts.codec.decode(codes(own)[None])[0], atol=1e-4)
        assert own[-1].passes <= 40
    with pytest.raises(UsageError, match="trained with a window of 12 frames: --max-ar-context 13: give 1 to 12"):
        chunks(tts, [TEXT], sampling={"max_ar_context": 13})


@pytest.mark.parametrize("kind", ["split", "unified"])
def test_half_precision_streams_with_a_window_and_drafts(kind, kmeans):
    """Codes may differ in rounding between passes of different lengths, so only what they are is held."""
    tts = windowed(kind, kmeans.codec)
    for dtype, amp in ((torch.float32, True), (torch.bfloat16, False)):
        tts.lm.to(dtype)
        sampling = Sampling(**SHORT, draft="medusa")
        found = list(tts.chunks(tts.read([TEXT]), tts.get_prompt([VOICE]), sampling, amp=amp))
        assert codes(found).shape == (3, 40) and wav(found).dtype == torch.float32
        assert torch.isfinite(wav(found)).all() and len(wav(found)) == 40 * tts.codec.hop


def test_what_is_ahead_matters_and_what_was_said_stays(kmeans):
    """The other codebooks depend on the look-ahead; a first codebook alone does not."""
    short, longer = (chunks(kmeans, [TEXT], lookahead=seconds)[0] for seconds in (0.0, 0.8))
    assert not torch.equal(codes(short), codes(longer))
    for own in (short, longer):
        alone = chunks(kmeans, [TEXT], sampling={"max_nar_levels": 0}, block=0.12)[0]
        assert torch.equal(codes(alone), codes(own)[:1])


def test_a_text_knows_nothing_of_those_beside_it(kmeans):
    texts = ["a", "hello there, how are you today", "who", "so it is"]
    ends = {"length_penalty": 0.0, "max_ar_steps": 60}
    bias = kmeans.lm.ar.classifier.bias.data
    bias[kmeans.lm.ar.stop] = 4.0  # so that they stop at unequal times
    try:
        together = chunks(kmeans, texts, sampling=ends)
        assert len({codes(own).shape[1] for own in together}) > 2 and any(own[-1].stopped for own in together)
        whole = at_once(kmeans, texts, **ends)
        for own, text, spoken in zip(together, texts, whole, strict=True):
            alone = chunks(kmeans, [text], sampling=ends)[0]
            assert torch.equal(codes(own), codes(alone)) and torch.allclose(wav(own), wav(alone), atol=1e-5)
            assert torch.equal(codes(own)[0], spoken.codes[0]) and own[-1].stopped == spoken.stopped
    finally:
        bias[kmeans.lm.ar.stop] = -20.0


def test_it_speaks_before_the_model_has_ended(kmeans):
    """A chunk comes as soon as its block and its look-ahead are there; closing early takes no further step."""
    steps, first_frames = 0, kmeans.lm.first_frames

    def counted(*args):
        nonlocal steps
        for response in first_frames(*args):
            steps = response.steps
            yield response

    kmeans.lm.first_frames = counted
    try:
        prompt = kmeans.get_prompt([VOICE])
        found = kmeans.chunks(kmeans.read([TEXT]), prompt, Sampling(**SHORT), block=0.4, lookahead=0.2)
        assert [(steps, chunk.codes.shape[1]) for chunk in itertools.islice(found, 2)] == [(15, 10), (25, 10)]
        found.close()
        assert steps == 25
    finally:
        del kmeans.lm.first_frames


def test_chunks_of_waveform(kmeans):
    pieces = list(kmeans.stream(TEXT, ref=VOICE, seed=3, **SHORT))
    assert len(pieces) > 2 and all(piece.dtype == torch.float32 and piece.ndim == 1 for piece in pieces)
    assert sum(map(len, pieces)) == 40 * 640
    again = kmeans.stream(TEXT, ref=[str(VOICE)], seed=3, lookahead=None, **SHORT)
    assert torch.allclose(torch.cat(list(again)), kmeans(TEXT, ref=VOICE, seed=3, **SHORT), atol=1e-5)


def test_a_stream_that_cannot_be_is_refused_before_it_begins(kmeans):
    """By the call itself, not by the first chunk."""
    for name in ("beam_width", "best_of"):
        with pytest.raises(UsageError, match="is 3, which chooses among whole responses: stream: leave it out, or do"):
            kmeans.stream(TEXT, ref=VOICE, **{name: 3})
    for name, value, least in (("block", 0.0, "0.04"), ("lookahead", -1.0, "0"), ("context", float("nan"), "0")):
        with pytest.raises(UsageError, match=f"{name} is {value} s: stream: give at least {least} s"):
            kmeans.stream(TEXT, ref=VOICE, **{name: value})
    with pytest.raises(VocolabError, match="empty text"):
        kmeans.stream(" ", ref=VOICE)
    with pytest.raises(UsageError, match="no such setting 'ar_tmp'"):
        kmeans.stream(TEXT, ref=VOICE, ar_tmp=1.0)
    with pytest.raises(VocolabError):
        kmeans.stream(TEXT, ref=Path("nowhere.wav"))


def test_a_model_that_chooses_among_responses_says_the_first(kmeans, monkeypatch):
    """What the model states for itself is left out where a stream cannot do it."""
    single = torch.cat(list(kmeans.stream(TEXT, ref=VOICE, **SHORT)))
    monkeypatch.setattr(kmeans, "default_sampling", Sampling(best_of=4))
    assert torch.equal(torch.cat(list(kmeans.stream(TEXT, ref=VOICE, **SHORT))), single)


LONG = "Hello there. Who are you, and what is it that you want of me on a day like this one? So it is."


def test_a_long_text_comes_piece_by_piece(kmeans):
    """Each piece is the stream of its text, faded at its ends, with a pause behind it."""
    passage = passages.read(kmeans, LONG, sampling=Sampling(**SHORT))
    assert len(passage.pieces) > 1
    prompt = kmeans.get_prompt([VOICE])
    found: list[list[Chunk]] = [[] for _ in passage.pieces]
    for chunk in spoken_stream.say(kmeans, passage, prompt, Sampling(**SHORT), pause=0.5):
        found[chunk.number].append(chunk)
    for own, piece in zip(found, passage.pieces, strict=True):
        alone, joined = wav(chunks(kmeans, [piece.text])[0]), wav(own)
        pause = 0 if piece is passage.pieces[-1] else round(0.5 * pause_after(piece) * kmeans.sample_rate)
        assert len(joined) == len(alone) + pause and not bool(joined[len(alone) :].any())
        fade = round(0.02 * kmeans.sample_rate)
        assert torch.equal(joined[fade : len(alone) - fade], alone[fade:-fade])
        assert joined[0] == joined[len(alone) - 1] == 0
    together = torch.cat(list(kmeans.stream(LONG, ref=VOICE, pause=0.5, **SHORT)))
    assert torch.equal(together, torch.cat([wav(own) for own in found]))
    with pytest.raises(UsageError, match="a pause of -1: --pause: give 0"):
        kmeans.stream(LONG, ref=VOICE, pause=-1.0)


def test_no_clicks_at_seams(kmeans):
    """Where chunks meet, samples differ no more than inside chunks."""
    own = chunks(kmeans, [TEXT])[0]
    seams = list(itertools.accumulate(len(chunk.wav) for chunk in own))[:-1]
    steps = wav(own).diff().abs()
    at_seams = torch.stack([steps[seam - 1] for seam in seams if seam])
    assert len(at_seams) > 1 and at_seams.max() <= steps.quantile(0.999)
