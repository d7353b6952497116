"""Every mistake in a recipe or on the command line is one line: the key, where it stands, what would be right."""

# ruff: noqa: E501 (a complaint is one line)

from __future__ import annotations

import gc
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from vocolab.cli import main
from vocolab.encoders import Mel
from vocolab.errors import UsageError, VocolabError
from vocolab.recipe import Recipe
from vocolab.recipe.mistakes import raised_by_a_part
from vocolab.recipe.page import cause

TRAINER = "  max_steps: 4\n"


def line_of(path: Path, text: str) -> int:
    return path.read_text().splitlines().index(next(line for line in path.read_text().splitlines() if text in line)) + 1


def complaint(*args: str) -> str:
    with pytest.raises(UsageError) as caught:
        Recipe(args)
    assert caught.value.status == 2
    return str(caught.value)


# what is replaced in the recipe, by what, the line that is marked, the complaint with {} for its place
RECIPES = {
    "key, depth 1": ("checkpoint:", "chekpoint:", "unknown key chekpoint: {}: did you mean checkpoint?"),
    "key, depth 1, scalar": ("seed_everything: 7", "seed_evrything: 7", "unknown key seed_evrything: {}: did you mean seed_everything?"),
    "key, depth 1, empty": ("checkpoint: {every_n_train_steps: 2}", "chekpoint: {}", "unknown key chekpoint: {}: did you mean checkpoint?"),
    "key, depth 2": ("max_steps:", "max_stepz:", "unknown key trainer.max_stepz: {}: did you mean trainer.max_steps?"),
    "key of a part": ("size: 2", "sise: 2", "unknown key data.batches.init_args.sise: {}: did you mean data.batches.init_args.size?"),
    "key of a dataclass": ("encoder:", "prematch: {topkk: 4}\n  encoder:", "unknown key data.prematch.topkk: {}: did you mean data.prematch.topk?"),
    "key in a list": ("weight: 45", "wieght: 45", "unknown key model.init_args.losses.init_args.wieght: {}: did you mean model.init_args.losses.init_args.weight?"),
    "key of an optimizer": ("lr: 2.0e-4", "rate: 2.0e-4", "unknown key model.init_args.optimizer.init_args.rate: {}: choose from"),
    "type": ("max_steps: 4", "max_steps: many", "trainer.max_steps is 'many': {}: expected int"),
    "type of a part": ("size: 2", "size: big", "data.batches.init_args.size is 'big': {}: expected int"),
    "choice": ("encoder:", "prematch: {pool: house}\n  encoder:", "data.prematch.pool is 'house': {}: expected one of speaker, chapter"),
    "type of an optimizer": ("lr: 2.0e-4", "lr: high", "model.init_args.optimizer.init_args.lr is 'high': {}: expected float"),
    "scheduler": ("    optimizer:", "    schedule: {class_path: torch.optim.lr_scheduler.Nothing}\n    optimizer:", "no such Schedule or LRScheduler 'torch.optim.lr_scheduler.Nothing' for model.init_args.schedule: {}: correct the name"),
    "scheduler of another kind": ("    optimizer:", "    schedule: {class_path: torch.optim.AdamW}\n    optimizer:", "no such Schedule or LRScheduler 'torch.optim.AdamW' for model.init_args.schedule: {}: correct the name"),
    "key of a scheduler": ("    optimizer:", "    schedule: {class_path: torch.optim.lr_scheduler.StepLR, init_args: {stepsize: 3}}\n    optimizer:", "unknown key model.init_args.schedule.init_args.stepsize: {}: did you mean model.init_args.schedule.init_args.step_size?"),
    "type of a scheduler": ("    optimizer:", "    schedule: {class_path: torch.optim.lr_scheduler.StepLR, init_args: {step_size: five}}\n    optimizer:", "model.init_args.schedule.init_args.step_size is 'five': {}: expected int"),
    "scheduler without what it needs": ("    optimizer:", "    schedule: {class_path: torch.optim.lr_scheduler.StepLR}\n    optimizer:", "key model.init_args.schedule.init_args.step_size is missing: {}: add it"),
    "task": ("class_path: VocoderTask", "class_path: VocoderTsk", "no such LightningModule 'VocoderTsk' for model: {}: did you mean VocoderTask?"),
    "class": ("class_path: Mel,", "class_path: Mell,", "no such Encoder 'Mell' for data.encoder: {}: did you mean Mel?"),
    "class of another kind": ("class_path: Mel,", "class_path: vocolab.vocoders.Vocos,", "no such Encoder 'vocolab.vocoders.Vocos' for data.encoder: {}: choose from"),
    "class in no module": ("class_path: MelLoss", "class_path: mine.MelLoss", "no such WaveLoss 'mine.MelLoss' for model.init_args.losses: {}: did you mean MelLoss?"),
    "callback": ("[Timing]", "[Timming]", "no such Callback 'Timming' for trainer.callbacks: {}: did you mean Timing?"),
    "interpolation": ("${seed_everything}", "${seed_evrything}", "${seed_evrything} names no key: {}: correct the name"),
    "slot file": ("slots/vocoder.yaml", "slots/vocodr.yaml", "no such file slots/vocodr.yaml: {}: did you mean slots/vocoder.yaml?"),
    "key twice": ("checkpoint:", "trainer: {max_steps: 3}\ncheckpoint:", "key trainer stands twice: {}: keep one"),
    "dotted": ("checkpoint:", "trainer.max_steps: 3\ncheckpoint:", "trainer.max_steps beside trainer: {}: one would drop the other: write it inside trainer:, or as --trainer.max_steps"),
}  # fmt: skip


