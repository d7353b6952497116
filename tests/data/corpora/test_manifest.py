"""Speech listed in a file: real speech of four languages, and whatever can be wrong with a list."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.data.parts import Loudness
from tests.data.speech import BUILTIN, manifest, samples
from vocolab.data.batches import TokenBudget
from vocolab.data.corpora import BuiltinSpeech, Corpus, Folder, Manifest, Utterance
from vocolab.data.module import SpeechDataModule
from vocolab.data.preparation.prepare import Preparation, prepare
from vocolab.data.shards.manifest import check_shards
from vocolab.encoders import Mel
from vocolab.errors import UsageError, VocolabError
from vocolab.text import Characters

ROOT = Path(__file__).parents[3]
VOICES = {"1002": "fr", "1003": "it", "1004": "ru", "3001": "en"}
A, B = '{"path": "a.wav", "speaker": "ann"}\n', '{"path": "b.wav", "speaker": "bob"}\n'


@pytest.fixture(scope="module")
def speech() -> list[dict[str, str]]:
    """Rows of the built-in speech: three utterances of each of four languages, each voice's last held out."""
    utterances = [u for us in BuiltinSpeech(val=[]).splits().values() for u in us]
    rows = []
    for voice, language in VOICES.items():
        for n, u in enumerate([u for u in utterances if u.speaker == voice][:3]):
            about = {"path": u.source, "speaker": voice, "text": u.text, "language": language}
            rows.append(about | {"key": f"{language}-{n}", "split": "val" if n == 2 else "train"})
    return rows


def without(rows: list[dict[str, str]], *columns: str) -> list[dict[str, str]]:
    return [{column: value for column, value in row.items() if column not in columns} for row in rows]


