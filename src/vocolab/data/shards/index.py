"""The index beside the shards: one row a sample, memory-mapped, so that ten million utterances open at once.

`SHARDS/index/SPLIT.npy` holds the rows, `SHARDS/index/SPLIT.json` the shards and speakers they name by number.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from vocolab.errors import VocolabError
from vocolab.files import atomic

# Offsets are bytes from the start of the shard to the first byte of the raw array (past the .npy header); 0 where a
# sample has no such member.
ROW = np.dtype(
    [
        ("shard", "<u4"),  # position in `Index.shards`
        ("speaker", "<u4"),  # position in `Index.speakers`
        ("samples", "<u4"),  # audio length
        ("frames", "<u4"),  # feature or code length
        ("symbols", "<u4"),  # length of the text in symbols, `<s>` and `</s>` included; 0 without
        ("json_size", "<u4"),
        ("audio_at", "<u8"),
        ("feats_at", "<u8"),
        ("codes_at", "<u8"),
        ("json_at", "<u8"),
    ]
)


@dataclasses.dataclass
class Index:
    """The rows of one split and what they mean."""

    rows: np.ndarray  # (n,) of ROW
    shards: list[str]  # names relative to the shard folder
    sizes: list[int]  # bytes of each shard: a shorter file is a truncated one
    speakers: list[str]
    sample_rate: int  # Hz, of the audio members
    hop: int  # audio samples a frame
    channels: int = 0  # width of the features; 0 without features
    levels: int = 0  # codebooks; 0 without codes
    size: int = 0  # codes a codebook: a larger one in a shard is damage

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def open(cls, root: Path, split: str) -> Index:
        """Map the index of `split` in the shard folder `root`. Raises `VocolabError` where it is missing or damaged."""
        path = Path(root) / "index" / f"{split}.npy"
        try:
            rows = np.load(path, mmap_mode="r")
            meta = json.loads(path.with_suffix(".json").read_text())
            index = cls(rows=rows, **meta)
        except FileNotFoundError as error:
            raise VocolabError(f"no index of split {split!r}", path, "run vocolab prepare") from error
        except (ValueError, TypeError, EOFError) as error:
            remedy = "move the folder away and run vocolab prepare"
            raise VocolabError(f"damaged index ({error})", path, remedy) from error
        if rows.dtype != ROW:
            raise VocolabError("index of another format", path, "move the folder away and run vocolab prepare")
        return index

    def by_speaker(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows speaker by speaker (n,), and where each speaker's begin, the end behind them (speakers + 1,)."""
        speaker = np.asarray(self.rows["speaker"])
        narrow = speaker.astype(np.uint16) if len(self.speakers) <= 1 << 16 else speaker  # sorts faster
        count = np.bincount(speaker, minlength=len(self.speakers))
        return np.argsort(narrow, kind="stable").astype(np.uint32), np.cumsum([0, *count])

    def write(self, root: Path, split: str) -> None:
        """Write the two files under the shard folder `root`."""
        path = Path(root) / "index" / f"{split}.npy"
        meta = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "rows"}
        with atomic(path.with_suffix(".json")) as temporary:
            temporary.write_text(json.dumps(meta))
        with atomic(path) as temporary, open(temporary, "wb") as file:
            np.save(file, self.rows)
