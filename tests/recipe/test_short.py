"""Callbacks in short."""

from __future__ import annotations

from pathlib import Path

import pytest

from vocolab.errors import UsageError
from vocolab.recipe import Recipe
from vocolab.recipe.short import written_out


def test_what_is_in_short():
    first = {"class_path": "Evaluate", "init_args": {"metrics": ["stoi", "cer"]}}
    named = {"class_path": "Samples", "init_args": {"count": 3}}
    found = written_out({"callbacks": [{"Evaluate": ["stoi", "cer"]}, {"Samples": {"count": 3}}, {"Samples": 3}]})
    assert found == {"callbacks": [first, named, named]}
    assert written_out([{"Timing": None}, "EMA"]) == [{"class_path": "Timing"}, "EMA"]
    for other in ({"EarlyStopping": 3}, {"Evaluate": ["stoi"], "Samples": 3}, named):
        assert written_out(other) == other


def test_in_a_recipe_and_by_a_flag(recipe):
    Path("over.yaml").write_text("trainer:\n  callbacks+:\n    - Evaluate: [stoi, cer]\n")
    flag = "--trainer.callbacks+={Evaluate: {metrics: [stoi], count: 4}}"
    config = Recipe(["-c", str(recipe), "-c", "over.yaml", flag]).config
    *_, one, other = config.trainer.callbacks
    assert one.class_path == other.class_path == "vocolab.callbacks.Evaluate"
    assert (one.init_args.metrics, one.init_args.count) == (["stoi", "cer"], 20)
    assert (other.init_args.metrics, other.init_args.count) == (["stoi"], 4)


@pytest.mark.parametrize(
    "short, complaint",
    [
        ("Evaluate: {metrik: [stoi]}", "metrik"),
        ("Evaluate: 3", "metrics"),
        ("Evaluate:", "metrics"),
        ("Evaluate: {metrics: [stoi], count: many}", "count"),
        ("Timing: 3", "Timing"),
        ("Evaluat: [stoi]", "Evaluat"),
    ],
)
def test_mistakes_are_one_line(recipe, short, complaint):
    Path("over.yaml").write_text(f"trainer:\n  callbacks:\n    - {short}\n")
    with pytest.raises(UsageError) as error:
        Recipe(["-c", str(recipe), "-c", "over.yaml"])
    print(error.value)
    assert complaint in str(error.value) and "over.yaml" in str(error.value) and "\n" not in str(error.value)
