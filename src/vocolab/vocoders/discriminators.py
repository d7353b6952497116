"""What tells real speech from vocoded. Sizes are arguments; the defaults are the papers'."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vocolab.audio.stft import spectrogram
from vocolab.errors import UsageError
from vocolab.vocoders.normed import SNConv1d, WNConv1d, WNConv2d

SLOPE = 0.1  # of HiFi-GAN's LeakyReLUs


@dataclass
class Judgement:
    """One network's opinion of a batch."""

    score: Tensor  # (B, N): towards 1 is real
    maps: list[Tensor]  # activations of every layer, the score's own last, each (B, ...)

    def split(self, batch: int) -> tuple[Judgement, Judgement]:
        """The opinions of the first `batch` rows and of the rest."""
        first = Judgement(self.score[:batch], [m[:batch] for m in self.maps])
        return first, Judgement(self.score[batch:], [m[batch:] for m in self.maps])


class Discriminator(nn.Module, ABC):
    """Waveform (B, T) -> one `Judgement` for each network inside."""

    @abstractmethod
    def forward(self, wav: Tensor) -> list[Judgement]:
        """Judge waveforms (B, T)."""

    def pair(self, real: Tensor, fake: Tensor) -> tuple[list[Judgement], list[Judgement]]:
        """Judge real and fake, both (B, T), in one pass, so that weights are normalised once and have one gradient."""
        both = [judgement.split(len(real)) for judgement in self(torch.cat([real, fake]))]
        return [first for first, _ in both], [second for _, second in both]


class Ensemble(Discriminator):
    """Several discriminators that judge as one."""

    def __init__(self, members: list[Discriminator]):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, wav: Tensor) -> list[Judgement]:
        return [judgement for member in self.members for judgement in member(wav)]


def _activations(convs: Iterable[nn.Module], conv_post: nn.Module, x: Tensor, slope: float = SLOPE) -> list[Tensor]:
    """The maps of a `Judgement`: every convolution's activation, then the score's."""
    maps = []
    for conv in convs:
        x = F.leaky_relu_(conv(x), slope)  # in place: nothing reads the convolution's output itself
        maps.append(x)
    return [*maps, conv_post(x)]


class PeriodConv(WNConv2d):
    """A convolution along the last dimension, which is time, with the official kernel (k, 1) turned to (1, k).

    The official layout has the period last. A CPU's vector instructions work along the last dimension, and a period of
    2 to 11 would leave most of each vector empty.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel().transpose(2, 3), self.bias, self.stride[::-1], self.padding[::-1])


class PeriodNet(nn.Module):
    """Judges the waveform folded into columns of `period` samples, each column alone."""

    def __init__(self, period: int, channels: Sequence[int], kernel: int, stride: int, slope: float):
        super().__init__()
        self.period, self.slope = period, slope
        widths = [1, *channels]
        strides = [stride] * (len(channels) - 1) + [1]
        self.convs = nn.ModuleList(
            PeriodConv(i, o, (kernel, 1), (s, 1), (kernel // 2, 0))
            for i, o, s in zip(widths, channels, strides, strict=False)
        )
        self.conv_post = PeriodConv(channels[-1], 1, (3, 1), padding=(1, 0))

    def forward(self, wav: Tensor) -> Judgement:
        wav = F.pad(wav[:, None], (0, -wav.shape[1] % self.period), mode="reflect")
        x = wav.view(len(wav), 1, -1, self.period).transpose(2, 3).contiguous()  # (B, 1, period, T / period)
        maps = _activations(self.convs, self.conv_post, x, self.slope)
        return Judgement(maps[-1].transpose(2, 3).flatten(1), maps)


class MultiPeriodDiscriminator(Discriminator):
    """HiFi-GAN's MPD (Kong et al. 2020, section 2.3): a network for each period."""

    def __init__(
        self,
        periods: Sequence[int] = (2, 3, 5, 7, 11),
        channels: Sequence[int] = (32, 128, 512, 1024, 1024),
        kernel: int = 5,
        stride: int = 3,
        slope: float = SLOPE,
    ):
        super().__init__()
        self.periods, self.channels, self.kernel, self.stride = periods, channels, kernel, stride
        self.slope = slope  # of the LeakyReLUs below 0
        self.discriminators = nn.ModuleList(PeriodNet(period, channels, kernel, stride, slope) for period in periods)

    def forward(self, wav: Tensor) -> list[Judgement]:
        return [network(wav) for network in self.discriminators]