@pytest.mark.parametrize("old, new, expected", RECIPES.values(), ids=RECIPES)
def test_a_recipe(old, new, expected, recipe):
    text = recipe.read_text()
    assert text.count(old) == 1
    recipe.write_text(text.replace(old, new))
    marked = (
        "trainer: {max"
        if "twice" in expected
        else "{topk"
        if "topk" in new
        else "{pool"
        if "pool" in new
        else new.split("\n")[0]
    )
    place = f"tiny.yaml:{line_of(recipe, marked)}"
    assert complaint("-c", "tiny.yaml").startswith(expected.replace("{}", place))


ENCODER = "{class_path: Mel, init_args: {n_mels: 20}}"
BATCHES = "{class_path: Crops, init_args: {frames: 22, size: 2}}"
SLOT = "slots/vocoder.yaml"
UNKNOWN_IN_A_SLOT = (
    "unknown key model.vocoder.init_args.hiden: voc.yaml:2: did you mean model.vocoder.init_args.hidden?"
)
# the page of these says little of them, or several things: flags, what is replaced in the recipe, by what, the complaint
PAGES = {
    "null": ("", ENCODER, "{class_path: Mel, init_args: {n_mels: null}}", "data.encoder.init_args.n_mels is null: {}: expected int"),
    "null by flag": ("--data.encoder.n_mels=null", "", "", "data.encoder.init_args.n_mels is null: command line: expected int"),
    "key in a file beside the recipe": ("", SLOT, "voc.yaml", "unknown key model.init_args.vocoder.init_args.hiden: voc.yaml:2: did you mean model.init_args.vocoder.init_args.hidden?"),
    "key in a file by flag": ("--model.vocoder=voc.yaml", "", "", UNKNOWN_IN_A_SLOT),
    "type in a file by flag": ("--model.vocoder=type.yaml", "", "", "model.vocoder.init_args.blocks is 'one': type.yaml:2: expected int"),
    "init_args a list": ("--model.vocoder=list.yaml", "", "", "init_args is a list: list.yaml:2: write the arguments as NAME: VALUE, or leave it out"),
    "init_args a number": ("", ENCODER, "{class_path: Mel, init_args: 3}", "init_args is '3': {}: write the arguments as NAME: VALUE, or leave it out"),
    "init_args without a value": ("", ENCODER, "{class_path: Mel, init_args: }", "init_args is 'null': {}: write the arguments as NAME: VALUE, or leave it out"),
    "init_arg": ("", ENCODER, "{class_path: Mel, init_arg: {n_mels: 20}}", "unknown key init_arg beside class_path: {}: did you mean init_args?"),
    "init_arg by flag": ("--data.encoder={class_path: Mel, init_arg: {n_mels: 20}}", "", "", "unknown key init_arg beside class_path: command line: did you mean init_args?"),
    "arguments beside class_path": ("", ENCODER, "{class_path: Mel, n_mels: 20}", "unknown key n_mels beside class_path: {}: write it under init_args"),
    "class_pth": ("", ENCODER, "{class_pth: Mel, init_args: {n_mels: 20}}", "unknown key class_pth beside init_args: {}: did you mean class_path?"),
    "no class_path": ("", ENCODER, "{n_mels: 20}", "data.encoder is \"{'n_mels': 20}\": {}: expected a class_path (Encoder) or null"),
    "a list for a slot": ("", BATCHES, "[1, 2]", "data.batches is '[1, 2]': {}: expected a class_path (Batches)"),
    "a number for a slot": ("", BATCHES, "3", "data.batches is '3': {}: expected a class_path (Batches)"),
    "a number in a slot of a part": ("", "    optimizer:", "    schedule: 3\n    optimizer:", "model.init_args.schedule is '3': {}: expected a class_path (Schedule or LRScheduler) or null"),
    "a number for a list": ("", "[Timing]", "3", "trainer.callbacks is '3': {}: expected list or a class_path (Callback) or null"),
    "key of a callback by flag": ("--trainer.callbacks=[{class_path: EMA, init_args: {decy: 1}}]", "", "", "unknown key trainer.callbacks.decy: command line: did you mean trainer.callbacks.decay?"),
    "type of a callback by flag": ("--trainer.callbacks+={class_path: EMA, init_args: {decay: x}}", "", "", "trainer.callbacks.decay is 'x': command line: expected float"),
    "key of a logger by flag": ("--trainer.logger=[{class_path: CSVLogger, init_args: {savedir: x}}]", "", "", "unknown key trainer.logger.savedir: command line: did you mean trainer.logger.save_dir?"),
    "logger in a list": ("--trainer.logger=[CSVLoger]", "", "", "no such Logger 'CSVLoger' for trainer.logger: command line: did you mean CSVLogger?"),
    "two classes of one name": ("", ENCODER, "Twin", "data.encoder: Multiple subclasses with name Twin. Give the full class path to avoid ambiguity: one.Twin, two.Twin: {}: correct it"),
}  # fmt: skip
SLOTS = {
    "voc.yaml": "class_path: Vocos\ninit_args: {dim: 8, hiden: 8}\n",
    "type.yaml": "class_path: Vocos\ninit_args: {dim: 8, blocks: one}\n",
    "list.yaml": "class_path: Vocos\ninit_args: [3]\n",
}


