"""Decoding of the first codebook at `half` size, 450 frames after a prompt of 225, greedy, in fp32, by five backbones:

decode                  one text, against recomputing the whole sequence for each frame
decode_batch(_other)    eight texts together, against one after another (eight times one of the eight)
decode_vs_transformers  Llama, against transformers' own cached `generate` with the same weights
decode_floor            a step half way, against the bare matrix products of the weights it uses; here alone the ratio
                        is ours / baseline: how many times the least possible a step takes

`--device cuda --precision bf16 --size full` measures a graphics card as it is used; in bf16 texts together may differ
from texts alone by rounding, and the codes are compared in fp32 alone.

All but the last two go through `AR.generate`. A repeat times a window of the 450 frames, with all before it as the
prompt, and scales the time to 450 frames. A step's cost grows linearly with its position, so the median over repeats is
the window half way. `decode`'s baseline recomputes the whole sequence at every 30th frame of the window.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from harness import arguments, compare, record, report, seconds, wait
from torch import Tensor
from torch.nn import functional as F

from vocolab.lm import AR, fast, static
from vocolab.lm.backbones import Backbone, BitNet, Llama, Mixtral, RetNet, Transformer
from vocolab.lm.base import Condition
from vocolab.lm.fast import KeptBitLinear
from vocolab.lm.layout import pack
from vocolab.lm.sampling import Sampling

SIZES = {"half": dict(dim=512, heads=8, layers=12), "full": dict(dim=1024, heads=16, layers=12)}
BACKBONES: dict[str, type[Backbone]] = {
    cls.__name__.lower(): cls for cls in (Transformer, RetNet, Llama, Mixtral, BitNet)
}
FIGURES = ("decode", "decode_batch", "decode_vs_transformers", "decode_floor")
FRAMES, PROMPT, TEXT, EVERY = 450, 225, 60, 30
LEVELS, SIZE = 8, 1024


@dataclass(frozen=True)
class Setting:
    """What the models are, where they lie and in what type, and how many texts are decoded together."""

    size: str = "half"
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    together: int = 8

    @property
    def extra(self) -> dict:
        name = str(self.dtype).removeprefix("torch.")
        return dict(size=self.size, precision=name, together=self.together, threads=torch.get_num_threads())


@dataclass
class Speed:
    """How long one `generate` took: reading the prompt and the first frame, and each further frame."""

    first: float
    step: float

    @property
    def whole(self) -> float:
        return self.first + self.step * (FRAMES - 1)


def build(name: str, setting: Setting) -> AR:
    torch.manual_seed(0)
    model = AR(BACKBONES[name](**SIZES[setting.size]), LEVELS, SIZE).eval()
    model.classifier.bias.data[model.stop] = -1e9  # a fresh model must not stop by chance
    model = fast.prepare(model.to(setting.device, setting.dtype))  # as `TTS` does
    return model if setting.device == "cpu" else static.prepare(model)


def condition(prompt: int, rows: int, device: str) -> Condition:
    """Texts of unequal length, prompts of `prompt` frames."""
    generator = torch.Generator().manual_seed(1)
    text = torch.randint(4, 100, (rows, TEXT), generator=generator)
    codes = torch.randint(SIZE, (rows, LEVELS, PROMPT + FRAMES), generator=generator)[..., :prompt]
    lengths = TEXT - torch.arange(rows) % 8 * 3
    parts = (text, lengths, codes, torch.full((rows,), prompt))
    return Condition(*(part.to(device) for part in parts))


def generate(model: AR, of: Condition, frames: int) -> tuple[Tensor, Speed]:
    """The codes (B, frames), and the time they took: up to the first frames that are told, and for each further one."""
    device, told = of.text.device.type, []

    def on_step(steps: int) -> None:
        if not told or steps == frames:
            wait(device)
            told.append((steps, time.perf_counter()))

    wait(device)
    start = time.perf_counter()
    codes = model.generate(of, Sampling(ar_temp=0.0, max_ar_steps=frames), on_step=on_step).codes[:, 0]
    assert codes.shape == (len(of), frames)
    (first, began), (last, ended) = told[0], told[-1]
    step = (ended - began) / (last - first)
    return codes, Speed(began - start - step * (first - 1), step)


def recompute(model: AR, of: Condition, frames: int) -> float:
    """Seconds a frame, on average, when each takes a pass over all before it; measured at every 30th."""
    codes = torch.zeros(1, LEVELS, frames, dtype=torch.long, device=of.text.device)
    return statistics.mean(
        seconds(lambda n=n: model.logits(of, codes[..., :n], codes.new_tensor([n])), codes.device.type)
        for n in range(EVERY // 2, frames, EVERY)
    )


def check(model: AR, of: Condition, frames: int) -> None:
    """Together, alone and recomputed: the same codes."""
    together, _ = generate(model, of, frames)
    for row in (0, len(of) - 1):
        one = of.select(of.text.new_tensor([row]))
        alone, _ = generate(model, one, frames)
        codes = alone[:, None].expand(-1, LEVELS, -1)
        again = model.logits(one, codes, codes.new_tensor([frames])).argmax(-1)[:, :frames]
        assert torch.equal(alone, again) and torch.equal(alone[0], together[row])


def decode(name: str, repeats: int, batch: bool, setting: Setting) -> list[dict]:
    """The figure `decode` and, with `batch`, `decode_batch`, which is compared with the same runs of one text."""
    rows, device, window = setting.together, setting.device, FRAMES // 5
    check(build(name, replace(setting, dtype=torch.float32)), condition(PROMPT, rows, device), 30)
    model = build(name, setting)
    if device != "cpu":  # what a new shape costs once is not timed
        for count in {1, rows}:
            generate(model, condition(PROMPT, count, device), window)
    singles, together, passes = [], [], []
    for i in range(repeats):
        of = condition(PROMPT + round((FRAMES - window) * (i + 0.5) / repeats), rows, device)
        one = of.select(of.text.new_tensor([i % rows]))
        passes.append(recompute(model, one, window) * FRAMES)
        singles.append(generate(model, one, window)[1].whole)
        if batch:
            together.append(generate(model, of, window)[1].whole)
    single, whole = statistics.median(singles), statistics.median(passes)
    extra = dict(frames=FRAMES, prompt=PROMPT, window=window, **setting.extra)
    figures = [record(f"decode:{name}", single, "s", whole, whole / single, repeats, device, **extra)]
    if batch:
        figure = "decode_batch" if name in ("transformer", "retnet", "llama") else "decode_batch_other"
        ours, alone = statistics.median(together), rows * single
        figures.append(record(f"{figure}:{name}", ours, "s", alone, alone / ours, repeats, device, **extra))
    return figures


def transformers_twin(model: AR) -> Callable[[Tensor, int], Tensor]:
    """transformers' Llama with our weights: (embedded text and prompt (1, L, D), frames) -> codes (1, frames)."""
    from vocolab import _compat

    _compat.torchaudio()
    from transformers import LlamaConfig, LlamaForCausalLM

    backbone = model.backbone
    config = LlamaConfig(
        vocab_size=SIZE + 1,
        hidden_size=backbone.dim,
        num_attention_heads=backbone.heads,
        num_key_value_heads=backbone.heads,
        num_hidden_layers=backbone.layers,
        intermediate_size=4 * backbone.dim,
        bos_token_id=None,
        eos_token_id=None,
    )
    twin = LlamaForCausalLM(config).eval()
    rest = twin.load_state_dict(backbone.state_dict(), strict=False)
    assert sorted(rest.missing_keys) == ["lm_head.weight", "model.embed_tokens.weight"] and not rest.unexpected_keys
    twin.lm_head.weight.data.copy_(model.classifier.weight)
    twin.model.embed_tokens.weight.data.copy_(model.first_table.weight)
    twin.to(model.sep.device, model.sep.dtype)
    options = dict(do_sample=False, use_cache=True, pad_token_id=0)
    if model.sep.is_cuda:
        options["cache_implementation"] = "static"  # compiled: the quickest that it has

    def run(before: Tensor, frames: int) -> Tensor:
        mask = torch.ones(before.shape[:2], dtype=torch.long, device=before.device)
        return twin.generate(inputs_embeds=before, attention_mask=mask, max_new_tokens=frames, **options)

    return run


