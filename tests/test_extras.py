"""A package that is missing is named with the extra that brings it."""

from __future__ import annotations

import sys

import pytest

from vocolab import weights
from vocolab.codecs import EnCodec
from vocolab.errors import VocolabError
from vocolab.extras import EXTRAS, install, required


def test_encodec_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(VocolabError) as error:
        EnCodec().load()
    assert str(error.value) == "the package transformers is missing: EnCodec: pip install 'vocolab[hub]'"


def test_a_hub_name_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(VocolabError) as error:
        weights.find_file("owner/name", ["config.json"])
    assert str(error.value) == "the package huggingface_hub is missing: owner/name: pip install 'vocolab[hub]'"


def test_another_missing_package_is_a_bug():
    with pytest.raises(ModuleNotFoundError), required("transformers", "here"):
        raise ModuleNotFoundError("No module named 'regex'", name="regex")
    assert all(install(package).endswith(f"'vocolab[{extra}]'") for package, extra in EXTRAS.items())
