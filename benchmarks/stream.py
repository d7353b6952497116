"""What converting live costs: the latency, the time to compute a block, the real-time factor, and memory over a long
signal. Built-in speech, in chunks of 20 ms, in the voice of another speaker's 18 sentences.

Before anything is timed, chunks of other sizes must give the same waveform to 1e-5. Latency is what the settings make
it; a player must wait that long, and for a block to be computed. With --listen, a recogniser hears what `stream` and
`convert` make of four voices (`benchmarks/unheard`), eight sentences on end, at several settings.
"""

from __future__ import annotations

import itertools
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from converter_quality import PAIRS, UNHEARD
from harness import arguments, record, report, wait
from listeners import Listeners, by_speaker, character_error_rate

from vocolab import audio
from vocolab.data.corpora import BuiltinSpeech, Manifest
from vocolab.pipelines import KNNVC, Stream, Voice

CHUNK = 320  # samples: 20 ms
SETTINGS = [  # context, look-ahead, block in seconds
    *((context, 0.2, 0.2) for context in (0.5, 1.0, 2.0, 4.0, 8.0)),
    *((2.0, lookahead, 0.2) for lookahead in (0.0, 0.1, 0.4)),
    *((2.0, 0.2, block) for block in (0.1, 0.4)),
]


def converted(stream: Stream, wav: torch.Tensor, size: int) -> torch.Tensor:
    return torch.cat([*(stream.feed(chunk) for chunk in wav.split(size)), stream.end()])


def check_chunks(vc: KNNVC, voice: Voice, wav: torch.Tensor) -> None:
    """Chunks of any size give the same waveform."""
    whole = converted(vc.stream(voice), wav, len(wav))
    for size in (160, 4801):
        assert (converted(vc.stream(voice), wav, size) - whole).abs().max() <= 1e-5


def block_times(vc: KNNVC, voice: Voice, wav: torch.Tensor, device: str) -> list[float]:
    """Seconds that `feed` took for each block of a signal."""
    stream, times = vc.stream(voice), []
    for chunk in wav.split(CHUNK):
        wait(device)
        start = time.perf_counter()
        made = stream.feed(chunk)
        wait(device)
        if len(made):
            times.append(time.perf_counter() - start)
    return times


def memory_growth(vc: KNNVC, voice: Voice, wav: torch.Tensor, duration: float) -> float:
    """MB by which the process's peak grows while a signal is fed, after the first tenth of it."""
    stream, chunks = vc.stream(voice), wav.split(CHUNK)
    count = round(duration * 16000 / CHUNK)
    early = 0.0
    for n in range(count):
        stream.feed(chunks[n % len(chunks)])
        if n == count // 10:
            early = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - early


def cost(vc: KNNVC, voice: Voice, wav: torch.Tensor, device: str, repeats: int, duration: float) -> list[dict]:
    check_chunks(vc, voice, wav[: 10 * 16000])
    latency = vc.stream(voice).latency
    times = [block_times(vc, voice, wav, device) for _ in range(repeats + 1)][1:]  # the first warms up
    factor = statistics.median(sum(run) for run in times) * 16000 / len(wav)
    blocks = [block for run in times for block in run]
    slow = statistics.quantiles(blocks, n=100)[98]
    common = {"repeats": repeats, "device": device, "threads": torch.get_num_threads(), "pool": len(voice.matching)}
    return [
        record("stream:latency", latency, "s", **common),
        record("stream:block", statistics.median(blocks), "s", p99=slow, worst=max(blocks), **common),
        record("stream:latency_with_computing", latency + slow, "s", **common),
        record("stream:rtf", factor, "s/s", **common),
        record("stream:memory_growth", memory_growth(vc, voice, wav, duration), "MB", seconds=duration, **common),
    ]


def quality(vc: KNNVC, device: str) -> list[dict]:
    """Character error rates over the four voices: `convert` of each one's sentences on end, then streams of them."""
    listeners = Listeners()
    sources, targets = by_speaker(Manifest(UNHEARD).splits()["test"]), by_speaker(BuiltinSpeech().splits()["train"])
    read = {source: [audio.read(u.path, 16000)[0] for u in sources[source]] for source in PAIRS}
    voices = {source: vc.get_voice([u.path for u in targets[target]], 0) for source, target in PAIRS.items()}

    def measure(name: str, convert: Callable[[torch.Tensor, Voice], torch.Tensor], **extra: float) -> dict:
        heard = []
        for source, wavs in read.items():
            made = convert(torch.cat(wavs), voices[source])
            edges = [0, *itertools.accumulate(map(len, wavs))]
            for utterance, first, last in zip(sources[source], edges, edges[1:], strict=False):
                heard.append((utterance.text, listeners.transcribe(made[first:last].numpy())))
        return record(f"stream:cer:{name}", character_error_rate(heard), "CER", device=device, **extra)

    rows = [measure("convert", lambda wav, voice: vc.convert(wav, voice).wav)]
    for context, lookahead, block in SETTINGS:
        made = {"context": context, "lookahead": lookahead, "block": block}
        name = f"{context:g}:{lookahead:g}:{block:g}"
        rows.append(measure(name, lambda wav, voice, s=made: converted(vc.stream(voice, **s), wav, len(wav)), **made))
    return rows


def main() -> None:
    parser = arguments(__doc__, device=True)
    parser.add_argument("--checkpoint", type=Path, help="another vocoder than the converter in the package")
    parser.add_argument("--long", type=float, default=600.0, help="seconds of signal over which memory is watched")
    parser.add_argument("--listen", action="store_true", help="measure character error rates too")
    args = parser.parse_args()
    if args.checkpoint is None:
        vc = KNNVC.pretrained(device=args.device)
    else:
        vc = KNNVC.from_checkpoint(args.checkpoint, device=args.device)
    speech = by_speaker(BuiltinSpeech().splits()["train"])
    voice = vc.get_voice([u.path for u in speech["3002"]], vad_trigger_level=0)
    wav = torch.cat([audio.read(u.path, 16000)[0] for u in speech["3001"][:8]])
    rows = cost(vc, voice, wav, args.device, args.repeats, args.long)
    report(rows + (quality(vc, args.device) if args.listen else []), args.json)


if __name__ == "__main__":
    main()
