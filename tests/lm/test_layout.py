"""The sequence of the language models, and what its positions predict."""

from __future__ import annotations

import torch

from vocolab.lm.layout import IGNORED, at, pack, text_targets, with_stop


def test_golden_layout() -> None:
    # Golden: text 4, language 1, prompt 6, response 20 -> 35 tokens with the stop, 34 targets.
    text, codes = torch.tensor([[1, 7, 8, 2]]), torch.arange(100, 120)[None]
    one = torch.ones(1, dtype=torch.long)
    # The text and its separator predict [7, 8, 2, none, 5], the language to the prompt nothing, then come the codes.
    assert text_targets(text, one * 4, one * 5).tolist() == [[7, 8, 2, IGNORED, 5]]
    assert with_stop(codes, one * 20, stop=1024).tolist() == [[*range(100, 120), 1024]]
    sep = torch.zeros(1, 1, 3)
    vectors = [torch.rand(1, 4, 3), sep, torch.rand(1, 1, 3), sep, torch.rand(1, 6, 3), sep, torch.rand(1, 21, 3)]
    packed = pack(vectors, [one * v.shape[1] for v in vectors])
    assert packed.x.shape == (1, 35, 3)
    assert [int(s) for s in packed.starts] == [0, 4, 5, 6, 7, 13, 14]


def test_rows_are_packed_as_if_alone() -> None:
    g = torch.Generator().manual_seed(0)
    for _ in range(20):
        rows = int(torch.randint(1, 5, (), generator=g))
        widths = torch.randint(1, 6, (4,), generator=g).tolist()
        lengths = [torch.randint(0, n + 1, (rows,), generator=g) for n in widths]
        lengths[0] = lengths[0].clamp(min=1)
        segments = [torch.randn(rows, n, 2, generator=g) for n in widths]
        packed = pack(segments, lengths)
        assert packed.x.shape[1] == int(packed.lengths.max())
        for b in range(rows):
            alone = torch.cat([s[b, : n[b]] for s, n in zip(segments, lengths, strict=True)])
            assert torch.equal(packed.x[b, : packed.lengths[b]], alone)
            for i, (segment, n) in enumerate(zip(segments, lengths, strict=True)):
                begin = int(packed.starts[i][b])
                assert torch.equal(packed.x[b, begin : begin + n[b]], segment[b, : n[b]])


def test_targets_of_unequal_rows_are_those_of_each_alone() -> None:
    text = torch.tensor([[1, 3, 4, 5, 2], [1, 2, 7, 7, 7], [1, 6, 2, 7, 7]])  # 7: padding
    n, language = torch.tensor([5, 2, 3]), torch.tensor([0, 8, 9])
    none = IGNORED
    assert text_targets(text, n, language).tolist() == [
        [3, 4, 5, 2, none, 0],
        [2, none, 8, none, none, none],
        [6, 2, none, 9, none, none],
    ]
    assert text_targets(text, n, None).tolist() == [
        [3, 4, 5, 2, none, none],
        [2, none, none, none, none, none],
        [6, 2, none, none, none, none],
    ]


def test_stop_stands_behind_the_last_frame() -> None:
    assert with_stop(torch.tensor([[3, 4, 0], [5, 6, 7]]), torch.tensor([2, 3]), 9).tolist() == [
        [3, 4, 9, IGNORED],
        [5, 6, 7, 9],
    ]


def test_at_repeats_the_last_position_beyond_the_end() -> None:
    x = torch.arange(10).view(2, 5)
    assert at(x, torch.tensor([1, 3]), 3).tolist() == [[1, 2, 3], [8, 9, 9]]
