"""Speech from text, with a tiny untrained model: what decides it, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.pipelines import tiny
from tests.test_checkpoints import own_checkpoint
from vocolab import TTS, audio
from vocolab.checkpoints import load_lm
from vocolab.errors import UsageError, VocolabError
from vocolab.lm import Sampling
from vocolab.pipelines.references import excerpts, shares
from vocolab.text import Characters, SymbolMap, Text

SHORT = {"max_ar_steps": 30, "length_penalty": 100.0}  # long enough to compare: it stops only where it is cut
VOICE = tiny.OTHER[0]


@pytest.fixture(scope="module")
def tts(lm_checkpoint) -> TTS:
    return TTS.from_checkpoint(lm_checkpoint)


def speak(tts: TTS, texts: list[str], batch_size: int = 8, seed: int = 0, **sampling) -> list:
    prompt = tts.get_prompt([VOICE])
    return list(tts.speak(tts.read(texts), prompt, Sampling(**SHORT | sampling), seed=seed, batch_size=batch_size))


def test_a_text_and_several(tts):
    one = tts("hello there", ref=VOICE, **SHORT)
    several = tts(["hello there", "who are you"], ref=[VOICE, tiny.OTHER[1]], **SHORT)
    assert one.shape == (30 * 640,) and torch.isfinite(one).all() and one.abs().max() > 0
    assert [wav.shape for wav in several] == [(30 * 640,)] * 2


def test_the_seed_decides(tts):
    first, again, other = (tts("hello there", ref=VOICE, seed=seed, **SHORT) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_text_voice_and_settings_matter(tts):
    codes = speak(tts, ["hello there"])[0].codes
    assert not torch.equal(codes, speak(tts, ["who are you"])[0].codes)
    assert not torch.equal(codes, speak(tts, ["hello there"], ar_temp=0.0)[0].codes)
    prompt = tts.get_prompt([tiny.SPEECH[0]])
    assert not torch.equal(codes, next(tts.speak(tts.read(["hello there"]), prompt, Sampling(**SHORT))).codes)


def test_a_text_knows_nothing_of_those_beside_it(tts):
    texts = ["a", "hello there, how are you today", "who", "so it is", "yes"]
    together = speak(tts, texts)
    for batch_size in (1, 2):
        for one, other in zip(together, speak(tts, texts, batch_size), strict=True):
            assert torch.equal(one.codes, other.codes) and torch.allclose(one.wav, other.wav, atol=1e-6)
    assert torch.equal(speak(tts, texts[2:3])[0].codes, together[2].codes)


def test_stopping_is_told(tts):
    cut = speak(tts, ["hello"])[0]
    assert (cut.stopped, cut.frames, cut.codes.shape) == (False, 30, (3, 30))
    assert cut.seconds == pytest.approx(30 / 25) and cut.tokens_per_s > 0
    soon = speak(tts, ["hello"], length_penalty=-100.0, max_ar_steps=200)[0]
    assert soon.stopped and soon.frames < 5 and len(soon.wav) == soon.frames * 640


def test_steps_are_announced(tts):
    steps: list[int] = []
    prompt = tts.get_prompt([VOICE])
    list(tts.speak(tts.read(["a", "b"]), prompt, Sampling(**SHORT), batch_size=1, on_step=steps.append))
    assert steps == [*range(1, 31)] * 2


def test_fewer_levels(tts):
    assert speak(tts, ["hello"], max_nar_levels=1)[0].codes.shape == (2, 30)
    assert speak(tts, ["hello"], max_nar_levels=0)[0].codes.shape == (1, 30)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(lm_checkpoint, dtype):
    tts = TTS.from_checkpoint(lm_checkpoint, dtype=dtype)
    wav = tts("hello there", ref=VOICE, **SHORT)
    assert torch.isfinite(wav).all() and wav.dtype == torch.float32
    with pytest.raises(UsageError, match="no such type 'int8': --dtype: give one of float32, bfloat16, float16"):
        TTS.from_checkpoint(lm_checkpoint, dtype="int8")


def test_autocast(tts):
    prompt = tts.get_prompt([VOICE])
    spoken = next(tts.speak(tts.read(["hello"]), prompt, Sampling(**SHORT), amp=True))
    assert spoken.frames == 30 and torch.isfinite(spoken.wav).all()


# References


def test_shares():
    assert shares([100], 30) == [30]
    assert shares([100, 100, 100], 30) == [10, 10, 10]
    assert shares([100, 4, 100], 30) == [13, 4, 13]
    assert shares([3, 4, 5], 30) == [3, 4, 5]


def test_several_references_are_joined(tts):
    prompt = tts.get_prompt(tiny.OTHER[:2])  # the checkpoint says 2 s
    assert prompt.codes.shape == (3, 50) and [e.used for e in prompt.excerpts] == [1.0, 1.0]
    alone = tts.get_prompt(tiny.OTHER[:1], 1.0)
    assert torch.equal(prompt.codes[:, :25], alone.codes)
    many = tts.get_prompt(tiny.OTHER, 3.0)
    assert [e.path for e in many.excerpts] == tiny.OTHER[:3]


def test_speech_begins_where_it_begins(tmp_path):
    wav = audio.read(VOICE, 16000)[0]
    audio.write(tmp_path / "late.wav", torch.cat([torch.zeros(48000), wav]), 16000)
    audio.write(tmp_path / "soon.wav", wav, 16000)
    late, soon = (excerpts([tmp_path / name], 16000, 2.0)[0].wav for name in ("late.wav", "soon.wav"))
    assert len(late) == 32000 and torch.equal(late, soon)
    assert late[:800].abs().max() > 0.01 * wav.abs().max()


def test_ten_minutes_are_not_read(tts, tmp_path, monkeypatch):
    wav = audio.read(VOICE, 16000)[0]
    audio.write(tmp_path / "long.wav", wav.repeat(600 * 16000 // len(wav) + 1)[: 600 * 16000], 16000)
    read, whole = [], audio.read
    monkeypatch.setattr(audio, "read", lambda *args: read.append(whole(*args)) or read[-1])
    prompt = tts.get_prompt([tmp_path / "long.wav"])
    assert (prompt.excerpts[0].used, prompt.excerpts[0].seconds) == (2.0, 600.0)
    assert len(read[0][0]) == 12 * 16000


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda wav: wav[8000:9600], "0.10 s of speech, at least 0.5 s are needed: .*ref.wav: give a longer reference"),
        (lambda wav: torch.zeros(16000), "nothing but silence: .*ref.wav: give a recording of speech"),
        (None, "no such file: .*ref.wav"),
    ],
)
def test_references_that_will_not_do(tts, tmp_path, make, message):
    if make is not None:
        audio.write(tmp_path / "ref.wav", make(audio.read(VOICE, 16000)[0]), 16000)
    with pytest.raises(VocolabError, match=message):
        tts("hello", ref=tmp_path / "ref.wav")


def test_no_reference(tts):
    with pytest.raises(UsageError, match="no reference speech"):
        tts("hello", ref=[])
    with pytest.raises(UsageError, match="a prompt of 0.2 s: --input-prompt-length: give at least 0.5 s"):
        tts.get_prompt([VOICE], 0.2)


# References with their text


@pytest.fixture(scope="module")
def continuing(prefix_checkpoint) -> TTS:
    return TTS.from_checkpoint(prefix_checkpoint)


def test_the_text_of_the_references_comes_first(tts, continuing):
    """The model saw one text around prompt and response, and the prompt's codes: so must it now."""
    assert continuing.needs_ref_text and not tts.needs_ref_text
    read = continuing.read(["who are you", "yes"], ref_text=" so it is ")
    assert read == tts.read(["so it is who are you", "so it is yes"])
    prompt = continuing.get_prompt([VOICE], text="so it is")
    whole = audio.read(VOICE, 16000)[0]
    heard = prompt.excerpts[0]
    assert heard.used > 4 and torch.equal(heard.wav, whole[len(whole) - len(heard.wav) :])
    assert torch.equal(prompt.codes, tts.get_prompt([VOICE], heard.used).codes)
    said = continuing("who are you", ref=VOICE, ref_text="so it is", **SHORT)
    whole_text = tts.speak(tts.read(["so it is who are you"]), prompt, Sampling(**SHORT))
    assert torch.equal(said, next(whole_text).wav)


