"""Every command that the README and the pages show is one that the program takes; every link leads somewhere."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from pathlib import Path

import pytest

from vocolab.cli import COMMANDS, TRAINER, main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands() -> list[tuple[str, list[str]]]:
    found = []
    for page in PAGES:
        text = page.read_text()
        blocks = re.findall(r"```sh\n(.*?)```", text, re.S) + re.findall(r"`((?:vocolab|make) [^`]+)`", text)
        for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            words = words[: words.index("|")] if "|" in words else words  # up to what the command is piped into
            if words and not any(word in ("RECIPE", "RUN", "SRC…", "…") for word in words):
                found.append((f"{page.name}: {line}", words))
    return found


SHOWN = commands()


def test_there_are_commands():
    assert {words[1] for _, words in SHOWN if words[0] == "vocolab"} >= {"fit", "prepare", "convert"}


@pytest.mark.parametrize("words", [words for _, words in SHOWN], ids=[name for name, _ in SHOWN])
def test_a_shown_command_is_taken(words, monkeypatch):
    monkeypatch.chdir(ROOT)
    if words[0] == "make":
        assert re.search(rf"^{re.escape(words[1])}:", (ROOT / "Makefile").read_text(), re.M)
    elif words[0] == "vocolab" and words[1].startswith("--"):
        assert main(words[1:]) == 0
    elif words[0] == "vocolab" and words[1] in (*TRAINER, "prepare"):
        from vocolab.recipe import Recipe

        if "mine.yaml" in " ".join(words):  # the reader's own
            return
        arguments = [w for i, w in enumerate(words[2:], 2) if w != "--workers" and words[i - 1] != "--workers"]
        assert Recipe(arguments).config.trainer.max_steps > 0
    elif words[0] == "vocolab" and words[1].startswith("-"):
        assert main(words[1:]) == 0
    elif words[0] == "vocolab":
        parser = argparse.ArgumentParser()
        importlib.import_module(COMMANDS[words[1]][0]).add_arguments(parser)
        parser.parse_args(words[2:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_the_page_on_architecture_names_what_is_there():
    page, source = (ROOT / "docs/architecture.md").read_text(), ROOT / "src" / "vocolab"
    named = set(re.findall(r"\b([\w/]+\.py)\b", page))
    assert [name for name in named if not ((source / name).exists() or (ROOT / name).exists())] == []
    folders = {path.name for path in source.iterdir() if (path / "__init__.py").exists()}
    assert len(folders) > 10 and [name for name in folders if not re.search(rf"\b{name}\b", page)] == []