@pytest.fixture
def twins():
    """Two parts of one name, as two modules of one's own may have; forgotten by the parser afterwards."""
    twins = [type("Twin", (Mel,), {"__module__": module, "__init__": Mel.__init__}) for module in ("one", "two")]
    with pytest.MonkeyPatch.context() as patch:
        for twin in twins:
            patch.setitem(sys.modules, twin.__module__, SimpleNamespace(Twin=twin))
        yield
    del twins
    gc.collect()


@pytest.mark.parametrize("flag, old, new, expected", PAGES.values(), ids=PAGES)
def test_the_cause_is_named_not_what_else_the_slot_could_be(flag, old, new, expected, recipe, request):
    if new == "Twin":
        request.getfixturevalue("twins")
    for name, text in SLOTS.items():
        (recipe.parent / name).write_text(text)
    text = recipe.read_text()
    assert not old or text.count(old) == 1
    line = text[: text.index(old)].count("\n") + 1
    recipe.write_text(text.replace(old, new) if old else text)
    found = complaint("-c", "tiny.yaml", *[flag] * bool(flag))
    assert found == expected.replace("{}", f"tiny.yaml:{line}")


def test_what_is_not_recognised_ends_in_the_parsers_innermost_cause():
    page = """\
Parser key "model":
  Does not validate against any of the Union subtypes
  Errors:
    - Problem with given class_path 'vocolab.tasks.VocoderTask':
        Parser key "vocoder":
          Something new. Got value: 3
    - Expected a <class 'NoneType'>
  Given value: {'a': 1}"""
    found = cause(page)
    assert (found.kind, found.key, found.detail, found.value) == ("other", "model.vocoder", "Something new", "3")