class Sentences(Text):
    """A letter at the end of a text, as a phonemiser reads a word by those beside it."""

    def symbols(self, text: str, language: str = "") -> list[str]:
        return [*text, "z"]


def test_both_texts_are_read_as_one(tts):
    continuing = TTS(tts.lm, tts.codec, Sentences(), SymbolMap(tiny.SYMBOLS), prompt_kind="prefix")
    read = continuing.read(["b"], ref_text="a")[0]
    assert [tiny.SYMBOLS[i] for i in read] == ["<s>", "a", " ", "b", "z", "</s>"]


def test_several_references_are_heard_whole(continuing):
    found = continuing.get_prompt(tiny.OTHER[:2], text="so it is").excerpts
    assert [e.path for e in found] == tiny.OTHER[:2] and all(0 <= e.seconds - e.used < 1 for e in found)


@pytest.mark.parametrize("ref_text", [None, "", " "])
def test_a_model_that_goes_on_needs_the_text_of_the_references(continuing, ref_text):
    message = r"goes on from what the references say \(.*prompt: prefix\): --ref-text: give their text"
    with pytest.raises(UsageError, match=message):
        continuing.read(["hello"], ref_text=ref_text)
    with pytest.raises(UsageError, match=message):
        continuing.get_prompt([VOICE], text=ref_text)


