"""A discriminator of spectrogram frames that is cheap on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vocolab.audio.stft import spectrogram
from vocolab.vocoders.discriminators import SLOPE, Discriminator, Judgement
from vocolab.vocoders.normed import WNConv1d


class FrameNet(nn.Module):
    """1-D convolutions over the frames of one resolution; the bins are channels."""

    window: Tensor

    def __init__(self, n_fft: int, hop: int, channels: Sequence[int], kernel: int, gain: float):
        super().__init__()
        self.hop, self.gain = hop, gain
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        widths = [n_fft // 2 + 1, *channels]
        self.convs = nn.ModuleList(
            WNConv1d(i, o, kernel, 1 if n == 0 else 2, kernel // 2)
            for n, (i, o) in enumerate(zip(widths, channels, strict=False))
        )
        self.conv_post = WNConv1d(channels[-1], 1, 3, padding=1)

    def forward(self, wav: Tensor) -> Judgement:
        # Magnitudes are compressed by a logarithm that is linear near zero. A power below 1 is infinitely steep there,
        # which would magnify rounding errors.
        x = torch.log1p(self.gain * spectrogram(wav.float(), self.window, self.hop)).transpose(1, 2)  # (B, bins, L)
        maps = []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), SLOPE)
            maps.append(x)
        maps.append(self.conv_post(x))
        return Judgement(maps[-1].flatten(1), maps)


class FrameDiscriminator(Discriminator):
    """One network for each (n_fft, hop), whose first convolution sees all bins of a frame at once.

    Spectrogram discriminators usually slide small kernels over time and frequency (UnivNet, Jang et al. 2021), which
    costs a CPU seconds an update. Harmonics stand side by side in a frame, so a full-band kernel sees them whole.
    """

    def __init__(
        self,
        resolutions: Sequence[tuple[int, int]] = ((512, 128), (1024, 256)),
        channels: Sequence[int] = (128, 128, 128),
        kernel: int = 5,
        gain: float = 100.0,
    ):
        super().__init__()
        self.resolutions, self.channels, self.kernel, self.gain = resolutions, channels, kernel, gain
        self.discriminators = nn.ModuleList(FrameNet(n_fft, hop, channels, kernel, gain) for n_fft, hop in resolutions)

    def forward(self, wav: Tensor) -> list[Judgement]:
        return [network(wav) for network in self.discriminators]
