"""Pages that follow from the code: recipes, commands, and the files at the root of the repository."""

from __future__ import annotations

import contextlib
import io
import os
import re
import tomllib
from functools import cache
from pathlib import Path

import figures

from vocolab.cli import COMMANDS, TRAINER, main

ROOT = Path(__file__).parents[2]
RECIPES = {path.stem: path for path in sorted((ROOT / "recipes").glob("*.yaml"))}
AT_THE_ROOT = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
MADE_OF = AT_THE_ROOT | {f"recipes/{name}.yaml": f"recipes/{name}.md" for name in RECIPES}


@cache
def names() -> tuple[str, ...]:
    """The names of the pages that `made` makes."""
    commands = ("index", "fit", *COMMANDS)
    recipes = ("index", *RECIPES)
    made = [f"commands/{name}.md" for name in commands] + [f"recipes/{name}.md" for name in recipes]
    return (*made, *AT_THE_ROOT.values())


def made() -> dict[str, str]:
    """Each page's name and its Markdown."""
    found = {"recipes/index.md": _recipes(), "commands/index.md": _commands(), "commands/fit.md": _fit()}
    found |= {f"recipes/{name}.md": _recipe(name) for name in RECIPES}
    found |= {f"commands/{name}.md": f"# vocolab {name}\n\n{_help(name)}" for name in COMMANDS}
    for source, name in AT_THE_ROOT.items():  # as if it lay in docs/
        found[name] = re.sub(r"\]\((?!http|#)", "](../", (ROOT / source).read_text()).replace("](../docs/", "](")
    assert found.keys() == set(names())
    return found


@cache
def repository() -> str:
    """The address below which the files of the repository are shown."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return f"{project['urls']['Homepage']}/blob/main"


def with_figures(markdown: str) -> str:
    """The page of figures, completed by the tables of all results."""
    return markdown.replace("<!-- all figures -->", figures.everything())


def _header(name: str) -> list[str]:
    """The lines of a recipe's opening comment."""
    lines = RECIPES[name].read_text().splitlines()
    count = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    return [line.removeprefix("#").removeprefix(" ") for line in lines[:count]]


def _recipe(name: str) -> str:
    """A recipe's page: what its header says, what was measured with it, the file."""
    first, *rest = _header(name)
    said, commands = _parted(rest)
    text = f"# {name}\n\n**{first}**\n\n{said}\n\n"
    if commands:
        text += "```sh\n" + "\n".join(commands) + "\n```\n\n"
    text += f"To edit a copy of it and of the files that it names: `vocolab recipes copy {name}`.\n\n"
    text += f"## What was measured\n\n{figures.of_recipe(name)}\n\n"
    return text + f"## The recipe\n\n```yaml\n{RECIPES[name].read_text()}```\n"


def _parted(lines: list[str]) -> tuple[str, list[str]]:
    """What a header says, and the commands it gives; one in the middle of a sentence stays there."""
    said, commands = [], []
    for line in lines:
        found = re.match(r"(.*?)(?:^|  ) +((?:make|vocolab) .*?)(?:   +(.*))?$", line)
        if not found:
            said.append(line)
        elif not found[1] or found[1].endswith("."):
            said.append(found[1])
            commands.append(found[2])
        else:
            said.append(f"{found[1]} `{found[2]}` {found[3] or ''}".rstrip())
    return "\n".join(said).strip(), commands


def _recipes() -> str:
    rows = "\n".join(f"| [{name}]({name}.md) | {_header(name)[0]} |" for name in RECIPES)
    return f"""# Recipes

A recipe is one YAML file that states a whole experiment: `vocolab fit -c recipes/NAME.yaml` prepares its data and
trains. Every value can be overridden on the command line (`--data.batches.size 32`), and every slot can be another file
of `configs/`. A recipe is looked for in the working directory, then in the package.

| recipe | what |
|---|---|
{rows}
"""


def _commands() -> str:
    rows = [f"| [{name}]({name if name == 'fit' else 'fit'}.md) | {what} |" for name, what in TRAINER.items()]
    rows += [f"| [{name}]({name}.md) | {what} |" for name, (_, what) in COMMANDS.items()]
    table = "\n".join(rows)
    return f"""# Commands

`vocolab COMMAND --help` prints what these pages show.

| command | does |
|---|---|
{table}

Every command takes `--import MODULE`, which brings parts of your own. `vocolab --version --verbose` prints what a
report of a fault should hold.

Exit status: 0 done; 1 the data or the run is at fault; 2 the command line or the recipe is; 130 interrupted. On 1 and 2
the last line of standard error is `vocolab: error: WHAT: WHERE: REMEDY`. `VOCOLAB_DEBUG=1` in the environment shows
where in the code it was found.
"""


def _fit() -> str:
    others = ", ".join(f"`{name}`" for name in TRAINER if name != "fit")
    return f"# vocolab fit\n\n{others.capitalize()} take the same keys.\n\n{_help('fit')}"


def _help(name: str) -> str:
    """What `vocolab NAME --help` prints, on a terminal of 88 columns."""
    printed, columns = io.StringIO(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "88"
    try:
        with contextlib.redirect_stdout(printed):
            status = main([name, "--help"])
    finally:
        os.environ.pop("COLUMNS")
        if columns is not None:
            os.environ["COLUMNS"] = columns
    assert status == 0, name
    return f"```text\n{printed.getvalue().rstrip()}\n```\n"