def test_other_models_do_not_take_it(tts):
    with pytest.raises(UsageError, match="hears references without their text: --ref-text: leave it out"):
        tts("hello", ref=VOICE, ref_text="so it is")
    speaker = TTS(tts.lm, tts.codec, tts.reader.text, tts.symbols, prompt_kind="speaker")
    with pytest.raises(UsageError, match=r"without their text \(it was trained with prompt: speaker\): --ref-text"):
        speaker("hello", ref=VOICE, ref_text="so it is")


def test_references_with_text_that_will_not_do(continuing, tmp_path):
    with pytest.raises(UsageError, match="are heard whole: --input-prompt-length: leave it out"):
        continuing.get_prompt([VOICE], 2.0, "so it is")
    with pytest.raises(VocolabError, match="text of 1,002 characters, at most 1,000 are taken: --ref-text: give a sh"):
        continuing("hello", ref=VOICE, ref_text="so " * 333 + "sos")
    wav = audio.read(VOICE, 16000)[0]
    audio.write(tmp_path / "long.wav", wav.repeat(8)[: 28 * 16000], 16000)
    with pytest.raises(VocolabError, match="32.9 s of references, at most 30 s are heard with their text: --ref: give"):
        continuing.get_prompt([tmp_path / "long.wav", VOICE], text="so it is")
    with pytest.raises(UsageError, match="no reference speech"):
        continuing.get_prompt([], text="so it is")


def test_references_may_be_waveforms(tts):
    wav, rate = audio.read(VOICE)
    said = tts("hello", ref=VOICE, **SHORT)
    pcm = (wav * 32768).round().clamp(-32768, 32767).short()
    for given in (wav, wav[None], wav.numpy(), [wav], [pcm]):
        assert torch.equal(tts("hello", ref=given, **SHORT), said)
    high = tts.get_prompt([audio.resample(wav, rate, 48000)], sample_rate=48000)
    assert high.excerpts[0].path is None and high.excerpts[0].seconds == pytest.approx(len(wav) / rate, abs=1e-3)
    assert tts("hello", ref=audio.resample(wav, rate, 48000), ref_rate=48000, **SHORT).shape == said.shape


def test_waveforms_are_heard_whole_too(continuing):
    wav, rate = audio.read(VOICE)
    found = continuing.get_prompt([audio.resample(wav, rate, 8000)], text="so it is", sample_rate=8000).excerpts[0]
    assert 0 <= found.seconds - found.used < 1
    with pytest.raises(VocolabError, match="at most 30 s are heard"):
        continuing.get_prompt([wav.repeat(10)], text="so it is")


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        (torch.zeros(32000), "nothing but silence: waveform"),
        (torch.randn(100) / 4, "at least 0.5 s are needed: waveform"),
        (torch.zeros(0), "no samples: waveform"),
        (torch.zeros(2, 32000), "give one channel"),
        (torch.full((32000,), 1000.0), "far beyond"),
        (32000, "speech of type int"),
        ([[0.0, 0.1]], "speech of type list"),
    ],
)
def test_waveforms_that_are_no_voice(tts, ref, message):
    with pytest.raises(VocolabError, match=message):
        tts("hello", ref=ref)


# Texts


def test_a_text_of_which_nothing_is_known(tts, continuing):
    with pytest.raises(VocolabError, match=r"the model knows no symbol of the text \('中中'\): text 2: give"):
        tts.read(["fine", "中中"])
    with pytest.raises(VocolabError, match="knows no symbol"):
        continuing.read(["中中"], ref_text="so it is")


