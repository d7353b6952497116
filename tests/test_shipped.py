"""Recipes and slot files of the package: found from anywhere, behind the user's own; listed; copied to be edited."""

# ruff: noqa: E501 (a complaint is one line)

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from vocolab import shipped
from vocolab.cli import main
from vocolab.errors import UsageError
from vocolab.recipe import Recipe, load_recipe

ROOT = Path(__file__).parents[1]
MEL = "class_path: Mel\ninit_args: {sample_rate: 16000, n_fft: 1024, hop: 320, n_mels: 33}\n"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a repository."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: str, text: str) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
    return Path(path)


def mels(arguments: list[str]) -> int:
    return Recipe(arguments).config.data.encoder.init_args.n_mels


@pytest.mark.parametrize("trainer", [["--trainer", "configs/trainer/gpu.yaml"], ["--trainer=configs/trainer/gpu.yaml"]])
def test_a_packaged_recipe_and_slot_file_are_found(trainer):
    config = Recipe(["-c", "recipes/hifigan_mel.yaml", *trainer]).config
    assert config.trainer.precision == "bf16-mixed" and config.trainer.default_root_dir == "runs/hifigan_mel"
    assert config.data.encoder.init_args.n_mels == 80
    assert load_recipe("recipes/hifigan_mel.yaml", {"data.encoder": "configs/encoder/wavlm_large.yaml"}).config == (
        Recipe(["-c", "recipes/hifigan_mel.yaml", "--data.encoder", "configs/encoder/wavlm_large.yaml"]).config
    )


def test_the_users_own_come_first():
    assert mels(["-c", "recipes/hifigan_mel.yaml"]) == 80
    write("configs/encoder/mel.yaml", MEL)
    assert mels(["-c", "recipes/hifigan_mel.yaml"]) == 80  # its slot files are relative to it, in the package
    assert mels(["-c", "recipes/hifigan_mel.yaml", "--data.encoder", "configs/encoder/mel.yaml"]) == 33
    write("recipes/hifigan_mel.yaml", (ROOT / "recipes" / "hifigan_mel.yaml").read_text())
    assert mels(["-c", "recipes/hifigan_mel.yaml"]) == 33


@pytest.mark.parametrize("prefix", ["", "../", "../../"])
def test_a_recipe_of_ones_own_names_packaged_files(prefix):
    text = (ROOT / "recipes" / "hifigan_mel.yaml").read_text().replace("../configs/", f"{prefix}configs/")
    write("mine/own.yaml", text)
    assert mels(["-c", "mine/own.yaml"]) == 80
    write("mine/more.yaml", "data: {encoder: encoder/own.yaml}\n")
    write("mine/encoder/own.yaml", MEL)
    assert mels(["-c", "mine/own.yaml", "-c", "mine/more.yaml"]) == 33


def test_a_slot_file_of_ones_own_names_packaged_files():
    write("codec.yaml", "class_path: KMeansCodec\ninit_args: {encoder: configs/encoder/mel.yaml}\n")
    config = Recipe(["-c", "recipes/quickstart-tts.yaml", "--data.codec", "codec.yaml"]).config
    assert config.data.codec.init_args.encoder.class_path.endswith("Mel")


def test_a_mistake_in_a_file_that_names_packaged_ones_is_placed():
    write("own.yaml", (ROOT / "recipes" / "hifigan_mel.yaml").read_text().replace("mel.yaml", "mell.yaml", 1))
    text = Path("own.yaml").read_text().replace("encoder/mel.yaml", "encoder/mell.yaml")
    write("own.yaml", text)
    line = 1 + next(n for n, line in enumerate(text.splitlines()) if "encoder/mell" in line)
    with pytest.raises(UsageError, match=rf"own\.yaml:{line}: did you mean configs/encoder/mel\.yaml\?"):
        Recipe(["-c", "own.yaml"])


def test_what_is_no_packaged_name_stays():
    assert shipped.find("a/recipes/quickstart.yaml") == Path("a/recipes/quickstart.yaml")
    assert shipped.find("/recipes/quickstart.yaml") == Path("/recipes/quickstart.yaml")
    assert shipped.find("recipes/none.yaml", "x/..") == Path("recipes/none.yaml")
    assert shipped.find("recipes/../pyproject.toml") == Path("pyproject.toml")
    assert shipped.find("x/../../recipes/quickstart.yaml", "deep") == shipped.root() / "recipes" / "quickstart.yaml"


