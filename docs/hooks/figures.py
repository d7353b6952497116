"""The figures of benchmarks/results as tables: all of them, and those that were measured with a recipe."""

from __future__ import annotations

import ast
import json
import re
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
HIFIGAN = ["vocoder:hifigan_wavlm", "vocoder_rtf:hifigan_v1:*", "update"]
WAVLM = ["prepare", "loader*", "encode:*", "convert:*"]
# Of which recipes a figure says something. A pattern may end in `*`.
OF_RECIPE = {
    "quickstart": ["quickstart_quality:*"],
    "converter": ["converter_quality:*", "vocoder_rtf:vocos:*"],
    "quickstart-tts": ["quickstart_tts_quality:*", "tts_stream:*", "padding:BUILTIN*"],
    "quickstart-tts-aligned": ["quickstart_tts_quality:*"],
    "quickstart-tts-medusa": ["draft*"],
    "hifigan_prematch": [*HIFIGAN, *WAVLM],
    "hifigan_plain": [*HIFIGAN, *WAVLM],
    "hifigan_layers": [*HIFIGAN, "loader*"],
    "hifigan_finetune": [*HIFIGAN, *WAVLM],
    "hifigan_mel": ["vocoder:hifigan_mel", "vocoder:hifigan_transformers", "update"],
    "vocos_prematch": ["vocoder:istft", "vocoder_rtf:vocos:*", *WAVLM],
    "valle_transformer": ["decode*:transformer", "padding:LIBRITTS"],
    "valle_retnet": ["decode*:retnet", "retention", "chunks*", "length:retnet*", "padding:LIBRITTS"],
    "valle_llama": ["decode*:llama", "decode_vs_transformers", "padding:LIBRITTS"],
    "valle_llama_window": ["length:full*", "length:llama_window*"],
    "valle_mixtral": ["decode*:mixtral", "padding:LIBRITTS"],
    "valle_bitnet": ["decode*:bitnet*", "padding:LIBRITTS"],
}
PARTS = "These figures are of its parts, not of a training with it."
# Whose trained models were measured.
WHOLE = {"quickstart", "quickstart-tts", "quickstart-tts-aligned", "quickstart-tts-medusa", "converter"}
NONE = "No figure was measured with this recipe: its corpus, its weights or a GPU for long enough were not at hand."
MANY = 24  # rows; a longer table is folded


@cache
def results() -> dict[str, list[dict[str, Any]]]:
    """The records of each file of results."""
    found = {}
    for path in sorted((BENCHMARKS / "results").glob("*.json")):
        records = json.loads(path.read_text())
        found[path.stem] = records if isinstance(records, list) else [records]
    return found


def of_recipe(name: str) -> str:
    """What was measured with a recipe, as Markdown."""
    patterns = OF_RECIPE.get(name, [])
    records = [r for records in results().values() for r in records if any(fnmatch(r["name"], p) for p in patterns)]
    if not records:
        return NONE
    scripts = dict.fromkeys(record["name"].split(":")[0] for record in records)
    said = [f"- `{script}`: {_said(script)}" for script in scripts if (BENCHMARKS / f"{script}.py").exists()]
    return "\n\n".join([*([] if name in WHOLE else [PARTS]), _table(records), "\n".join(said)])


def everything() -> str:
    """All results, a section a file, each with what its script says of itself."""
    sections = []
    for stem, records in results().items():
        table = _table(records)
        if len(records) > MANY:
            table = f'??? note "{len(records)} figures"\n\n    ' + table.replace("\n", "\n    ")
        sections.append(f"### {stem}\n\n{_said(stem.split('.')[0])}\n\n{table}")
    return "\n\n".join(sections)


def _said(script: str) -> str:
    """The first paragraph of what a benchmark says of itself."""
    text = ast.get_docstring(ast.parse((BENCHMARKS / f"{script}.py").read_text())) or ""
    return re.sub(r"[:;,]$", ".", text.split("\n\n")[0].replace("\n", " "))


def _table(records: list[dict[str, Any]]) -> str:
    """A row a figure; beneath it the machines and dates."""
    sided = any(r["baseline"] is not None for r in records)
    lines = ["| figure | ours | against | ratio | unit |", "|---|---|---|---|---|"]
    if not sided:
        lines = ["| figure | value | unit |", "|---|---|---|"]
    for r in records:
        cells = [f"`{r['name']}`", _number(r["ours"])]
        cells += [_number(r["baseline"]), f"{r['ratio']:.2f}×" if r["ratio"] else "–"] if sided else []
        lines.append(f"| {' | '.join([*cells, str(r['unit'])])} |")
    where = "; ".join(dict.fromkeys(f"{_plain(r['machine'])}, {r['date']}" for r in records))
    return "\n".join(lines) + f"\n\n{where}."


def _plain(machine: str) -> str:
    return machine.replace("(R)", "").replace(", Linux", "").replace(" Processor", "")


def _number(value: float | None) -> str:
    """Three figures that count: 0.868, 6.75, 26,900,000."""
    if value is None:
        return "–"
    if value == 0 or float(value).is_integer() and abs(value) < 1e4:
        return f"{value:.0f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