def against_transformers(repeats: int, setting: Setting) -> dict:
    model, one = build("llama", setting), condition(PROMPT, 1, setting.device)
    model.classifier.bias.data.zero_()  # theirs has none, so the stop token is kept out by its weights
    model.classifier.weight.data[model.stop] = 0
    run, before = transformers_twin(model), pack(*model.prefix(one)).x
    same = torch.equal(run(before, FRAMES), generate(model, one, FRAMES)[0])
    assert same or setting.dtype != torch.float32
    theirs, ours = (lambda: run(before, FRAMES)), (lambda: generate(model, one, FRAMES))
    extra = dict(device=setting.device, frames=FRAMES, **setting.extra)
    return compare("decode_vs_transformers", theirs, ours, repeats, warmup=int(setting.device != "cpu"), **extra)


def products(backbone: Backbone, ready: bool) -> Callable[[], None]:
    """The products of a row with all matrices that a step uses, two experts a layer. Matrices of BitNet are those that
    it keeps (`ready`), or fp32 ones.
    """
    calls = []
    for module in backbone.modules():
        if ready and isinstance(module, KeptBitLinear):
            weight = module.prepared()[0]
            if weight.dtype == torch.int8:  # (in, out)
                row = torch.ones(1, weight.shape[0], dtype=torch.int8, device=weight.device)
                calls.append((torch._int_mm, row, weight))
                continue
        for weight in module.parameters(recurse=False):
            matrices = weight[:2] if weight.dim() == 3 else [weight]
            calls += [(F.linear, w.new_ones(1, w.shape[1]), w.detach()) for w in matrices if w.dim() == 2]

    def run() -> None:
        for product, row, weight in calls:
            product(row, weight)

    return run