def test_punctuation_never_seen_is_left_out(lm_checkpoint):
    tts = TTS.from_checkpoint(lm_checkpoint)
    assert tts.read(["(hello) — there!"]) == tts.read(["hello there"])
    assert tts.symbols.left_out == {"(": 1, ")": 1, "—": 1, "!": 1} and not tts.symbols.unknown


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "empty text: text 2: give something to say"),
        (" \n", "empty text: text 2"),
        (" ?! … ", r"no letter or digit in the text \('\?! …'\): text 2: give something to say"),
        ("so " * 166667, "text of 500,001 characters, at most 500,000 are spoken: text 2: give it in parts"),
    ],
)
def test_texts_that_will_not_do(tts, text, message):
    with pytest.raises(VocolabError, match=message):
        tts(["fine", text], ref=VOICE)


def test_one_piece_has_a_limit(tts):
    with pytest.raises(VocolabError, match="text of 1,002 characters, at most 1,000 are spoken in one piece: text 1"):
        tts.read(["so " * 334])


def test_symbols_never_seen_are_counted(lm_checkpoint):
    tts = TTS.from_checkpoint(lm_checkpoint)
    assert len(tts("straße 中中", ref=VOICE, **SHORT)) == 30 * 640
    assert tts.symbols.unknown == {"ß": 1, "中": 2}


def test_languages(tts):
    with pytest.raises(UsageError, match="unknown language 'xx': --language: the model was trained on en"):
        tts("hello", ref=VOICE, language="xx")
    model = tiny.language_model(languages=4)
    several = TTS(model, tts.codec, Characters(), SymbolMap(tiny.SYMBOLS, ["de", "en", "fr"]))
    with pytest.raises(UsageError, match="several languages: --language: give one of de, en, fr"):
        several("hello", ref=VOICE)
    with pytest.raises(UsageError, match="unknown language 'eng': --language: did you mean en?"):
        several("hello", ref=VOICE, language="eng")
    english, french = (
        [several("hello", ref=VOICE, language=name, seed=seed, **SHORT) for seed in range(4)] for name in ("en", "fr")
    )
    assert not all(torch.equal(*pair) for pair in zip(english, french, strict=True))


class Spelled(Text):
    """A letter more by language, as another phonemiser would read it."""

    def symbols(self, text: str, language: str = "") -> list[str]:
        return [*text, {"de": "d", "en": "e"}.get(language, "x")]


