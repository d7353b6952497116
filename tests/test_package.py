"""What a user gets who installs the package: its files, and commands that work outside the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network: the backend is a package of the extra `dev`."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("vocolab-*.whl"))


def test_the_wheel_holds_all_of_the_package_and_nothing_else(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    tracked = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    wanted = {path.removeprefix("src/") for path in tracked if path.startswith("src/vocolab/")}
    wanted |= {f"vocolab/{path}" for path in tracked if path.startswith(("recipes/", "configs/", "notebooks/"))}
    assert names == wanted
    assert {"vocolab/py.typed", "vocolab/recipes/quickstart.yaml", "vocolab/configs/trainer/gpu.yaml"} <= names


def test_what_the_wheel_says(wheel):
    with zipfile.ZipFile(wheel) as file:
        name = next(name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        lines = file.read(name).decode().split("\n\n")[0].splitlines()
    requires = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
    needed = [line for line in requires if "extra ==" not in line]
    assert "torch>=2.11" in needed and not any(line.startswith("transformers") for line in needed)
    assert [line for line in requires if line.startswith("transformers") and "extra == 'hub'" in line]
    assert any(line.startswith("Project-URL: ") for line in lines) and any(
        line.startswith("Author: ") for line in lines
    )


def test_every_extra_that_an_error_names_is_one():
    from vocolab.extras import EXTRAS

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(EXTRAS.values()) <= set(extras)


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of a fresh environment that has the wheel, and the other packages of this one."""
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    paths = {"base": str(folder), "platbase": str(folder)}
    commands = Path(sysconfig.get_path("scripts", "venv", paths))
    install = [str(commands / "python"), "-m", "pip", "install", "-q", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    # Folders named in a .pth file are not searched for further .pth files, such as that of an editable vocolab.
    Path(sysconfig.get_path("purelib", "venv", paths), "others.pth").write_text(sysconfig.get_path("purelib"))
    return commands


@pytest.mark.slow
def test_an_installed_package_trains_and_converts(installed, speech_folder, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}

    def run(*arguments: str) -> str:
        command = [str(installed / "vocolab"), *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    code = "import vocolab, vocolab.shipped; print(vocolab.__file__, vocolab.shipped.root())"
    places = subprocess.run(
        [str(installed / "python"), "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    ).stdout
    assert str(ROOT) not in places and places.count(str(installed.parent)) == 2

    assert "quickstart " in run("recipes")
    tiny = ["--data.corpus.speakers", '["3001", "3002"]', "--data.encoder.layer", "1", "--data.batches.size", "2"]
    tiny += ["--model.vocoder.dim", "16", "--model.vocoder.blocks", "1", "--model.vocoder.hidden", "16"]
    tiny += ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2", "--trainer.limit_val_batches", "1"]
    run("fit", "-c", "recipes/quickstart.yaml", "--trainer", "configs/trainer/cpu.yaml", *tiny)
    checkpoint = str(Path("runs", "quickstart", "checkpoints", "last.ckpt"))
    source = str(next(speech_folder.rglob("*.opus")))
    run("convert", source, "--ref", str(speech_folder / "3002"), "--checkpoint", checkpoint, "-o", "out.wav")
    assert (tmp_path / "out.wav").stat().st_size > 10_000