def write_json(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_tsv(path: Path, rows: list[dict[str, str]]) -> Path:
    lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def flat(corpus: Corpus) -> dict[str, tuple[str, Utterance]]:
    """Every utterance by key, with its split."""
    return {u.key: (split, u) for split, us in corpus.splits().items() for u in us}


def test_rows_become_utterances_and_both_formats_say_the_same(tmp_path, speech):
    lines = Manifest(write_json(tmp_path / "a.jsonl", speech), root=BUILTIN).splits()
    table = Manifest(str(write_tsv(tmp_path / "a.tsv", speech)), root=str(BUILTIN)).splits()
    assert lines == table
    assert {split: len(us) for split, us in lines.items()} == {"train": 8, "val": 4}
    assert all([u.key for u in us] == sorted(u.key for u in us) for us in lines.values())
    row, utterance = speech[3], next(u for u in lines["train"] if u.key == "it-0")
    assert utterance == Utterance(
        "it-0", BUILTIN / row["path"], row["path"], "1003", text=row["text"], language="it"
    ) and utterance.path.is_file()  # fmt: skip


def test_paths_are_relative_to_the_manifest_or_absolute(tmp_path, speech):
    for name in ("in/s/a b.opus", "elsewhere/c.opus"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(BUILTIN / speech[0]["path"], tmp_path / name)
    paths = ["./s/a b.opus", str(tmp_path / "elsewhere/c.opus")]
    file = write_json(tmp_path / "in/list.jsonl", [{"path": path, "speaker": 7} for path in paths])
    first, second = sorted(Manifest(file, val=0).splits()["train"], key=lambda u: u.source, reverse=True)
    assert (first.source, second.source) == ("s/a b.opus", (tmp_path / "elsewhere/c.opus").as_posix())
    assert first.path.is_file() and second.path.is_file() and first.speaker == "7"
    assert all(re.fullmatch("[A-Za-z0-9_-]{1,90}", u.key) for u in (first, second))
    assert (first.text, first.language) == (None, "")
    moved = write_json(tmp_path / "list.jsonl", [{"path": str(tmp_path / "in/s/a b.opus"), "speaker": 7}])
    assert Manifest(moved, root=tmp_path / "in", val=0).splits()["train"] == [first]  # absolute, but under the root


def test_keys_and_the_held_out_are_those_of_a_folder(tmp_path, speech_folder):
    sources = sorted(path.relative_to(speech_folder).as_posix() for path in speech_folder.rglob("*.opus"))
    rows = [{"path": source, "speaker": source.partition("/")[0]} for source in sources]
    file = write_tsv(tmp_path / "list.tsv", rows)
    assert Manifest(file, root=speech_folder).splits() == Folder(speech_folder).splits()
    for held in ({"val": 0.3, "test": 0.2}, {"val": ["*-0003"], "test": [sources[0]]}):
        assert Manifest(file, speech_folder, **held).splits() == Folder(speech_folder, **held).splits()


@pytest.mark.parametrize("write", [write_json, write_tsv])
def test_odd_but_good_files(tmp_path, speech, write):
    """A byte order mark, the line ends of Windows, blank lines, quotes, spaces, and a line separator within a text."""
    rows = [row | {"text": f' "so"\u2028she   said{n} '} for n, row in enumerate(speech)]
    rows[0]["text"] = ""
    file = write(tmp_path / "list", rows)
    text = file.read_text(encoding="utf-8").replace("\n", "\r\n\r\n")
    file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    found = flat(Manifest(file, root=BUILTIN))
    assert found["fr-0"][1].text is None and found["fr-1"][1].text == '"so" she said1'
    assert len(found) == len(rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "manifest without rows: {file}: give it one row"),
        ("path\tspeaker\n", "manifest without rows"),
        (A + "\n" + '{"speaker": "ann"}', "row without path: {file}:3: every row names its path and speaker"),
        (A + '{"path": "b.wav", "speaker": " "}', "row without speaker: {file}:2"),
        ("path\tspeaker\na.wav\t", "row without speaker: {file}:2"),
        ("path\ttext\na.wav\thello", "no column 'speaker': {file}:1: the first line names"),
        ("path,speaker\na.wav,ann", "neither JSON nor a header of TSV: {file}:1: begin with .*separated by tabs"),
        ("path\tspeeker\na.wav\tann", "unknown column 'speeker': {file}:1: did you mean speaker[?]"),
        ("path\tspeaker\tset\na.wav\tann\ttest", "unknown column 'set': {file}:1: .*columns are path speaker text"),
        (A + '{"path": "b.wav", "speaker": "b", "lang": "de"}', "'lang': {file}:2: did you mean language[?]"),
        ("path\tspeaker\tpath\na.wav\tann\tb.wav", "a column is named twice: {file}:1"),
        ("path\tspeaker\ttext\na.wav\tann\tone\nb.wav\tann", "2 values, expected 3: {file}:3: give a value for each"),
        (A + '{"path": "b.wav", "speaker" "b"}', "invalid JSON .*delimiter, column 29.: {file}:2: give one object a"),
        ("[" + A.strip() + "]", "not a JSON object: {file}:1: give one object a line"),
        ("[" * 100_000, "invalid JSON"),
        (A + '{"path": ["b.wav"], "speaker": "b"}', 'path is \\["b.wav"\\]: {file}:2: give a string'),
        ('{"path": "a.wav", "speaker": "ann", "text": "\\ud800"}', "text holds half a surrogate pair .*{file}:1"),
        (A.encode() + b'{"path": "\xe4.wav"}', "not UTF-8 .byte 0xe4.: {file}:2: save it as UTF-8"),
        ('{"path": "a.wav", "speaker": "ann", "key": "a/b"}', "key 'a/b': {file}:1: keys are up to 90 letters"),
        ("path\tspeaker\tkey\na.wav\ta\tx\nb.wav\tb\tx", "key 'x' stands in line 2 too: {file}:3: give each row its"),
        ("path\tspeaker\tkey\na.wav\ta\tx\nb.wav\tb\t", "row without key, while others have one: {file}:3"),
        (A + B + '{"path": "./a.wav", "speaker": "b"}', "path 'a.wav' stands in line 1 too: {file}:3: list each"),
        ("path\tspeaker\tsplit\na.wav\tann\tvalid", "unknown split 'valid': {file}:2: choose from train val test"),
        ("path\tspeaker\tsplit\na.wav\tann\ttrain\nb.wav\tb\t", "row without split, while others have one: {file}:3"),
        (
            A + '{"path": "c.wav", "speaker": "c"}\n{"path": "d.wav", "speaker": "d"}',
            "no such audio file '.*/c.wav' and 1 more: {file}:2: .*--data.corpus.root",
        ),
        ('{"path": "/no/such.wav", "speaker": "ann"}', "no such audio file '/no/such.wav': {file}:1: correct the path"),
    ],
    ids=lambda value: value[:40],
)
def test_what_is_wrong_is_one_line_that_names_the_line(tmp_path, text, message):
    for name in ("a.wav", "b.wav"):
        shutil.copy(BUILTIN / "synth/3001/10/3001-10-0000.opus", tmp_path / name)
    file = tmp_path / "list"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(VocolabError, match=message.format(file=re.escape(str(file)))) as error:
        Manifest(file, val=0).splits()
    assert "\n" not in str(error.value)


def test_a_missing_manifest_is_named(tmp_path):
    for corpus in (Manifest(tmp_path / "no.tsv"), Manifest(tmp_path)):
        for look in (corpus.splits, corpus.spec):
            with pytest.raises(VocolabError, match=f"manifest.*{re.escape(str(corpus.path))}.*--data.corpus.path"):
                look()


