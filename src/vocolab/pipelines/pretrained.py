"""Models on the Hugging Face hub, and folders in its layout."""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from vocolab.checkpoints.folder import check_upload, find_folder, signed, upload, write_folder
from vocolab.checkpoints.model_card import about
from vocolab.errors import UsageError
from vocolab.files import local_path


class Pretrained:
    """What `KNNVC` and `TTS` have for the hub."""

    card: dict[str, Any] | None = None  # what the model's file says; None for a model that was not read from one

    @classmethod
    @abstractmethod
    def from_checkpoint(cls, path: str | Path, *args: Any, **arguments: Any) -> Self: ...

    @abstractmethod
    def _stored(self) -> tuple[Mapping[str, Any], Mapping[str, Tensor]]:
        """The card and the weights as they are now, for a file; called where there is a card."""

    @classmethod
    def from_pretrained(cls, name: str | Path, **arguments: Any) -> Self:
        """Load a folder that `save_pretrained` wrote, or OWNER/NAME of the hub, which is fetched once. `arguments` are
        those of `from_checkpoint`.
        """
        return cls.from_checkpoint(find_folder(name), **arguments)

    def save_pretrained(
        self, folder: str | Path, figures: str | Path | None = None, licence: str = "", overwrite: bool = False
    ) -> None:
        """Write the model as `config.json`, `model.safetensors` and `README.md`, whose licences and figures
        `vocolab.export.save_pretrained` explains. Raises `VocolabError` where `folder` is not empty.
        """
        self._save(local_path(folder), figures, licence, "", overwrite)

    def push_to_hub(
        self, name: str, figures: str | Path | None = None, licence: str = "", private: bool = False
    ) -> str:
        """Upload what `save_pretrained` writes to OWNER/NAME of the hub; returns its address. The account is that of
        `hf auth login`.
        """
        check_upload(name)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "model"
            self._save(folder, figures, licence, name, False)
            return upload(folder, name, private)

    def _save(self, folder: Path, figures: str | Path | None, licence: str, name: str, overwrite: bool) -> None:
        if self.card is None:
            what = "the model was built from parts, so nothing says how to build it again"
            raise UsageError(what, "save_pretrained", "read it with from_checkpoint or from_pretrained")
        card, state = self._stored()
        told = about(None if figures is None else local_path(figures), licence, name)
        write_folder(folder, signed(card), state, told, overwrite)