def test_a_language_decides_the_reading_of_a_model_that_is_not_told_it(tts):
    """Training read each text in its own language, whatever the model hears of it."""
    several = TTS(tts.lm, tts.codec, Spelled(), SymbolMap(tiny.SYMBOLS, ["", "de", "en"]))
    assert not several.lm.languages
    with pytest.raises(UsageError, match="several languages: --language: give one of de, en$"):
        several.read(["a"])
    read = {language: several.read(["a"], language)[0][2] for language in ("de", "en", "")}
    assert {language: tiny.SYMBOLS[i] for language, i in read.items()} == {"de": "d", "en": "e", "": "x"}
    spelling = TTS(tts.lm, tts.codec, Characters(), SymbolMap(tiny.SYMBOLS, ["de", "en"]))
    assert spelling.read(["a"]) == spelling.read(["a"], "de") == spelling.read(["a"], "en")


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("tried to allocate"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("part, method", [("lm", "generate"), ("codec", "decode")])
def test_too_many_texts_for_the_memory(tts, monkeypatch, part, method, error):
    def full(*_, **__):
        raise error

    monkeypatch.setattr(getattr(tts, part), method, full)
    with pytest.raises(VocolabError, match="out of memory with 2 texts together: cpu: lower --batch-size"):
        tts(["a", "b"], ref=VOICE, **SHORT)


def test_other_errors_stay_what_they_are(tts, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(tts.codec, "decode", fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        tts("a", ref=VOICE, **SHORT)


def test_settings_unknown(tts):
    with pytest.raises(UsageError, match="no such setting 'ar_tmp': sampling: did you mean ar_temp?"):
        tts("hello", ref=VOICE, ar_tmp=1.0)
    with pytest.raises(UsageError, match="--top-p"):
        tts("hello", ref=VOICE, top_p=2.0)


# Checkpoints


def test_parts_alone(tts):
    text, symbols = Characters(), SymbolMap(tiny.SYMBOLS)
    alone = TTS(tts.lm.ar, tts.codec, text, symbols, 2.0)
    assert speak(alone, ["hello"])[0].codes.shape == (1, 30)
    assert torch.equal(speak(alone, ["hello"])[0].codes[0], speak(tts, ["hello"])[0].codes[0])
    with pytest.raises(VocolabError, match="a NAR alone cannot begin to speak"):
        TTS(tts.lm.nar, tts.codec, text, symbols)
    with pytest.raises(VocolabError, match="codes of 3 levels of 16, the model speaks 2 of 16: KMeansCodec"):
        TTS(tiny.language_model(levels=2), tts.codec, text, symbols)


def test_weights_and_codec_come_back(lm_checkpoint):
    loaded, lm, codec = load_lm(lm_checkpoint), tiny.language_model(), tiny.codec()
    for ours, theirs in ((loaded.lm, lm), (loaded.codec, codec)):
        ours, theirs = ours.state_dict(), theirs.state_dict()
        assert list(ours) == list(theirs) and all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert not loaded.lm.training and loaded.meta["statistics"]["updates"] == 7
    with pytest.raises(UsageError, match="the checkpoint holds its codec: --codec: leave it out"):
        load_lm(lm_checkpoint, codec="x")


def test_no_language_model(tmp_path):
    torch.save({"generator": {}}, tmp_path / "g_1.pt")
    with pytest.raises(VocolabError, match="holds a vocoder, no language model: .*g_1.pt: vocolab convert takes"):
        TTS.from_checkpoint(tmp_path / "g_1.pt")
    torch.save({"state_dict": {}}, tmp_path / "x.ckpt")
    with pytest.raises(VocolabError, match="holds no language model"):
        TTS.from_checkpoint(tmp_path / "x.ckpt")
    with pytest.raises(VocolabError, match="a folder, not a checkpoint: .*: give a file, or a folder that holds"):
        TTS.from_checkpoint(tmp_path)


def test_a_codec_without_a_vocoder(tmp_path):
    """Refused before anything is sampled; `codec` is the vocoder, or its file, as a run or an export holds it."""
    codec, whole = tiny.codec(), tiny.codec().receive(tiny.vocoder())
    codec.vocoder = None
    mute = tiny.write(tmp_path / "mute.ckpt", tiny.language_model(), codec)
    with pytest.raises(VocolabError, match="no vocoder: KMeansCodec: train a vocoder .* to speak by --codec"):
        TTS.from_checkpoint(mute)
    given = own_checkpoint(tmp_path / "vocoder.ckpt", tiny.vocoder())
    loud = TTS.from_checkpoint(tiny.write(tmp_path / "loud.ckpt", tiny.language_model(), whole))
    wav = loud("hello", ref=VOICE, **SHORT)
    for one in (given, tiny.vocoder()):
        assert torch.equal(TTS.from_checkpoint(mute, codec=one)("hello", ref=VOICE, **SHORT), wav)
    with pytest.raises(UsageError, match="the codec of the checkpoint takes no vocoder: codec: leave it out"):
        TTS.from_checkpoint(tmp_path / "loud.ckpt", codec=tiny.vocoder())
    other = own_checkpoint(tmp_path / "other.ckpt", tiny.vocoder(40))
    with pytest.raises(VocolabError, match="vocoder with in_channels 40, the codec's mels have 80"):
        TTS.from_checkpoint(mute, codec=other)
    with pytest.raises(VocolabError, match="holds a model of kind 'lm', no vocoder"):
        TTS.from_checkpoint(mute, codec=mute)


@pytest.fixture(scope="module")
def encodec_checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("encodec")
    codec = tiny.encodec(folder / "right")
    tiny.encodec(folder / "wrong", seed=1)
    return tiny.write(folder / "last.ckpt", tiny.language_model(levels=2), codec)


def test_a_codec_with_weights_of_its_own(encodec_checkpoint):
    """Its weights are not in the checkpoint, which knows where they lay and what they were."""
    tts = TTS.from_checkpoint(encodec_checkpoint)
    assert tts("hello", ref=VOICE, **SHORT).shape == (30 * 320,) and tts.sample_rate == 24000
    moved = encodec_checkpoint.parent / "moved"
    (encodec_checkpoint.parent / "right").rename(moved)
    try:
        with pytest.raises(VocolabError, match="say with --codec PATH where the codec's weights lie"):
            TTS.from_checkpoint(encodec_checkpoint)
        again = TTS.from_checkpoint(encodec_checkpoint, codec=moved)("hello", ref=VOICE, **SHORT)
    finally:
        moved.rename(encodec_checkpoint.parent / "right")
    assert torch.equal(again, tts("hello", ref=VOICE, **SHORT))


def test_another_codec_is_refused(encodec_checkpoint):
    wrong = encodec_checkpoint.parent / "wrong"
    with pytest.raises(VocolabError, match=r"another codec \(weights .*\) than the model was trained with .*/wrong: "):
        TTS.from_checkpoint(encodec_checkpoint, codec=wrong)