class ScaleNet(nn.Module):
    """Strided, grouped convolutions over the waveform."""

    def __init__(
        self,
        conv: type[SNConv1d] | type[WNConv1d],
        channels: Sequence[int],
        kernels: Sequence[int],
        strides: Sequence[int],
        groups: Sequence[int],
    ):
        super().__init__()
        widths = [1, *channels]
        self.convs = nn.ModuleList(
            conv(i, o, k, s, k // 2, groups=g)
            for i, o, k, s, g in zip(widths, channels, kernels, strides, groups, strict=False)
        )
        self.conv_post = conv(channels[-1], 1, 3, padding=1)

    def forward(self, wav: Tensor) -> Judgement:
        """wav (B, 1, T)."""
        maps = _activations(self.convs, self.conv_post, wav)
        return Judgement(maps[-1].flatten(1), maps)


class MultiScaleDiscriminator(Discriminator):
    """HiFi-GAN's MSD (Kong et al. 2020, section 2.3): the waveform, and its averages at half and a quarter of the rate.

    The first network has spectral norm, the others weight norm.
    """

    def __init__(
        self,
        scales: int = 3,
        channels: Sequence[int] = (128, 128, 256, 512, 1024, 1024, 1024),
        kernels: Sequence[int] = (15, 41, 41, 41, 41, 41, 5),
        strides: Sequence[int] = (1, 2, 2, 4, 4, 1, 1),
        groups: Sequence[int] = (1, 4, 16, 16, 16, 16, 1),
    ):
        super().__init__()
        if len({len(channels), len(kernels), len(strides), len(groups)}) != 1:
            raise UsageError(
                "channels, kernels, strides and groups differ in length", type(self).__name__, "give one a layer"
            )
        self.scales, self.channels, self.kernels, self.strides, self.groups = scales, channels, kernels, strides, groups
        self.discriminators = nn.ModuleList(
            ScaleNet(WNConv1d if scale else SNConv1d, channels, kernels, strides, groups) for scale in range(scales)
        )

    def forward(self, wav: Tensor) -> list[Judgement]:
        x, judgements = wav[:, None], []
        for scale, network in enumerate(self.discriminators):
            if scale:
                x = F.avg_pool1d(x, 4, 2, padding=2)
            judgements.append(network(x))
        return judgements


class SpectrogramConv(WNConv2d):
    """A convolution that computes in channels-last layout, which is twice as fast on a CPU for few channels. The first
    of a network, whose input has one channel, gains nothing and keeps the usual layout.
    """

    def forward(self, x: Tensor) -> Tensor:
        weight = self.kernel()
        if self.in_channels > 1:
            x = x.contiguous(memory_format=torch.channels_last)
            weight = weight.contiguous(memory_format=torch.channels_last)
        return self._conv_forward(x, weight, self.bias)


class ResolutionNet(nn.Module):
    """Judges a magnitude spectrogram of one resolution: Hann windows of `window` samples in transforms of `n_fft`."""

    window: Tensor

    def __init__(
        self,
        n_fft: int,
        hop: int,
        window: int,
        channels: Sequence[int],
        strides: Sequence[int],
        power: float,
        slope: float,
    ):
        super().__init__()
        self.hop, self.power, self.slope = hop, power, slope
        left = (n_fft - window) // 2
        hann = F.pad(torch.hann_window(window), (left, n_fft - window - left))  # zeros around it, as torch.stft has
        self.register_buffer("window", hann, persistent=False)
        widths = [1, *channels]
        kernels = [9] * (len(channels) - 1) + [3]  # over bins; 3 over frames
        self.convs = nn.ModuleList(
            SpectrogramConv(i, o, (3, k), (1, s), (1, k // 2))
            for i, o, k, s in zip(widths, channels, kernels, strides, strict=False)
        )
        self.conv_post = SpectrogramConv(channels[-1], 1, (3, 3), padding=(1, 1))

    def forward(self, wav: Tensor) -> Judgement:
        x = spectrogram(wav.float(), self.window, self.hop)[:, None] ** self.power  # (B, 1, L, bins)
        maps = _activations(self.convs, self.conv_post, x, self.slope)
        return Judgement(maps[-1].flatten(1), maps)


class MultiResolutionSTFTDiscriminator(Discriminator):
    """UnivNet's spectrogram discriminator (Jang et al. 2021, section 2.2), BigVGAN's MRD: one network a resolution.

    A resolution is (n_fft, hop, window) in samples; without a third number the window is as long as n_fft. `strides`
    are over the bins, one a layer; over frames there is none. Magnitudes are raised to `power`: 1 is the paper's, less
    lets the quiet high frequencies count. `slope` is that of the LeakyReLUs below 0: UnivNet's is 0.2, BigVGAN's 0.1.
    """

    def __init__(
        self,
        resolutions: Sequence[tuple[int, int] | tuple[int, int, int]] = (
            (1024, 120, 600),
            (2048, 240, 1200),
            (512, 50, 240),
        ),
        channels: Sequence[int] = (32, 32, 32, 32, 32),
        strides: Sequence[int] = (1, 2, 2, 2, 1),
        power: float = 1.0,
        slope: float = SLOPE,
    ):
        super().__init__()
        if len(channels) != len(strides):
            raise UsageError("channels and strides differ in length", type(self).__name__, "give one a layer")
        self.resolutions, self.channels, self.strides = resolutions, channels, strides
        self.power, self.slope = power, slope
        self.discriminators = nn.ModuleList(
            ResolutionNet(*_resolution(resolution), channels, strides, power, slope) for resolution in resolutions
        )

    def forward(self, wav: Tensor) -> list[Judgement]:
        return [network(wav) for network in self.discriminators]


def _resolution(given: Sequence[int]) -> tuple[int, int, int]:
    """n_fft, hop and window. Raises `UsageError` where the window does not fit into the transform."""
    n_fft, hop, window = given if len(given) == 3 else (*given, given[0])
    if n_fft % 2 or not 0 < hop <= window <= n_fft:
        what = f"resolution {list(given)}"
        raise UsageError(what, "MultiResolutionSTFTDiscriminator", "give an even n_fft and 0 < hop ≤ window ≤ n_fft")
    return n_fft, hop, window