def test_a_strategy_that_is_none(recipe):
    with pytest.raises(UsageError, match="^no such strategy 'dpp': trainer.strategy: did you mean ddp"):
        _ = Recipe(["-c", str(recipe), "--trainer.strategy=dpp"]).trainer


MISSING = {
    "model": (r"model:.*", "key model is missing: tiny.yaml: add it"),
    "corpus": (r"  corpus:.*?\n", "key data.corpus is missing: tiny.yaml: add it"),
    "vocoder": (r"    vocoder:.*?\n", "key model.init_args.vocoder is missing: tiny.yaml:{}: add it"),
    "root": (r", init_args: \{root: .*?\}", "key data.corpus.init_args.root is missing: tiny.yaml:{}: add it"),
}


@pytest.mark.parametrize("pattern, expected", MISSING.values(), ids=MISSING)
def test_a_missing_key(pattern, expected, recipe):
    text = re.sub(pattern, "", recipe.read_text(), count=1, flags=re.DOTALL)
    assert text != recipe.read_text()
    recipe.write_text(text)
    line = line_of(recipe, "model:" if "vocoder" in expected else "corpus:") if "{}" in expected else 0
    assert complaint("-c", "tiny.yaml") == expected.format(line)


def test_a_slot_file_is_named_with_its_line(recipe):
    slot = recipe.parent / "slots" / "vocoder.yaml"
    slot.write_text(slot.read_text().replace("dim:", "dimm:"))
    expected = "unknown key model.init_args.vocoder.init_args.dimm: slots/vocoder.yaml:3: "
    assert complaint("-c", "tiny.yaml") == expected + "did you mean model.init_args.vocoder.init_args.dim?"
    slot.write_text(slot.read_text().replace("dimm: 8", "dim: wide"))
    assert (
        complaint("-c", "tiny.yaml")
        == "model.init_args.vocoder.init_args.dim is 'wide': slots/vocoder.yaml:3: expected int"
    )


def test_the_last_of_two_recipes_is_named(recipe):
    (recipe.parent / "over.yaml").write_text("trainer:\n  max_steps: 3\ndata:\n  wrokers: 2\n")
    assert (
        complaint("-c", "tiny.yaml", "-c", "over.yaml")
        == "unknown key data.wrokers: over.yaml:4: did you mean data.workers?"
    )


VOCODERS = ", ".join(
    sorted(
        f"configs/vocoder/{path.name}" for path in (Path(__file__).parents[2] / "configs" / "vocoder").glob("*.yaml")
    )
)
FLAGS = {
    "--traner.max_steps=3": "unknown key traner.max_steps: command line: did you mean --trainer.max_steps?",
    "--trainer.max_stepz=3": "unknown key trainer.max_stepz: command line: did you mean --trainer.max_steps?",
    "--checkpoint.every_n 3": "unknown key checkpoint.every_n: command line: did you mean --checkpoint.every_n_train_steps?",
    "--model.vocoder.dimm 3": "unknown key model.vocoder.dimm: command line: did you mean --model.vocoder.dim?",
    "--model.init_args.vocoder.init_args.dimm 3": "unknown key model.init_args.vocoder.init_args.dimm: command line: did you mean --model.init_args.vocoder.init_args.dim?",
    "--data.encoder.nmels 3": "unknown key data.encoder.nmels: command line: did you mean --data.encoder.n_mels?",
    "--trainer.max_steps many": "trainer.max_steps is 'many': command line: expected int",
    "--model.vocoder.dim wide": "model.vocoder.dim is 'wide': command line: expected int",
    "--model.optimizer.lr high": "model.optimizer.lr is 'high': command line: expected float",
    "--trainer.max_steps": "--trainer.max_steps has no value: command line: give one",
    "--trainer none.yaml": "no such file none.yaml: --trainer: check the path",
    "--trainer gpuu.yaml": "no such file gpuu.yaml: --trainer: did you mean configs/trainer/gpu.yaml?",
    "--trainer=configs/trainer/gpuu.yaml": "no such file configs/trainer/gpuu.yaml: --trainer: did you mean configs/trainer/gpu.yaml?",
    "--model.vocoder ../configs/vocoder/none.yaml": f"no such file ../configs/vocoder/none.yaml: --model.vocoder: choose from {VOCODERS}",
    "--model.vocoder none.yaml": "no such file none.yaml: --model.vocoder: check the path",
    "--model.vocoder Vocoss": "no such Vocoder 'Vocoss' for model.vocoder: command line: did you mean Vocos?",
    "--trainer.callbacks+=Sampels": "no such Callback 'Sampels' for trainer.callbacks: command line: did you mean Samples?",
    "--trainer.logger WandLogger": "no such Logger 'WandLogger' for trainer.logger: command line: did you mean WandbLogger?",
    "tiny2.yaml": "unknown argument 'tiny2.yaml': command line: keys are given as --KEY VALUE",
}  # fmt: skip


