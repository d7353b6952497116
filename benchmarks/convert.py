"""Voice conversion end to end (features, matching, vocoding), 10 s of source and 5 minutes of reference, against
coqui-tts's kNN-VC with the same weights, a random WavLM-Large and a random HiFi-GAN V1 in the official layouts:

convert:long         the reference in two recordings
convert:short        the reference in files of 12 s, as in LibriSpeech
convert_memory:CASE  the largest memory of a process that reads the models and converts once

coqui-tts attends over a whole recording, so its time and memory grow with the square of the longest one; one of five
minutes would take it over 30 GB. Ours cuts recordings of more than a minute into pieces. So outputs are compared in
`short`, where both compute the same: features to 1e-4; then the share of frames for which both find the same
neighbours (coqui-tts takes cosines from squared Euclidean distances, whose rounding decides near ties otherwise); then
the speech of coqui-tts's frames, to 1e-4.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import public
import torch
from harness import arguments, compare, record, report
from prepare import LAYER, utterances
from torch import Tensor

from vocolab import audio

CASES = {"long": (2, 150.0), "short": (25, 12.0)}
SOURCE, RATE = 10.0, 16000
TOLERANCE = 1e-4
Convert = Callable[[Tensor, list[Tensor]], Tensor]


def ours(wavlm: Path, hifigan: Path, device: str) -> tuple[Convert, torch.nn.Module]:
    from vocolab import KNNVC

    model = KNNVC.from_checkpoint(hifigan, encoder=wavlm, device=device)

    def run(source: Tensor, references: list[Tensor]) -> Tensor:
        return model.convert(source, model.get_voice(references), loudness=None, silence=None).wav

    return run, model


def theirs(wavlm: Path, hifigan: Path, device: str) -> tuple[Convert, torch.nn.Module]:
    """As coqui-tts's `Synthesizer` runs it: kNN-VC, then the vocoder."""
    model = public.coqui_knnvc(wavlm.parents[2]).to(device)
    model.vocoder = public.coqui_generator(hifigan, public.random_hifigan()).to(device)

    def run(source: Tensor, references: list[Tensor]) -> Tensor:
        # `get_matching_set` wants rows of samples; the whole of `voice_conversion` on waveforms.
        feats = model.voice_conversion(source[None], [wav[None] for wav in references])
        return model.vocoder.inference(feats).flatten().cpu()

    return run, model


SIDES = {"ours": ours, "theirs": theirs}


def speech(folder: Path, scale: float) -> dict[str, tuple[Tensor, list[Tensor]]]:
    """Source and references of each case, their lengths times `scale`."""
    source = audio.read(utterances(folder, 1, SOURCE * scale)[0], RATE)[0]
    made = {}
    for case, (count, seconds) in CASES.items():
        paths = utterances(folder, count, seconds * scale)
        made[case] = source, [audio.read(path, RATE)[0] for path in paths]
    return made


@torch.inference_mode()
def check(our: torch.nn.Module, their: torch.nn.Module, source: Tensor, references: list[Tensor]) -> dict[str, float]:
    query, pool = our.get_features(source), our.get_voice(references).matching
    expected, expected_pool = (
        their.get_features(source[None]),
        their.get_matching_set([wav[None] for wav in references]),
    )
    assert pool.shape == expected_pool.shape, "voice activity is found elsewhere"
    features = max((query - expected).abs().max().item(), (pool.cpu() - expected_pool).abs().max().item())
    chosen = their.match(expected, expected_pool)
    from vocolab.matching import average, knn

    own = average(pool, knn(query, pool, their.config.topk))
    same = ((own - chosen[0]).abs().amax(1) < TOLERANCE).float().mean().item()
    spoken = (our.vocode(chosen) - their.vocoder.inference(chosen)[:, 0]).abs().max().item()
    print(
        f"features differ by {features:.1e}, {same:.2%} of the frames agree, speech differs by {spoken:.1e}", flush=True
    )
    assert features < TOLERANCE and same > 0.98 and spoken < TOLERANCE
    return {"features": features, "same_frames": same, "speech": spoken}


def peak(side: str, case: str, folder: Path, args) -> float:
    """Megabytes of memory of a process of its own that runs one side once."""
    command = [sys.executable, __file__, "--side", side, "--cases", case, "--models", str(folder)]
    command += ["--scale", str(args.scale), "--device", args.device]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(done.stdout.split()[-1])


def run_once(side: str, case: str, folder: Path, args) -> None:
    """What `peak` starts."""
    source, references = speech(folder, args.scale)[case]
    run, _ = SIDES[side](*models(folder), args.device)
    run(source, references)
    if args.device == "cpu":
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    else:
        print(torch.cuda.max_memory_allocated(args.device) / 2**20)


def models(folder: Path) -> tuple[Path, Path]:
    return folder / "tts" / "wavlm" / "WavLM-Large.pt", folder / "g_00000000.pt"


def measure(folder: Path, args) -> list[dict]:
    torch.manual_seed(0)
    public.write_wavlm(folder)
    public.export(public.random_hifigan(), folder)
    spoken = speech(folder, args.scale)
    extra = dict(layer=LAYER, seconds_of_source=SOURCE * args.scale, threads=torch.get_num_threads())
    rows = []
    for case in args.cases:
        count, seconds = CASES[case]
        sizes = dict(references=count, seconds_of_reference=count * seconds * args.scale)
        most, least = (peak(side, case, folder, args) for side in ("theirs", "ours"))
        rows.append(record(f"convert_memory:{case}", least, "MB", most, most / least, 1, args.device, **extra, **sizes))
        report(rows[-1:], None)
    (run, model), (their_run, their_model) = (SIDES[side](*models(folder), args.device) for side in ("ours", "theirs"))
    agreement = check(model, their_model, *spoken["short"])
    for case in args.cases:
        count, seconds = CASES[case]
        sizes = dict(references=count, seconds_of_reference=count * seconds * args.scale)
        both = [lambda side=side, case=case: side(*spoken[case]) for side in (their_run, run)]
        row = compare(f"convert:{case}", *both, args.repeats, warmup=0, device=args.device, **extra, **sizes)
        rows.append({**row, **(agreement if case == "short" else {})})
    return rows


def main() -> None:
    parser = arguments(__doc__.split(":")[0], device=True)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--scale", type=float, default=1.0, help="times the length of all speech")
    parser.add_argument("--side", choices=list(SIDES), help="run one side once and print its largest memory in MB")
    parser.add_argument("--models", type=Path, help="for --side: where the models lie")
    args = parser.parse_args()
    if args.side:
        run_once(args.side, args.cases[0], args.models, args)
        return
    with tempfile.TemporaryDirectory() as folder:
        report(measure(Path(folder), args), args.json)


if __name__ == "__main__":
    main()
