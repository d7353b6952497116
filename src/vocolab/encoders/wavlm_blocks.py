"""The network of WavLM (Chen et al. 2022) for inference: convolutions as matrix products, one position bias for all
layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vocolab.attention import scaled_dot_product_attention
from vocolab.prepared import FusedLinear

Samples = TypeVar("Samples", int, Tensor)

SEGMENT = 200  # frames convolved at once: the first layer's output, 26 MB, is memory the allocator reuses
BIAS_ELEMENTS = 2**23  # elements of the gated bias made at once: 32 MB, whatever the length


@dataclass(frozen=True)
class WavLMShape:
    """Sizes of the model; the defaults are those of WavLM-Base and Base+."""

    dim: int = 768
    depth: int = 12
    heads: int = 12
    ffn: int = 3072
    conv_dim: tuple[int, ...] = (512,) * 7
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_bias: bool = False
    group_norm: bool = True  # one group norm over time after the first convolution; False: a layer norm after each
    pre_norm: bool = False  # layer norms before attention and feed-forward, not after
    pos_kernel: int = 128
    pos_groups: int = 16
    buckets: int = 320
    max_distance: int = 800
    eps: float = 1e-5

    @property
    def hop(self) -> int:
        return math.prod(self.conv_stride)

    @property
    def receptive_field(self) -> int:
        """Samples that one frame sees."""
        field = 1
        for kernel, stride in zip(reversed(self.conv_kernel), reversed(self.conv_stride), strict=True):
            field = (field - 1) * stride + kernel
        return field

    def frames(self, samples: Samples, convolutions: int | None = None) -> Samples:
        """Length after the first `convolutions` (default: all), none of which pads."""
        for kernel, stride in list(zip(self.conv_kernel, self.conv_stride, strict=True))[:convolutions]:
            samples = (samples - kernel) // stride + 1
        return samples


class Convolution(FusedLinear):
    """A strided convolution over (T, C), computed as a matrix product; `norm` is what follows it.

    On a CPU this is twice as fast as `conv1d`, whose output would have to be transposed for every layer norm. The
    weight is (dim, kernel · C), tap by tap.
    """

    def __init__(self, channels: int, dim: int, kernel: int, stride: int, bias: bool, norm: bool):
        super().__init__(kernel * channels, dim, bias)
        self.stride = stride
        self.norm = nn.LayerNorm(dim) if norm else None

    def forward(self, x: Tensor) -> Tensor:
        """x (T, C), T a multiple of the stride -> (T / stride, dim) before norm and GELU; the last rows, which need
        samples beyond T, are unspecified.
        """
        width = self.stride * x.shape[1]
        groups = x.view(-1, width)
        if self.in_features == width:
            return super().forward(groups)
        windows = groups.new_zeros(len(groups), self.in_features)  # what each output sees: its group and the next ones
        for shift in range(-(-self.in_features // width)):
            part = windows[: len(groups) - shift, shift * width : (shift + 1) * width]
            part.copy_(groups[shift:, : part.shape[1]])
        return super().forward(windows)


class PositionalConvolution(nn.Module):
    """A grouped convolution of `kernel` frames centred on each frame, computed in the frequency domain (overlap-save)
    in a twelfth of the time of `conv1d`.

    `spectrum` is the transform of the kernel with its weight norm folded; it is made when the weights are read.
    """

    def __init__(self, dim: int, kernel: int, groups: int):
        super().__init__()
        self.kernel, self.groups, self.size = kernel, groups, 2 * kernel
        width = dim // groups
        self.spectrum = nn.Parameter(torch.empty(groups, self.size // 2 + 1, width, width, 2))  # (G, F, in, out, re/im)
        self.bias = nn.Parameter(torch.empty(dim))

    @staticmethod
    def transform(weight: Tensor, groups: int) -> Tensor:
        """Weight (dim, dim / groups, kernel) of a convolution -> `spectrum`."""
        grouped = weight.float().unflatten(0, (groups, -1))  # (G, out, in, kernel)
        spectrum = torch.fft.rfft(grouped, 2 * weight.shape[-1]).conj()  # conjugate: `conv1d` correlates
        return torch.view_as_real(spectrum.permute(0, 3, 2, 1).resolve_conj().contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """x (B, L, dim), zero beyond each row's end -> (B, L, dim)."""
        batch, length, dim = x.shape
        step = self.size - self.kernel + 1
        blocks = -(-length // step)
        left = self.kernel // 2
        padded = F.pad(x.float().transpose(1, 2), (left, (blocks - 1) * step + self.size - left - length))
        spectrum = torch.fft.rfft(padded.unfold(-1, self.size, step))  # (B, dim, blocks, F)
        spectrum = spectrum.unflatten(1, (self.groups, -1)).permute(1, 4, 0, 3, 2)  # (G, F, B, blocks, in)
        mixed = spectrum.flatten(2, 3) @ torch.view_as_complex(self.spectrum.float())  # (G, F, B · blocks, out)
        mixed = mixed.unflatten(2, (batch, blocks)).permute(2, 3, 0, 4, 1)  # (B, blocks, G, out, F)
        y = torch.fft.irfft(mixed, self.size)[..., :step]  # (B, blocks, G, out, step)
        return y.permute(0, 1, 4, 2, 3).reshape(batch, blocks * step, dim)[:, :length].to(x.dtype) + self.bias


class Attention(nn.Module):
    """Self-attention with the relative position bias scaled by a gate of the query's input (section 3.1)."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (FusedLinear(dim, dim) for _ in range(4))
        self.gate = nn.Linear(dim // heads, 2)  # the checkpoint's eight outputs, only ever used as two sums of four
        self.gate_scale = nn.Parameter(torch.empty(heads, 1, 1))

    def forward(self, x: Tensor, bias: Tensor, keep: Tensor | None) -> Tensor:
        """x (B, L, dim); bias (H, L, L) and keep (B, 1, 1, L) with keys in reversed order, see `reversed_bias`."""
        q, k, v = self._heads(self.q_proj(x)), self._heads(self.k_proj(x)).flip(2), self._heads(self.v_proj(x)).flip(2)
        first, second = self.gate(self._heads(x)).sigmoid().chunk(2, dim=-1)  # (B, H, L, 1)
        gate = first * (second * self.gate_scale - 1) + 2
        rows = max(1, BIAS_ELEMENTS // (x.shape[0] * self.heads * x.shape[1]))
        buffer = x.new_empty(x.shape[0] * self.heads * min(rows, x.shape[1]) * x.shape[1])
        attended = [
            self._attend(
                q[:, :, i : i + rows], k, v, self._gated(gate[:, :, i : i + rows], bias[:, i : i + rows], buffer), keep
            )
            for i in range(0, x.shape[1], rows)
        ]
        return self.out_proj(torch.cat(attended, 2).transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, L, dim / H)

    @staticmethod
    def _gated(gate: Tensor, bias: Tensor, buffer: Tensor) -> Tensor:
        """gate (B, H, rows, 1) · bias (H, rows, L), with the keys innermost; written to `buffer` where it can be.

        Left to itself, torch would lay out the product like `bias`, a view whose queries and keys are equally far
        apart, and attention would first transpose it, which took a sixth of the time of a minute of speech.
        """
        if gate.requires_grad or gate.dtype != buffer.dtype:
            return (gate * bias).contiguous()
        shape = (*gate.shape[:3], bias.shape[-1])
        return torch.mul(gate, bias, out=buffer[: math.prod(shape)].view(shape))

    @staticmethod
    def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, keep: Tensor | None) -> Tensor:
        if keep is not None:
            bias.masked_fill_(~keep, -torch.inf)
        return scaled_dot_product_attention(q, k, v, bias)


class Block(nn.Module):
    """Transformer block."""

    def __init__(self, shape: WavLMShape):
        super().__init__()
        self.pre_norm = shape.pre_norm
        self.attention = Attention(shape.dim, shape.heads)
        self.attention_norm = nn.LayerNorm(shape.dim, shape.eps)
        self.fc1, self.fc2 = FusedLinear(shape.dim, shape.ffn), FusedLinear(shape.ffn, shape.dim)
        self.final_norm = nn.LayerNorm(shape.dim, shape.eps)

    def forward(self, x: Tensor, bias: Tensor, keep: Tensor | None) -> Tensor:
        if self.pre_norm:
            x = x + self.attention(self.attention_norm(x), bias, keep)
            return x + self._feed_forward(self.final_norm(x))
        x = self.attention_norm(x + self.attention(x, bias, keep))
        return self.final_norm(x + self._feed_forward(x))

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.fc1.gelu(x))


class WavLMNetwork(nn.Module):
    """The convolutions and the first `depth` blocks."""

    def __init__(self, shape: WavLMShape, depth: int):
        super().__init__()
        self.shape = shape
        channels = (1, *shape.conv_dim[:-1])
        sizes = zip(channels, shape.conv_dim, shape.conv_kernel, shape.conv_stride, strict=True)
        self.convolutions = nn.ModuleList(Convolution(*size, shape.conv_bias, not shape.group_norm) for size in sizes)
        if shape.group_norm:
            self.group_norm = nn.GroupNorm(shape.conv_dim[0], shape.conv_dim[0])
        self.projection_norm = nn.LayerNorm(shape.conv_dim[-1], shape.eps)
        self.projection = FusedLinear(shape.conv_dim[-1], shape.dim)
        self.position = PositionalConvolution(shape.dim, shape.pos_kernel, shape.pos_groups)
        if not shape.pre_norm:
            self.norm = nn.LayerNorm(shape.dim, shape.eps)
        self.relative_bias = nn.Parameter(torch.empty(shape.buckets, shape.heads))
        self.blocks = nn.ModuleList(Block(shape) for _ in range(depth))

    def forward(self, wav: Tensor, lengths: Tensor, wanted: Sequence[int]) -> list[Tensor]:
        """wav (B, T), lengths (B,) in samples -> the raw outputs (B, L, dim) of the `wanted` blocks; 0 is the first's
        input.
        """
        frames = self.shape.frames(lengths)  # (B,)
        x = self.projection(self.projection_norm(self.extract(wav, lengths)))  # (B, L, dim)
        exists = torch.arange(x.shape[1], device=x.device) < frames[:, None]  # (B, L)
        keep = None if bool(exists.all()) else exists.flip(1)[:, None, None]
        if keep is not None:
            x = x.masked_fill(~exists[:, :, None], 0)  # the positional convolution pads with zeros
        x = x + F.gelu(self.position(x))
        if not self.shape.pre_norm:
            x = self.norm(x)
        outputs = {0: x}
        bias = self.reversed_bias(x.shape[1])
        for i, block in enumerate(self.blocks[: max(wanted, default=0)], 1):
            x = block(x, bias, keep)
            if i in wanted:
                outputs[i] = x
        return [outputs[i] for i in wanted]

    def extract(self, wav: Tensor, lengths: Tensor) -> Tensor:
        """wav (B, T) -> (B, L, conv_dim). The rows, each padded to a whole number of hops, are laid end to end and
        convolved as one. Frames that reach into the next row are cut off; all others see their own row alone.
        """
        shape = self.shape
        rows = F.pad(wav, (0, -wav.shape[1] % shape.hop)).unsqueeze(-1)  # (B, P, 1)
        count = rows.shape[1] // shape.hop
        x, total = rows.flatten(0, 1), len(rows) * count
        overlap = -(-(shape.receptive_field - shape.hop) // shape.hop)
        # The group norm looks at a whole row, so nothing can be cut where it is.
        segment = total if shape.group_norm else SEGMENT
        pieces = []
        for start in range(0, total, segment):
            stop = min(start + segment, total)
            samples = x[start * shape.hop : min(stop + overlap, total) * shape.hop]
            with torch.autocast(x.device.type, enabled=False):  # layer norms between the products want float32
                pieces.append(self._convolve(samples, lengths)[: stop - start])
        return torch.cat(pieces).unflatten(0, (len(rows), count))[:, : shape.frames(wav.shape[1])]

    def _convolve(self, x: Tensor, lengths: Tensor) -> Tensor:
        for i, convolution in enumerate(self.convolutions):
            assert isinstance(convolution, Convolution)
            x = convolution(x)
            if convolution.norm is not None:
                x = convolution.norm(x)
            elif i == 0:
                x = self._normalize(x.unflatten(0, (len(lengths), -1)), self.shape.frames(lengths, 1)).flatten(0, 1)
            x = F.gelu(x)
        return x

    def _normalize(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Group norm of x (B, T, C), a group a channel, over the first lengths[b] steps of each row."""
        norm = self.group_norm
        for row, length in zip(x, lengths.tolist(), strict=True):
            variance, mean = torch.var_mean(row[:length], dim=0, correction=0)
            scale = norm.weight * (variance + norm.eps).rsqrt()
            row.sub_(mean).mul_(scale).add_(norm.bias)
        return x

    def reversed_bias(self, length: int) -> Tensor:
        """The position bias (H, L, L) of query i and the key that is j-th from the end.

        It depends on key − query alone; with reversed keys that is L − 1 − (i + j), so the matrix is a view of its 2L −
        1 values and is never written out. The order of the keys does not matter to attention.
        """
        offsets = torch.arange(length - 1, -length, -1, device=self.relative_bias.device)  # key − query, by i + j
        values = self.relative_bias[buckets(offsets, self.shape.buckets, self.shape.max_distance)]  # (2L − 1, H)
        return values.T.contiguous().unfold(1, length, 1)


def buckets(offsets: Tensor, count: int, max_distance: int) -> Tensor:
    """T5's buckets of key − query: half for each sign, of which half for one distance each and half on a logarithmic
    scale.
    """
    half = count // 2
    exact = half // 2
    distance = offsets.abs()
    ratio = torch.log(distance.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    far = (exact + ratio * (half - exact)).long().clamp(max=half - 1)
    return torch.where(distance < exact, distance, far) + half * (offsets > 0)