def floor(name: str, repeats: int, setting: Setting, steps: int = 20) -> list[dict]:
    backbone, device = build(name, setting).backbone, setting.device
    x = torch.randn(1, TEXT + PROMPT + FRAMES // 2, backbone.dim).to(device, setting.dtype)
    state = backbone.extend(x[:, :-1]).state
    bare = {"": products(backbone, ready=device == "cpu")}
    if name == "bitnet" and device == "cpu":
        bare["_fp32"] = products(backbone, ready=False)
    taken = {case: [] for case in ["step", *bare]}
    for _ in range(repeats + 1):
        times = {case: [] for case in taken}
        for _ in range(steps):
            times["step"].append(seconds(lambda at=state: backbone.extend(x[:, -1:], at), device))
            state = state.truncate(1)
            for case, run in bare.items():
                times[case].append(seconds(run, device))
        for case, values in times.items():
            taken[case].append(statistics.median(values))
    medians = {case: statistics.median(values[1:]) for case, values in taken.items()}  # the first is the warm-up
    extra = dict(position=x.shape[1], **setting.extra, note="ratio = step / bare products")
    step = medians.pop("step")
    return [
        record(f"decode_floor:{name}{case}", step, "s", least, step / least, repeats, device, **extra)
        for case, least in medians.items()
    ]


@torch.inference_mode()
def main() -> None:
    parser = arguments(__doc__.splitlines()[0], device=True)
    parser.add_argument("--figures", nargs="+", choices=FIGURES, help="on a graphics card all but the floor by default")
    parser.add_argument("--backbones", nargs="+", choices=list(BACKBONES), default=list(BACKBONES))
    parser.add_argument("--size", choices=list(SIZES), default="half")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--together", type=int, default=8, help="texts of decode_batch")
    parser.add_argument("--threads", type=int, default=None)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
    setting, rows = Setting(args.size, args.device, dtype, args.together), []
    args.figures = args.figures or (FIGURES if args.device == "cpu" else FIGURES[:-1])
    for name in args.backbones:
        if "decode" in args.figures or "decode_batch" in args.figures:
            rows += decode(name, args.repeats, "decode_batch" in args.figures, setting)
        if "decode_floor" in args.figures:
            rows += floor(name, args.repeats, setting)
    if "decode_vs_transformers" in args.figures:
        rows.append(against_transformers(args.repeats, setting))
    report(rows, args.json)


if __name__ == "__main__":
    main()