def test_the_list(capsys):
    assert main(["recipes"]) == 0
    *lines, cluster, notebooks = capsys.readouterr().out.splitlines()
    for line, folder in ((cluster, ROOT / "recipes/cluster"), (notebooks, ROOT / "notebooks")):
        files = [path for path in folder.iterdir() if path.is_file()]
        assert line.split()[0] == folder.name and files and all(path.name in line for path in files)
    assert [line.split()[0] for line in lines] == sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))
    for line in lines:
        name, headline = line.split(maxsplit=1)
        assert (ROOT / "recipes" / f"{name}.yaml").read_text().startswith(f"# {headline}\n")
        assert headline.endswith("."), "the first line of a header says something whole"


def test_the_list_imports_nothing_heavy():
    heavy = {"torch", "numpy", "lightning", "jsonargparse", "omegaconf"}
    for arguments in (["recipes"], ["recipes", "copy", "quickstart"]):
        code = f"import sys; from vocolab.cli import main; assert not main({arguments}); "
        code += f"print(*set(sys.modules) & {heavy})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "" and len(done.stdout.splitlines()) > 3


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml")))
def test_a_copy_is_whole(name, capsys, monkeypatch):
    assert main(["recipes", "copy", name, "mine"]) == 0
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert written[0] == Path("mine/recipes", f"{name}.yaml") and len(written) > 1
    for path in written:
        assert path.read_bytes() == (ROOT / path.relative_to("mine")).read_bytes()
    monkeypatch.setattr(shipped, "_packaged", lambda name: None)  # nothing but the copy
    for path in written:
        assert all((path.parent / text).is_file() for text in files_named(yaml.safe_load(path.read_text())))


def test_the_cluster_scripts_are_copied(capsys):
    assert main(["recipes", "copy", "cluster", "mine"]) == 0
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert {path.parent for path in written} == {Path("mine/recipes/cluster")} and len(written) == 3
    assert all(path.read_bytes() == (ROOT / path.relative_to("mine")).read_bytes() for path in written)


def test_the_notebooks_are_copied(capsys):
    assert main(["recipes", "copy", "notebooks", "mine"]) == 0
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert {path.parent for path in written} == {Path("mine/notebooks")}
    assert {path.name for path in written} == {path.name for path in (ROOT / "notebooks").glob("*.ipynb")} != set()
    assert all(path.read_bytes() == (ROOT / path.relative_to("mine")).read_bytes() for path in written)


def files_named(node: object) -> list[str]:
    if isinstance(node, (dict, list)):
        return [text for item in (node.values() if isinstance(node, dict) else node) for text in files_named(item)]
    return [node] if isinstance(node, str) and node.endswith(".yaml") else []


def test_an_edited_copy_is_what_its_folder_means(capsys):
    assert main(["recipes", "copy", "hifigan_mel"]) == 0
    write("configs/encoder/mel.yaml", MEL)
    assert mels(["-c", "recipes/hifigan_mel.yaml"]) == 33

    capsys.readouterr()
    assert main(["recipes", "copy", "hifigan_mel.yaml"]) == 1
    where = Path("configs", "encoder", "mel.yaml")
    line = f"vocolab: error: output exists: {where}: choose another DIR or pass --overwrite\n"
    assert capsys.readouterr().err == line and where.read_text() == MEL
    assert main(["recipes", "copy", "hifigan_prematch"]) == 0  # names other files, and some of the same
    assert where.read_text() == MEL
    assert main(["recipes", "copy", "recipes/hifigan_mel.yaml", "--overwrite"]) == 0
    assert mels(["-c", "recipes/hifigan_mel.yaml"]) == 80


@pytest.mark.parametrize(
    "arguments, line",
    [
        (["copy"], "no recipe to copy: command line: name one of those that vocolab recipes lists"),
        (["copy", "hifigan_mell"], "no such recipe 'hifigan_mell': vocolab recipes copy: did you mean hifigan_mel?"),
        (["copy", "none"], "no such recipe 'none': vocolab recipes copy: see vocolab recipes"),
        (["copi", "quickstart"], "cannot copi recipes: command line: give copy NAME, or nothing to list them"),
        (["copy", "quickstart", "file"], "cannot write (Not a directory): file/recipes/quickstart.yaml: free space or choose another place"),
    ],
)  # fmt: skip
def test_mistakes(arguments, line, capsys, elsewhere):
    write("file", "")
    assert main(["recipes", *arguments]) in (1, 2)
    assert capsys.readouterr() == ("", f"vocolab: error: {line}\n")
    assert [path.name for path in elsewhere.iterdir()] == ["file"]