def test_splits_are_named_by_the_rows_or_by_the_arguments_but_not_by_both(tmp_path, speech):
    file = write_json(tmp_path / "list.jsonl", [row | {"split": "test"} for row in speech])
    assert set(Manifest(file, BUILTIN).splits()) == {"test"}
    for options in ({"val": 0.1}, {"test": ["fr-*"]}):
        with pytest.raises(UsageError, match="but the rows name their splits: .*list.jsonl: set --data.corpus"):
            Manifest(file, BUILTIN, **options).splits()
    file = write_json(tmp_path / "list.jsonl", without(speech, "split"))
    assert {s: len(us) for s, us in Manifest(file, BUILTIN).splits().items()} == {"train": 11, "val": 1}


def test_the_shards_are_known_by_what_the_manifest_holds_and_not_by_where_it_lies(tmp_path, speech):
    rows = without(speech, "text")
    for place in ("one", "other"):
        for row in rows[:4]:
            (tmp_path / place / row["path"]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(BUILTIN / row["path"], tmp_path / place / row["path"])
        write_json(tmp_path / place / f"{place}.jsonl", rows[:4])
    one, other = (Preparation(Manifest(tmp_path / p / f"{p}.jsonl"), Mel()) for p in ("one", "other"))
    shards = prepare(one, tmp_path / "shards", workers=1, progress=False)
    check_shards(shards, other.spec())  # moved
    assert one.spec_hash != other.spec_hash  # as for a folder, the default place of shards follows the corpus'
    before = one.spec_hash
    write_json(tmp_path / "one/one.jsonl", [row | {"speaker": "x"} for row in rows[:4]])
    assert one.spec_hash != before
    with pytest.raises(VocolabError, match="shards of another preparation: corpus.manifest"):
        prepare(one, shards, workers=1, progress=False)


def test_from_a_manifest_to_batches_of_several_languages(tmp_path, speech):
    """An utterance without text is left out; the others' texts and languages are those of their rows."""
    rows = [row | {"text": ""} if row["key"] == "ru-0" else row for row in speech]
    corpus = Manifest(write_tsv(tmp_path / "list.tsv", rows), root=BUILTIN)
    module = SpeechDataModule(
        corpus,
        codec=Loudness(),
        text=Characters(),
        batches=TokenBudget(3000, prompt_seconds=0.5),
        shards=str(tmp_path / "shards"),
    )
    shards = module.prepare(workers=1)
    source = next(row["path"] for row in rows if row["key"] == "ru-0")
    assert manifest(shards)["skipped"] == [{"path": source, "reason": "no text"}]
    assert module.symbol_map().languages == ["en", "fr", "it", "ru"]
    stored = samples(shards, "train") | samples(shards, "val")
    assert set(stored) == {row["key"] for row in rows} - {"ru-0"}
    for row in rows:
        if row["key"] in stored:
            about = stored[row["key"]]["json"]
            assert all(about[name] == row[name] for name in ("speaker", "text", "language"))
            assert about["source"] == row["path"]
            assert "".join(about["phonemes"]) == row["text"].lower()
    batch = next(iter(module.val_dataloader())).unpacked()
    named = [module.symbol_map().languages[n] for n in batch.language.tolist()]
    assert named == [key.partition("-")[0] for key in batch.keys]


@pytest.mark.parametrize("corpus", [str(ROOT / "configs/corpus/manifest.yaml"), "Manifest"])
def test_a_recipe_takes_it_by_its_file_and_by_its_bare_name(tmp_path, speech, corpus):
    from vocolab.recipe import Recipe

    file = write_json(tmp_path / "list.jsonl", [row | {"path": str(BUILTIN / row["path"])} for row in speech])
    arguments = ["-c", str(ROOT / "recipes/valle_retnet.yaml"), "--data.corpus", corpus]
    arguments += ["--data.corpus.path", str(file)]
    if corpus == "Manifest":  # what LibriTTS has of the same name stays, but where others are given
        arguments += ["--data.corpus.root", "null", "--data.corpus.val", "null", "--data.corpus.test", "null"]
    init_args = Recipe(arguments).config.data.corpus.init_args
    assert init_args.as_dict() == {"path": str(file), "root": None, "val": None, "test": None}
    assert len(flat(Manifest(**init_args))) == len(speech)


def test_the_examples_of_the_page_are_read_alike(tmp_path):
    page = (ROOT / "docs/folder.md").read_text()
    speech = BUILTIN / "synth/3001/10/3001-10-0000.opus"
    found = []
    for kind in ("tsv", "json"):
        block = re.search(rf"```{kind}\n(.*?)```", page, re.S)[1].replace("/data/bob", str(tmp_path / "bob"))
        (tmp_path / f"list.{kind}").write_text(block)
        for path in re.findall(r"[\w/.-]+\.(?:wav|flac)", block):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(speech, tmp_path / path)
        found.append(Manifest(tmp_path / f"list.{kind}").splits())
    assert found[0] == found[1] and {split: len(us) for split, us in found[0].items()} == {"train": 2, "val": 1}
    assert found[0]["train"][1].language == "de" and found[0]["train"][1].text == "Guten Morgen."
