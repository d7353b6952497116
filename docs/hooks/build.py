"""What MkDocs calls while it builds the site: it adds the pages that follow from the code, and mends links."""

from __future__ import annotations

import re
from pathlib import Path

import pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ELSEWHERE = "Train"  # the section for pages that the nav of mkdocs.yml does not name
FENCE = re.compile(r"(^ *```.*?^ *```$)", re.M | re.S)
LINK = re.compile(r"\]\(([^)#\s]*)(#[^)\s]*)?\)")
RECIPE = re.compile(r"(?<!\[)`recipes/([\w-]+)\.yaml`")
SOUND = re.compile(r'<a href="([^"]+\.(?:mp3|opus|wav))">(.*?)</a>')


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Complete the nav: the pages made below, and those in docs/ that it does not name."""
    assert config.nav is not None
    sections = {name: value for entry in config.nav for name, value in entry.items()}
    made = [name for name in pages.names() if not name.endswith("index.md")]
    sections["Recipes"] += [name for name in made if name.startswith("recipes/")]
    sections["Commands"] += [name for name in made if name.startswith("commands/")]
    written = sorted(path.relative_to(config.docs_dir).as_posix() for path in Path(config.docs_dir).rglob("*.md"))
    sections[ELSEWHERE] += [name for name in written if f"'{name}'" not in str(config.nav)]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, text in pages.made().items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links out of docs/ lead to the page made of the file, or else to the repository."""
    if page.file.src_uri == "measured.md":
        markdown = pages.with_figures(markdown)
    depth = page.file.src_uri.count("/")
    parts = FENCE.split(markdown)  # the fenced blocks are the odd ones
    parts[::2] = [_mended(part, "../" * depth) for part in parts[::2]]
    return "".join(parts)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let a link to a sound be a player."""
    return SOUND.sub(r'<audio controls preload="none" src="\1" title="\2"></audio>', html)


def _mended(text: str, up: str) -> str:
    known = pages.names()
    text = RECIPE.sub(lambda m: f"[{m[0]}]({up}recipes/{m[1]}.md)" if f"recipes/{m[1]}.md" in known else m[0], text)
    return LINK.sub(lambda m: f"]({_target(m[1], up)}{m[2] or ''})", text)


def _target(target: str, up: str) -> str:
    """Where a link of a page goes; `../` leads out of docs/ to the root of the repository."""
    if not target.startswith("../") or target.startswith("../recipes/") and target.endswith(".md"):
        return target
    path = target.removeprefix("../")
    return f"{up}{pages.MADE_OF[path]}" if path in pages.MADE_OF else f"{pages.repository()}/{path}"
