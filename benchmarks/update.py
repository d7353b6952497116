"""One update of HiFi-GAN's training (V1, MPD, MSD; crops of 7,040 samples): ours against the order of
work of the official HiFi-GAN code.

That code judges real and fake apart, lets the generator's step send gradients into the discriminators' weights and
through the maps of real speech, and normalises weights in every forward. `Reference` does so with plain torch modules.
Ours is what `VocoderTask` does. Both start from the same weights; their losses are compared first, in float32.
`--precision bf16` times both under autocast, as `bf16-mixed` trains. On a graphics card ours is laid out and recorded
as `VocoderTask(cuda_graph=True)` does it, and `update:graph` compares that with our update without either.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from harness import arguments, compare, report
from torch import Tensor, nn
from torch.nn.utils import spectral_norm, weight_norm

import vocolab
from vocolab import audio
from vocolab.precision import full_precision
from vocolab.tasks.graph import WARM, CUDARecorder, GraphedUpdate, Terms
from vocolab.tasks.vocoder import adamw
from vocolab.vocoders import (
    Ensemble,
    HiFiGAN,
    MelLoss,
    MultiPeriodDiscriminator,
    MultiScaleDiscriminator,
    channels_last,
    discriminator_loss,
    generator_losses,
)
from vocolab.vocoders.normed import SNConv1d

SAMPLES, HOP = 7040, 320
NAMES = ("discriminator", "adversarial", "feature matching", "mel")


class Block(nn.Module):
    def __init__(self, width: int, kernel: int):
        super().__init__()
        self.convs1 = nn.ModuleList(
            weight_norm(nn.Conv1d(width, width, kernel, dilation=d, padding=d * (kernel - 1) // 2)) for d in (1, 3, 5)
        )
        self.convs2 = nn.ModuleList(
            weight_norm(nn.Conv1d(width, width, kernel, padding=(kernel - 1) // 2)) for _ in range(3)
        )

    def forward(self, x: Tensor) -> Tensor:
        for first, second in zip(self.convs1, self.convs2, strict=True):
            x = x + second(F.leaky_relu(first(F.leaky_relu(x, 0.1)), 0.1))
        return x


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin_pre = nn.Linear(1024, 512)
        self.conv_pre = weight_norm(nn.Conv1d(512, 512, 7, padding=3))
        sizes = ((512, 20, 10), (256, 16, 8), (128, 4, 2), (64, 4, 2))
        self.ups = nn.ModuleList(
            weight_norm(nn.ConvTranspose1d(w, w // 2, k, u, padding=(k - u) // 2)) for w, k, u in sizes
        )
        self.resblocks = nn.ModuleList(Block(w // 2, k) for w, _, _ in sizes for k in (3, 7, 11))
        self.conv_post = weight_norm(nn.Conv1d(32, 1, 7, padding=3))

    def forward(self, feats: Tensor) -> Tensor:
        x = self.conv_pre(self.lin_pre(feats).transpose(1, 2))
        for i, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, 0.1))
            x = (self.resblocks[3 * i](x) + self.resblocks[3 * i + 1](x) + self.resblocks[3 * i + 2](x)) / 3
        return torch.tanh(self.conv_post(F.leaky_relu(x)))  # (B, 1, T)


class Period(nn.Module):
    def __init__(self, period: int):
        super().__init__()
        self.period, widths = period, (1, 32, 128, 512, 1024, 1024)
        self.convs = nn.ModuleList(
            weight_norm(nn.Conv2d(i, o, (5, 1), (s, 1), padding=(2, 0)))
            for i, o, s in zip(widths, widths[1:], (3, 3, 3, 3, 1), strict=False)
        )
        self.conv_post = weight_norm(nn.Conv2d(1024, 1, (3, 1), padding=(1, 0)))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = F.pad(x, (0, -x.shape[2] % self.period), mode="reflect")
        return judge(self, x.view(*x.shape[:2], -1, self.period))


class Scale(nn.Module):
    def __init__(self, norm):
        super().__init__()
        widths = (1, 128, 128, 256, 512, 1024, 1024, 1024)
        sizes = ((15, 1, 1), (41, 2, 4), (41, 2, 16), (41, 4, 16), (41, 4, 16), (41, 1, 16), (5, 1, 1))
        self.convs = nn.ModuleList(
            norm(nn.Conv1d(i, o, k, s, padding=k // 2, groups=g))
            for i, o, (k, s, g) in zip(widths, widths[1:], sizes, strict=False)
        )
        self.conv_post = norm(nn.Conv1d(1024, 1, 3, padding=1))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        return judge(self, x)


def judge(network: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    maps = []
    for conv in network.convs:
        x = F.leaky_relu(conv(x), 0.1)
        maps.append(x)
    x = network.conv_post(x)
    return x.flatten(1), [*maps, x]


class Several(nn.Module):
    """MPD or MSD: real and fake judged one after the other by every network."""

    def __init__(self, networks: list[nn.Module], pooled: bool):
        super().__init__()
        self.discriminators, self.pooled = nn.ModuleList(networks), pooled

    def forward(self, real: Tensor, fake: Tensor) -> list[tuple]:
        judged = []
        for i, network in enumerate(self.discriminators):
            if self.pooled and i:
                real, fake = F.avg_pool1d(real, 4, 2, padding=2), F.avg_pool1d(fake, 4, 2, padding=2)
            judged.append((network(real), network(fake)))
        return judged


class Reference:
    def __init__(self, ours: Ours, device: str):
        self.generator = Generator()
        self.mpd = Several([Period(p) for p in (2, 3, 5, 7, 11)], pooled=False)
        self.msd = Several([Scale(spectral_norm), Scale(weight_norm), Scale(weight_norm)], pooled=True)
        self.generator.load_state_dict(ours.generator.state_dict())
        self.mpd.load_state_dict(ours.discriminator.members[0].state_dict())
        self.msd.load_state_dict(ours.discriminator.members[1].state_dict())
        for part in (self.generator, self.mpd, self.msd):
            part.to(device)
        settings = {"lr": 2e-4, "betas": (0.8, 0.99)}
        both = itertools.chain(self.msd.parameters(), self.mpd.parameters())
        self.optim_g = torch.optim.AdamW(self.generator.parameters(), **settings)
        self.optim_d = torch.optim.AdamW(both, **settings)
        self.window = torch.hann_window(1024).to(device)
        self.filters = audio.mel_filterbank(16000, 1024, 80, 0, 8000).to(device)

    def mel(self, wav: Tensor) -> Tensor:
        wav = F.pad(wav, (352, 352), mode="reflect").squeeze(1)
        spectrum = torch.stft(wav.float(), 1024, HOP, window=self.window, center=False, return_complex=True)
        return (self.filters @ spectrum.abs()).clamp(min=1e-5).log()

    def update(self, feats: Tensor, real: Tensor) -> list[Tensor]:
        real = real[:, None]
        fake = self.generator(feats)

        self.optim_d.zero_grad()
        judged = self.mpd(real, fake.detach()) + self.msd(real, fake.detach())
        loss_d = sum(((1 - r) ** 2).mean() + (f**2).mean() for (r, _), (f, _) in judged)
        loss_d.backward()
        self.optim_d.step()

        self.optim_g.zero_grad()
        mel = F.l1_loss(self.mel(real), self.mel(fake))
        judged = self.mpd(real, fake) + self.msd(real, fake)
        misled = sum(((1 - f) ** 2).mean() for _, (f, _) in judged)
        pairs = ((a, b) for (_, r), (_, f) in judged for a, b in zip(r, f, strict=True))
        matched = 2 * sum((a - b).abs().mean() for a, b in pairs)
        (misled + matched + 45 * mel).backward()
        self.optim_g.step()
        return [loss_d, misled, matched, mel]


class Ours:
    def __init__(self, device: str):
        self.generator = HiFiGAN().to(device)
        self.discriminator = Ensemble([MultiPeriodDiscriminator(), MultiScaleDiscriminator()]).to(device)
        self.mel = MelLoss().to(device)
        self.optim_g = adamw(self.generator.parameters())
        self.optim_d = adamw(self.discriminator.parameters())

    def update(self, feats: Tensor, real: Tensor) -> list[Tensor]:
        fake = self.generator(feats)

        loss_d = discriminator_loss(*self.discriminator.pair(real, fake.detach()))
        self.optim_d.zero_grad()
        loss_d.backward()
        self.optim_d.step()

        mel = self.mel(fake, real)
        misled, matched = generator_losses(self.discriminator, real, fake)
        self.optim_g.zero_grad()
        (misled + matched + 45 * mel).backward()
        self.optim_g.step()
        return [loss_d, misled, matched, mel]

    def as_trained(self, device: str) -> Callable[[Tensor, Tensor], list[Tensor]]:
        """`update` in the form in which this device trains."""
        if device == "cpu":
            return self.update
        self.generator, self.discriminator = map(channels_last.prepare, (self.generator, self.discriminator))

        def terms(real: Tensor, feats: Tensor, adversarial: bool) -> Terms:
            return {name: loss.detach() for name, loss in zip(NAMES, self.update(feats, real), strict=True)}

        graph = GraphedUpdate(terms, (self.optim_g, self.optim_d), CUDARecorder(torch.device(device)))
        return lambda feats, real: list(graph(real, feats, True).values())


def crops(batch: int) -> Tensor:
    """(batch, SAMPLES) of the built-in speech."""
    folder = Path(vocolab.__file__).parent / "assets" / "corpus"
    files = sorted(folder.rglob("*.opus"))[:batch]
    return torch.stack([audio.read(file, 16000)[0][8000 : 8000 + SAMPLES] for file in files])


def check(feats: Tensor, real: Tensor) -> None:
    """One update of each, with steps of length 0 (the first of AdamW amplifies rounding), gives the same losses."""
    ours = Ours(feats.device.type)
    for part in ours.discriminator.modules():
        if isinstance(
            part, SNConv1d
        ):  # settled: `Reference` has more forwards an update, so its spectral norm iterates more
            for _ in range(200):
                part.normalized()
    reference = Reference(ours, feats.device.type)
    for optimizer in (ours.optim_g, ours.optim_d, reference.optim_g, reference.optim_d):
        optimizer.param_groups[0]["lr"] = 0.0
    update = ours.as_trained(feats.device.type)
    for _ in range(warmup(feats.device.type)):
        found = update(feats, real)
    for name, a, b in zip(NAMES, found, reference.update(feats, real), strict=True):
        print(f"{name}: ours {a.item():.6f}, reference {b.item():.6f}", flush=True)
        if not torch.isclose(a, b, rtol=1e-4):
            raise SystemExit(f"{name} differs: {a.item()} and {b.item()}")


def warmup(device: str) -> int:
    return 1 if device == "cpu" else WARM + 2  # then a graph is recorded


def main() -> None:
    parser = arguments(__doc__, device=True)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--batch", type=int, default=4, help="crops an update (the paper's: 16)")
    parser.add_argument("--threads", type=int, default=None)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    feats, real = (part.to(args.device) for part in (torch.randn(args.batch, SAMPLES // HOP, 1024), crops(args.batch)))
    with full_precision():
        check(feats, real)
    torch.backends.cudnn.benchmark = True  # for both sides: crops have one shape
    ours = Ours(args.device)
    reference = Reference(ours, args.device)

    def timed(update: Callable[[Tensor, Tensor], object]) -> Callable[[], object]:
        def run() -> object:
            with torch.autocast(args.device, torch.bfloat16, args.precision == "bf16", cache_enabled=False):
                return update(feats, real)

        return run

    trained = timed(ours.as_trained(args.device))
    sides = {"update": timed(reference.update)}
    if args.device != "cpu":
        sides["update:graph"] = timed(Ours(args.device).update)  # without graph and channels-last layout
    rows = [
        compare(
            name,
            other,
            trained,
            args.repeats,
            warmup=warmup(args.device),
            device=args.device,
            batch=args.batch,
            precision=args.precision,
            threads=torch.get_num_threads(),
        )
        for name, other in sides.items()
    ]
    report(rows, args.json)


if __name__ == "__main__":
    main()
