"""The documentation builds as a site, strictly and offline: links lead somewhere, it shows what the code says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests import notebooks
from vocolab.cli import COMMANDS

ROOT = Path(__file__).parents[1]
RECIPES = sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))
SOURCE = ROOT / "src"
PACKAGES = {"vocolab.audio"}  # they stand for all that is in them
pytest.importorskip("mkdocs", reason="the site needs vocolab[docs]")


def build(root: Path, site: Path) -> None:
    """What `mkdocs build --strict` does in `root`."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(root / "mkdocs.yml"), strict=True, site_dir=str(site)))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        folder = tmp_path_factory.mktemp("site")
        build(ROOT, folder)
        yield folder


def text(page: Path) -> str:
    """What a reader sees of a page."""
    return re.sub(r"<[^>]+>", "", page.read_text()).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def test_every_page_in_docs_is_in_the_nav(site):
    """One that mkdocs.yml does not name is put under Train: a page is never lost, and no new one breaks the build."""
    start = (site / "index.html").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.stem == "index" or f'href="{page.stem}/"' in start, page


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_a_page_with_its_header_and_what_was_measured(site, name):
    page = text(site / "recipes" / name / "index.html")
    header = (ROOT / "recipes" / f"{name}.yaml").read_text().splitlines()[0].lstrip("# ")
    assert page.count(header) >= 2 and "What was measured" in page  # above, and in the file itself
    assert "seed_everything" in page


def test_a_recipe_shows_its_figures(site):
    page = text(site / "recipes" / "quickstart" / "index.html")
    assert re.search(r"quickstart_quality:stoi\s+0\.8\d", page) and "2 cores" in page
    page = text(site / "recipes" / "hifigan_prematch" / "index.html")
    assert re.search(r"update\s+5\.39\s+8\.04\s+1\.49×", page)


def test_commands_and_words_of_a_header_are_told_apart(site):
    import pages  # of docs/hooks, imported by the build

    lines = ["An hour.   make x", "The second of   make x   which speaks.", "Words.", "  vocolab fit -c a && vocolab b"]
    said, commands = pages._parted(lines)
    assert said == "An hour.\nThe second of `make x` which speaks.\nWords."
    assert commands == ["make x", "vocolab fit -c a && vocolab b"]


def test_what_a_benchmark_says_of_itself_is_whole_sentences(site):
    import figures

    said = {name: figures._said(name.split(".")[0]) for name in figures.results()}
    assert [name for name, text in said.items() if not re.search(r"(\S+ ){2}.*\.$", text.split(". ")[-1])] == []


def test_every_figure_and_every_recipe_that_figures_name_is_there(site):
    import figures  # of docs/hooks, imported by the build

    names = {record["name"] for records in figures.results().values() for record in records}
    page = text(site / "measured" / "index.html")
    assert len(names) > 100 and [name for name in names if name not in page] == []
    assert set(figures.OF_RECIPE) <= set(RECIPES) and figures.WHOLE <= set(figures.OF_RECIPE)
    patterns = {pattern for found in figures.OF_RECIPE.values() for pattern in found}
    assert [one for one in patterns if not any(figures.fnmatch(name, one) for name in names)] == []


@pytest.mark.parametrize("name", ["fit", *COMMANDS])
def test_a_command_has_a_page_with_its_help(site, name):
    page = text(site / "commands" / name / "index.html")
    assert f"usage: vocolab {name}" in page and "--import" in page
    assert str(Path.home()) not in page and str(ROOT) not in page


@pytest.fixture(scope="module")
def documented(site) -> set[str]:
    """What the pages on Python have an entry for."""
    return {found for page in site.glob("api*/index.html") for found in re.findall(r'id="([\w.]+)"', page.read_text())}


def test_the_public_names_are_documented(documented):
    wanted = ["pipelines.knnvc.KNNVC.convert", "pipelines.tts.TTS.stream", "recipe.load_recipe", "matching.knn"]
    wanted += ["vocoders.HiFiGAN", "encoders.WavLM", "codecs.EnCodec", "audio.log_mel", "lm.AR", "lm.NAR"]
    wanted += [f"lm.backbones.{name}" for name in ("Transformer", "RetNet", "Llama", "Mixtral", "BitNet")]
    assert [name for name in wanted if f"vocolab.{name}" not in documented] == []


def test_what_a_page_or_a_recipe_names_is_documented(documented):
    """Whatever the Python of a page, an example or a notebook imports, and each class of ours that a recipe names."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    python = [block for page in pages for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.S)]
    python += [cell["source"] for f in notebooks.files() for cell in notebooks.cells(f) if cell["cell_type"] == "code"]
    names = {
        f"{node.module}.{name.name}"
        for text in python
        for node in ast.walk(ast.parse(re.sub(r"^%.*", "", text, flags=re.M)))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vocolab")
        for name in node.names
    }
    found = {name for name in names if not (SOURCE / Path(*name.split("."))).with_suffix(".py").exists()} - PACKAGES
    yaml = [path.read_text() for folder in ("recipes", "configs") for path in (ROOT / folder).rglob("*.yaml")]
    classes = {name for text in yaml for name in re.findall(r"class_path: *(\w+)(?![\w.])", text)}
    ends = {name.rpartition(".")[2] for name in documented}
    assert len(found) > 20 and len(classes) > 40
    assert [name for name in sorted(found) if name.rpartition(".")[2] not in ends] == []
    assert sorted(classes - ends - {"TensorBoardLogger", "WandbLogger"}) == []  # of Lightning


def test_nothing_is_fetched_to_show_a_page(site):
    for page in site.rglob("*.html"):
        loaded = re.findall(r"<(?:script|img|audio|iframe|link)\b[^>]*?\b(?:src|href)=\"?([^\" >]+)", page.read_text())
        assert [one for one in loaded if re.match(r"(https?:)?//", one)] == [], page


def test_a_link_to_a_sound_is_a_player_of_a_file_that_is_there(site):
    sounds = re.findall(r'<audio [^>]*src="([^"]+)"', (site / "index.html").read_text())
    assert len(sounds) == 7 and all((site / sound).stat().st_size > 10000 for sound in sounds)


@pytest.mark.parametrize("broken", ["[x](nowhere.md)", "[x](convert.md#nowhere)", "[x](#nowhere)", "![x](nowhere.png)"])
def test_a_link_that_leads_nowhere_ends_the_build(broken, tmp_path, monkeypatch):
    from mkdocs.exceptions import Abort

    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    settings = (ROOT / "mkdocs.yml").read_text()
    validation = settings[settings.index("validation:") : settings.index("nav:\n  - Start")]
    (tmp_path / "mkdocs.yml").write_text(f"site_name: x\n{validation}")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "convert.md").write_text("# Convert\n")
    (tmp_path / "docs" / "index.md").write_text(f"# Here\n\n{broken}\n")
    with pytest.raises(Abort):
        build(tmp_path, tmp_path / "site")
    (tmp_path / "docs" / "index.md").write_text("# Here\n\n[x](convert.md#convert)\n")
    build(tmp_path, tmp_path / "site")
