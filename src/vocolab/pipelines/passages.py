"""Texts of any length: cut into pieces, said piece by piece in the same voice, and joined with pauses.

Every piece is said as if it were a text of its own, with the same prompt and the same seed. So the pieces of a text,
and those of several texts, are decoded together, and a piece sounds the same whatever stands beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from vocolab import audio
from vocolab.errors import UsageError, VocolabError
from vocolab.lm import Sampling
from vocolab.rng import mix
from vocolab.text.pieces import Piece, cut, has_letters, pause_after

if TYPE_CHECKING:
    from vocolab.pipelines.tts import TTS, Prompt, Spoken

MAX_CHARACTERS = 500_000  # of a text: a long novel, ten hours of speech
LONGEST_PAUSE = 10.0  # times the usual pause
RETRIES = 2  # of a piece that did not stop by itself
SLOW = 12.0  # symbols a second
SHORTEST = 60  # symbols: a sentence of a dozen words


@dataclass
class Passage:
    """A text that is to be one speech."""

    name: str  # what errors call it
    pieces: list[Piece]
    ids: list[list[int]]  # of each piece
    words: str = ""  # all of it, as it is said
    left_over: Counter[str] = field(default_factory=Counter)  # the characters that no rule put in words
    left_out: list[str] = field(default_factory=list)  # pieces of which the model knows no symbol


@dataclass
class Part:
    """A piece of a passage, said."""

    passage: int  # which
    number: int  # of the piece, from 1
    of: int  # pieces of the passage
    piece: Piece
    spoken: Spoken  # as the model said it
    wav: Tensor  # (T,) as it stands in the passage, with the pause after it
    attempts: int  # 1, or more where the first did not stop by itself


@dataclass(frozen=True)
class Delivery:
    """How the pieces of a passage follow each other."""

    speed: float = 1.0  # by time stretching: the pitch stays
    pause: float = 1.0  # times the usual pauses
    retries: int = RETRIES  # other seeds for a piece that did not stop by itself

    def __post_init__(self) -> None:
        """Raises `UsageError` for what will not do."""
        audio.check_speed(self.speed)
        if not 0 <= self.pause <= LONGEST_PAUSE:
            raise UsageError(f"a pause of {self.pause:g}", "--pause", f"give 0 to {LONGEST_PAUSE:g}; 1 is usual")
        if self.retries < 0:
            raise UsageError(f"--retries is {self.retries}", "command line", "give 0 or more")


def read(
    tts: TTS,
    text: str,
    name: str = "text",
    language: str | None = None,
    ref_text: str | None = None,
    sampling: Sampling | None = None,
    normalize: bool = True,
) -> Passage:
    """A text, put in words (unless told not to), cut into pieces that the model can say and read as in training (see
    `Reader.read`).

    Pieces of which the model knows no symbol are left out and named. Raises `VocolabError` where there is nothing to
    say, more than can be said, or nothing that the model knows.
    """
    if len(text) > MAX_CHARACTERS:
        what = f"text of {len(text):,} characters, at most {MAX_CHARACTERS:,} are spoken"
        raise VocolabError(what, name, "give it in parts")
    if not text.strip():
        raise VocolabError("empty text", name, "give something to say")
    found = Passage(name, [], [])
    written = text
    if normalize:
        said = tts.normalise(text, language)
        text, found.left_over = said.text, said.left_over
        ref_text = ref_text and tts.normalise(ref_text, language).text
    found.words = text
    if not has_letters(text):
        what = f"no letter or digit in the text ({' '.join(written.split())[:20]!r})"
        raise VocolabError(what, name, "give something to say")
    longest = longest_piece(tts, sampling or tts.default_sampling, language, ref_text)
    pieces = cut(text, longest, language or "", lambda part: _measure(tts, part, language))
    for piece in pieces:
        if len(pieces) > 1 and not tts.reader.can_say(piece.text, language):
            found.left_out.append(piece.text)
            continue
        found.pieces.append(piece)
        found.ids += tts.read([piece.text], language, [name], ref_text, normalize=False)
    if not found.pieces:
        what = f"the model knows no symbol of the text ({written.strip()[:20]!r})"
        raise VocolabError(what, name, "give text in the script and language of its training")
    return found


def say(
    tts: TTS,
    passages: Sequence[Passage],
    prompt: Prompt,
    sampling: Sampling,
    delivery: Delivery = Delivery(),  # noqa: B008 (it cannot be changed)
    language: str | None = None,
    seed: int = 0,
    batch_size: int = 8,
    amp: bool = False,
    on_step: Callable[[int], None] | None = None,
) -> Iterator[Part]:
    """Say passages in a voice: their pieces in order, `batch_size` of them decoded together.

    A passage of one piece at speed 1 is as the model said it. The pieces of others are trimmed to what is heard, and
    followed by a pause. One of them that did not stop by itself is said again with `another_seed`.
    No more than a batch is held in memory.
    """
    places = [(p, i) for p, passage in enumerate(passages) for i in range(len(passage.pieces))]

    def speak(places: Sequence[tuple[int, int]], seed: int) -> Iterator[Spoken]:
        ids = [passages[p].ids[i] for p, i in places]
        return tts.speak(ids, prompt, sampling, language, seed, batch_size, amp, on_step)

    drawn = sampling.ar_temp > 0 and sampling.beam_width <= 1  # else another seed gives the same codes
    for start in range(0, len(places), batch_size):
        batch = places[start : start + batch_size]
        spoken = dict(zip(batch, speak(batch, seed), strict=True))
        attempts = dict.fromkeys(batch, 1)
        for attempt in range(1, delivery.retries + 1 if drawn else 1):
            again = [(p, i) for p, i in batch if len(passages[p].pieces) > 1 and not spoken[p, i].stopped]
            for place, one in zip(again, speak(again, another_seed(seed, attempt)), strict=True):
                attempts[place] += 1
                spoken[place] = one if one.stopped else spoken[place]
        for p, i in batch:
            pieces = passages[p].pieces
            wav = _delivered(spoken[p, i].wav, tts.sample_rate, pieces, i, delivery)
            yield Part(p, i + 1, len(pieces), pieces[i], spoken[p, i], wav, attempts[p, i])


def another_seed(seed: int, attempt: int) -> int:
    """The seed with which a piece is said for the second time (attempt 1), the third time, and so on."""
    return mix(seed, attempt) >> 1  # seeds are signed


def _delivered(wav: Tensor, sample_rate: int, pieces: Sequence[Piece], number: int, delivery: Delivery) -> Tensor:
    """A piece as it stands in its passage, with the pause after it."""
    if len(pieces) > 1:
        wav = audio.trimmed(wav, sample_rate)
    wav = audio.at_speed(wav, sample_rate, delivery.speed)
    if number == len(pieces) - 1:
        return wav
    return audio.followed(wav, sample_rate, pause_after(pieces[number]) * delivery.pause / delivery.speed)


def longest_piece(tts: TTS, sampling: Sampling, language: str | None = None, ref_text: str | None = None) -> int:
    """How many symbols a piece may have: those of the longest text of the training, less those of `ref_text`, which
    the model reads with it; but no more than it says in `max_ar_steps` when it speaks slowly. A short sentence always
    fits.
    """
    seconds = sampling.max_ar_steps * tts.codec.hop / tts.sample_rate
    known = tts.longest_text if ref_text is None else tts.longest_text - tts.reader.length_of(ref_text, language)
    return max(SHORTEST, min(known, int(SLOW * seconds)))


def _measure(tts: TTS, part: str, language: str | None) -> int:
    """How many symbols of a part of a text the model reads. Marks alone, of which it may read none, count as
    characters.
    """
    return tts.reader.length_of(part, language) if has_letters(part) else len(part)
