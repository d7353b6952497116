"""Preparing prematched features: kNN-VC's order of work against ours, at WavLM-Large's size.

8 utterances of 12 s and 75,000 other frames of their speaker (25 minutes), random weights in Hugging Face's layout.
Baseline: transformers' WavLMModel, all 24 layers, one file at a time, then squared distances by `torch.cdist` for each
file. Ours: the stages of `vocolab prepare`: 6 layers, batches, one pool for all files, blocked matrix products.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import soundfile
import torch
from harness import arguments, compare, report

import vocolab
from vocolab import _compat, audio
from vocolab.data.corpora import Folder
from vocolab.data.preparation import encode
from vocolab.data.preparation.prepare import Prematch, Preparation
from vocolab.encoders import WavLM
from vocolab.matching import Pool, average

LAYER, TOPK, HOP = 6, 4, 320


def utterances(folder: Path, count: int, seconds: float) -> list[Path]:
    """Files of exactly `seconds`, from the built-in speech of one speaker."""
    spoken = sorted((Path(vocolab.__file__).parent / "assets/corpus/ivr/1001").rglob("*.opus"))
    speech = torch.cat([audio.read(path, 16000)[0] for path in spoken])
    length = round(seconds * 16000)
    paths = [folder / f"{n}.wav" for n in range(count)]
    for n, path in enumerate(paths):
        soundfile.write(path, speech.roll(-n * length)[:length].numpy(), 16000)
    return paths


def random_model(folder: Path, depth: int) -> torch.nn.Module:
    """A model shaped like WavLM-Large, saved under `folder`."""
    _compat.torchaudio()
    from transformers import WavLMConfig, WavLMModel

    config = WavLMConfig(
        hidden_size=1024,
        num_hidden_layers=depth,
        num_attention_heads=16,
        intermediate_size=4096,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
    )
    model = WavLMModel(config).eval()
    model.save_pretrained(folder)
    return model


@torch.inference_mode()
def reference(model: torch.nn.Module, paths: list[Path], pool: torch.Tensor) -> list[np.ndarray]:
    """File by file: all layers, then cosine distances by way of squared Euclidean ones, where `pool` (N, C) lies."""
    prematched = []
    pool_norms = pool.norm(dim=-1)
    for path in paths:
        samples, _ = soundfile.read(path, dtype="float32")
        wav = torch.from_numpy(samples)
        wav = torch.nn.functional.pad(wav, (0, HOP - len(wav) % HOP))
        query = model(wav[None].to(pool.device), output_hidden_states=True).hidden_states[LAYER][0]  # (L, 1024)
        norms = query.norm(dim=-1)
        squared = torch.cdist(query[None], pool[None])[0] ** 2
        dot = (norms[:, None] ** 2 + pool_norms[None] ** 2 - squared) / 2
        nearest = (1 - dot / (norms[:, None] * pool_norms[None])).topk(TOPK, largest=False).indices
        prematched.append(pool[nearest].mean(1).half().cpu().numpy())
    return prematched


def ours(preparation: Preparation, paths: list[Path], pool: np.ndarray, device: str) -> list[np.ndarray]:
    """The stages of a unit as `vocolab prepare` goes through them; pool (N, C) is fp16, as it waits on disk."""
    encoder = preparation.encoder
    speeches = [encode.read(preparation, position, path) for position, path in enumerate(paths)]
    for batch in encode.batches(speeches, encoder, encode.CPU_BATCH if device == "cpu" else encode.GPU_BATCH):
        encode.encode_batch(encoder, batch, [LAYER], device)
    query = torch.from_numpy(np.concatenate([speech.feats[0] for speech in speeches])).to(device)
    mean = average(pool, Pool(torch.from_numpy(pool)).knn(query, TOPK)).half().numpy()
    return np.split(mean, np.cumsum([speech.frames for speech in speeches])[:-1])


def main() -> None:
    parser = arguments(__doc__, device=True)
    parser.add_argument("--utterances", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--pool", type=int, default=75_000)
    parser.add_argument("--depth", type=int, default=24)
    args = parser.parse_args()

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        model = random_model(Path(folder) / "wavlm", args.depth).to(args.device)
        encoder = WavLM(Path(folder) / "wavlm", LAYER).load().to(args.device)
        paths = utterances(Path(folder), args.utterances, args.seconds)
        preparation = Preparation(Folder(folder), encoder, Prematch(TOPK))
        pool = make_pool(preparation, paths[:2], args.pool, args.device)
        pool32 = torch.from_numpy(pool).float().to(args.device)

        slow, fast = reference(model, paths, pool32), ours(preparation, paths, pool, args.device)
        agreement = agreeing(slow, fast)
        assert agreement > 0.99, f"only {agreement:.2%} of the prematched frames agree"
        row = compare(
            "prepare",
            lambda: reference(model, paths, pool32),
            lambda: ours(preparation, paths, pool, args.device),
            args.repeats,
            device=args.device,
            warmup=0,  # the comparison above has warmed up both
            utterances=args.utterances,
            seconds=args.seconds,
            pool=args.pool,
            layers=f"{args.depth} against {LAYER}",
            threads=torch.get_num_threads(),
            agreement=agreement,
        )
    report([row], args.json)


def make_pool(preparation: Preparation, paths: list[Path], frames: int, device: str) -> np.ndarray:
    """Frames (N, C) like those of speech: real ones, chosen at random, with noise of half their spread."""
    speeches = [encode.read(preparation, position, path) for position, path in enumerate(paths)]
    encode.encode_batch(preparation.encoder, speeches, [LAYER], device)
    real = torch.from_numpy(np.concatenate([speech.feats[0] for speech in speeches])).float()
    chosen = real[torch.randint(len(real), (frames,))]
    return (chosen + 0.5 * real.std(0) * torch.randn_like(chosen)).half().numpy()


def agreeing(slow: list[np.ndarray], fast: list[np.ndarray]) -> float:
    """The part of the frames that are equal within fp16; a near tie may choose another neighbour."""
    one, other = (np.concatenate(side).astype(np.float32) for side in (slow, fast))
    assert one.shape == other.shape
    return float(np.isclose(one, other, rtol=2e-3, atol=2e-3).all(1).mean())


if __name__ == "__main__":
    main()
