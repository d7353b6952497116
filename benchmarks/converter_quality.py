"""How good a recogniser and a speaker encoder find a converter's speech on utterances held out of its training.

Resynthesis: the 32 utterances that `configs/corpus/builtin.yaml` holds out, from their own features. Conversion: four
voices (`benchmarks/unheard`) read eight sentences each in the voice of a built-in speaker, whose reference is its 18
sentences outside the held-out ones; no sentence of a source is among them. A similarity difference is the cosine of the
result's speaker embedding to the target's mean embedding minus that to the source's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from harness import arguments, record, report
from listeners import Listeners, by_speaker, character_error_rate
from quality import evaluated

from vocolab.data.corpora import BuiltinSpeech, Manifest
from vocolab.evaluation import Subject
from vocolab.evaluation.vocoder import resynthesis
from vocolab.pipelines import KNNVC

UNHEARD = Path(__file__).with_name("unheard") / "manifest.tsv"
PAIRS = {"3015": "3002", "3021": "3003", "3026": "3005", "1001": "3004"}  # source: target


def conversion(vc: KNNVC, listeners: Listeners) -> dict[str, float]:
    sources, targets = by_speaker(Manifest(UNHEARD).splits()["test"]), by_speaker(BuiltinSpeech().splits()["train"])
    figures = {}
    for source, target in PAIRS.items():
        print_of_source = listeners.voice_print(sources[source])
        print_of_target = listeners.voice_print(targets[target])
        voice = vc.get_voice([u.path for u in targets[target]], vad_trigger_level=0)
        heard, differences = [], []
        for utterance in sources[source]:
            wav = vc.convert(utterance.path, voice).wav.numpy()
            heard.append((utterance.text, listeners.transcribe(wav)))
            embedding = listeners.embed(wav)
            differences.append(float(embedding @ print_of_target - embedding @ print_of_source))
        figures[f"cer:{source}-{target}"] = character_error_rate(heard)
        figures[f"similarity_difference:{source}-{target}"] = float(np.mean(differences))
    return figures


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--checkpoint", type=Path, help="another vocoder than the converter in the package")
    args = parser.parse_args()
    vc = KNNVC.pretrained() if args.checkpoint is None else KNNVC.from_checkpoint(args.checkpoint)
    held_out = Subject(resynthesis(vc, BuiltinSpeech().splits()["val"]), vc.sample_rate, {})
    found, _ = evaluated(held_out, ["stoi", "cer"])
    figures = {"stoi": found["stoi"], "resynthesis_cer": found["cer"]} | conversion(vc, Listeners())
    units = {"stoi": "STOI", "resynthesis_cer": "CER"}
    report(
        [
            record(f"converter_quality:{name}", value, units.get(name, "CER" if name.startswith("cer") else "cosine"))
            for name, value in figures.items()
        ],
        args.json,
    )


if __name__ == "__main__":
    main()