@pytest.mark.parametrize("flags, expected", FLAGS.items(), ids=FLAGS)
def test_a_flag(flags, expected, recipe):
    assert complaint("-c", "tiny.yaml", *flags.split()) == expected


FILES = {
    "": "not a recipe (no keys): tiny.yaml: a recipe has the keys data, model and trainer",
    "hello": "not a recipe (no keys): tiny.yaml: a recipe has the keys data, model and trainer",
    "class_path: Vocos": "not a recipe but the value of one slot: tiny.yaml: name it in a recipe, or as --KEY FILE",
    "trainer:\n  max_steps: [": "not YAML (expected the node content, but found '<stream end>'): tiny.yaml:2: correct the line",
}


@pytest.mark.parametrize("text, expected", FILES.items(), ids=["empty", "scalar", "slot", "syntax"])
def test_a_file_that_is_no_recipe(text, expected, recipe):
    recipe.write_text(text)
    assert complaint("-c", "tiny.yaml") == expected


@pytest.mark.parametrize(
    "name, remedy",
    [
        ("none.yaml", "check the path"),
        ("tinny.yaml", "did you mean tiny.yaml?"),
        ("quikstart.yaml", "did you mean recipes/quickstart.yaml or recipes/quickstart-tts.yaml?"),
        ("recipes/tinny.yaml", "did you mean recipes/tiny.yaml?"),
        ("recipes/hifigan_prematsh.yaml", "did you mean recipes/hifigan_prematch.yaml?"),
    ],
)
def test_no_such_recipe(name, remedy, recipe, capsys):
    """What is near in the folder named and in the package."""
    (recipe.parent / "recipes").mkdir()
    (recipe.parent / "recipes" / "tiny.yaml").write_text(recipe.read_text())
    assert main(["fit", "-c", name]) == 2
    assert capsys.readouterr().err == f"vocolab: error: no such recipe: {name}: {remedy}\n"


def test_no_recipe_at_all(work):
    assert complaint() == "no recipe: command line: give one with -c, as -c recipes/quickstart.yaml"


def test_the_door_prints_the_line_last(recipe, capsys):
    assert main(["prepare", "-c", str(recipe), "--data.wrokers", "3"]) == 2
    out, err = capsys.readouterr()
    assert (
        out == ""
        and err.splitlines()[-1]
        == "vocolab: error: unknown key data.wrokers: command line: did you mean --data.workers?"
    )
    assert "Traceback" not in err


def test_errors_of_parts_come_out_of_the_parsers_wrapping(recipe):
    """A part's constructor refuses: its own line, not the parser's page."""
    with pytest.raises(UsageError, match="^n_fft 1281 does not fit hop 320: Vocos: "):
        _ = Recipe(["-c", str(recipe), "--model.vocoder.n_fft", "1281"]).model
    wrapped = ValueError("page")
    wrapped.__cause__ = VocolabError("a")
    assert raised_by_a_part(wrapped) is wrapped.__cause__
    bug = ValueError("page")
    assert raised_by_a_part(bug) is bug
