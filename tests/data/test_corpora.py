"""Corpora: which files are found, under which keys and speakers, and what is held out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.data.speech import librispeech
from vocolab.data import corpora
from vocolab.data.corpora import BuiltinSpeech, Folder, LibriSpeech, LibriTTS, Manifest
from vocolab.data.corpora.listing import clean_key
from vocolab.errors import UsageError, VocolabError

CONFIGS = Path(__file__).parents[2] / "configs" / "corpus"


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def keys(corpus) -> dict[str, list[str]]:
    splits = corpus.splits()
    for utterances in splits.values():
        names = [u.key for u in utterances]
        assert len(set(names)) == len(names)
        assert names == sorted(names)
        assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,90}", name) for name in names)
    return {split: [u.key for u in utterances] for split, utterances in splits.items()}


def test_librispeech_layout_found_under_root_and_under_librispeech(tmp_path):
    librispeech(tmp_path, speakers=2, each=3, dev=2)
    found = LibriSpeech(tmp_path).splits()
    assert {split: len(us) for split, us in found.items()} == {"train": 6, "val": 2}
    assert keys(LibriSpeech(tmp_path / "LibriSpeech")) == keys(LibriSpeech(str(tmp_path)))
    first = found["train"][0]
    assert (first.key, first.speaker, first.chapter) == ("3001-10-0000", "3001", "10")
    assert first.source == "train-clean-100/3001/10/3001-10-0000.opus"
    assert first.text.startswith("THE OLD LIGHTHOUSE KEEPER")
    assert first.path.is_file()


def test_librispeech_reads_other_formats_and_odd_names(tmp_path):
    folder = "train-clean-100/7/1"
    touch(
        tmp_path, f"{folder}/7-1-0000.flac", f"{folder}/7-1-0001.WAV", f"{folder}/take.1.mp3", f"{folder}/.hidden.wav"
    )
    touch(tmp_path, "train-clean-100/7/2/take.1.mp3", f"{folder}/notes.txt")
    (tmp_path / folder / "7-1.trans.txt").write_text("7-1-0000 HELLO\ntake.1 WITH A DOT\n")
    corpus = LibriSpeech(tmp_path, val=())
    assert keys(corpus)["train"][:2] == ["7-1-0000", "7-1-0001"]
    assert len(keys(corpus)["train"]) == 4
    texts = {u.source.rpartition("/")[2]: u.text for u in corpus.splits()["train"] if u.chapter == "1"}
    assert texts == {"7-1-0000.flac": "HELLO", "7-1-0001.WAV": None, "take.1.mp3": "WITH A DOT"}


@pytest.mark.parametrize("prepare", [lambda root: None, lambda root: (root / "train-clean-100").mkdir()])
def test_librispeech_without_files_says_where_and_what_to_do(tmp_path, prepare):
    prepare(tmp_path)
    with pytest.raises(VocolabError) as error:
        LibriSpeech(tmp_path).splits()
    assert str(tmp_path) in str(error.value)
    assert "--data.corpus.root" in str(error.value)
    assert "\n" not in str(error.value)


def test_librispeech_subset_named_twice_is_refused(tmp_path):
    with pytest.raises(UsageError, match="twice"):
        LibriSpeech(tmp_path, train=["dev-clean"]).splits()


def test_spec_says_where_the_corpus_lies_but_not_how_it_came(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = LibriSpeech("data", download=True).spec()
    assert spec["init_args"] == {
        "root": str(tmp_path / "data"), "train": ["train-clean-100"], "val": ["dev-clean"], "test": []
    }  # fmt: skip
    assert spec == LibriSpeech("data").spec()


def test_folder_speaker_is_the_parent_folder(tmp_path):
    touch(tmp_path, "ann/a.wav", "ann/b.wav", "bob/s.1/a.wav", "top.wav")
    speakers = {u.source: u.speaker for us in Folder(tmp_path, val=0).splits().values() for u in us}
    assert speakers == {"ann/a.wav": "ann", "ann/b.wav": "ann", "bob/s.1/a.wav": "bob/s.1", "top.wav": tmp_path.name}


def test_folder_speaker_by_regex(tmp_path):
    touch(tmp_path, "x/ann_1.wav", "y/ann_2.wav", "y/bob_1.wav")
    speakers = {u.key: u.speaker for u in Folder(tmp_path, speaker=r"([a-z]+)_\d+\.wav$", val=0).splits()["train"]}
    assert speakers == {"x-ann_1": "ann", "y-ann_2": "ann", "y-bob_1": "bob"}
    for pattern, message in {"(": "no regular expression", "a": "0 groups", "(q)": "does not match"}.items():
        with pytest.raises(VocolabError, match=message):
            Folder(tmp_path, speaker=pattern).splits()


def test_folder_keys_survive_any_name(tmp_path):
    names = ["a/take.1.wav", "b/take.1.wav", "a/take-1.wav", "a/take.1.flac", "a/ü ber.wav", "a/b c.wav", "a-b/c.wav"]
    names += [
        "a/b-c.wav",
        "a/b/c.wav",
        "a/" + "x" * 150 + ".wav",
        "a/" + "x" * 151 + ".wav",
        "a/日本.wav",
        "a/中国.wav",
    ]
    touch(tmp_path, *names)
    found = keys(Folder(tmp_path, val=0))["train"]
    assert len(found) == len(names)
    assert clean_key("a/b/c.wav") == "a-b-c"
    kept = {u.source: u.key for u in Folder(tmp_path, val=0).splits()["train"]}
    touch(tmp_path, "a/later.wav", "z.wav")
    again = {u.source: u.key for u in Folder(tmp_path, val=0).splits()["train"]}
    assert {source: again[source] for source in kept} == kept


def test_folder_transcript_beside_the_file_wins(tmp_path):
    touch(tmp_path, "s/a.1.wav", "s/b.wav", "s/c.wav")
    (tmp_path / "s/a.1.txt").write_text("from a file\n")
    (tmp_path / "s/s.trans.txt").write_text("a.1 from the list\nb also from the list\n")
    texts = [u.text for u in sorted(Folder(tmp_path, val=0).splits()["train"], key=lambda u: u.source)]
    assert texts == ["from a file", "also from the list", None]


def test_folder_holds_out_a_fraction_the_same_way_each_time(tmp_path):
    touch(tmp_path, *(f"s{i % 4}/{i}.wav" for i in range(100)))
    first, second = keys(Folder(tmp_path, val=0.1, test=0.05)), keys(Folder(tmp_path, val=0.1, test=0.05))
    assert first == second
    assert {split: len(names) for split, names in first.items()} == {"train": 85, "val": 10, "test": 5}
    assert not set(first["train"]) & (set(first["val"]) | set(first["test"]))
    touch(tmp_path / "few", "a.wav", "b.wav", "c.wav")
    assert {s: len(k) for s, k in keys(Folder(tmp_path / "few", val=0.01)).items()} == {"train": 2, "val": 1}
    with pytest.raises(UsageError, match="fraction"):
        Folder(tmp_path, val=1.5).splits()


def test_folder_holds_out_a_list(tmp_path):
    touch(tmp_path, "s/a.wav", "s/b.wav", "t/a.wav", "t/c.wav")
    found = keys(Folder(tmp_path, val=["s-a", "t/c.wav"], test=["b"]))
    assert found == {"train": ["t-a"], "val": ["s-a", "t-c"], "test": ["s-b"]}
    with pytest.raises(UsageError, match="'nobody'"):
        Folder(tmp_path, val=["nobody"]).splits()


def test_empty_folder_is_named(tmp_path):
    with pytest.raises(VocolabError, match=f"no audio files.*{tmp_path}.*--data.corpus.root"):
        Folder(touch(tmp_path, "readme.md")).splits()


def test_builtin_speech():
    splits = BuiltinSpeech().splits()
    assert {split: len(us) for split, us in splits.items()} == {"train": 393, "val": 32}
    everything = {u.key: u for us in splits.values() for u in us}
    assert len(everything) == 425
    assert len({u.speaker for u in everything.values()}) == 14
    assert everything["1001-10-0001"].language == "en"
    assert {everything[f"{s}-{c}-0005"].language for s, c in ((1002, 30), (1003, 40), (1004, 50))} == {"fr", "it", "ru"}
    assert everything["3004-10-0001"].text == "A NARROW PATH WOUND THROUGH THE ORCHARD AND DOWN TO THE QUIET RIVER"
    assert all(u.text for u in everything.values())


def test_builtin_speech_holds_out_each_sentence_once_and_every_speaker():
    val = BuiltinSpeech().splits()["val"]
    synthetic = [u for u in val if u.speaker.startswith("30")]
    assert sorted(u.key.rpartition("-")[2] for u in synthetic) == [f"{n:04d}" for n in range(20)]
    assert len({u.speaker for u in val}) == 14


def test_builtin_speech_takes_patterns():
    splits = BuiltinSpeech(val=["*-10-0003"], test=["1004-*"]).splits()
    assert {u.key for u in splits["val"] if u.speaker > "3"} == {f"{3001 + i}-10-0003" for i in range(10)}
    assert {u.speaker for u in splits["test"]} == {"1004"}
    with pytest.raises(UsageError, match="9999"):
        BuiltinSpeech(val=["9999-*"]).splits()


def test_the_builtin_yaml_spells_out_the_default():
    config = yaml.safe_load((CONFIGS / "builtin.yaml").read_text())
    assert config["init_args"] == {"val": BuiltinSpeech().val, "test": []}


def test_yaml_files_build(tmp_path, monkeypatch):
    monkeypatch.chdir(touch(tmp_path, "data/manifest.jsonl"))
    for path in CONFIGS.glob("*.yaml"):
        config = yaml.safe_load(path.read_text())
        assert getattr(corpora, config["class_path"])(**config.get("init_args", {})).spec()


@pytest.mark.parametrize("name", ["a.txt", "all.trans.txt", "a.normalized.txt"])
def test_transcripts_that_are_not_utf8_are_refused(tmp_path, name):
    folder = touch(tmp_path, "train-clean-100/1/2/a.wav") / "train-clean-100/1/2"
    (folder / name).write_bytes("b nothing\na Un caf\u00e9".encode("latin1"))
    corpus = LibriTTS(tmp_path, train=["train-clean-100"], val=()) if "normal" in name else Folder(tmp_path)
    with pytest.raises(VocolabError, match=rf"not UTF-8 .*{name}:2: .*iconv"):
        corpus.splits()


def test_transcripts_are_cut_at_newlines_alone(tmp_path):
    folder = touch(tmp_path, "a/x.wav", "a/y.wav", "a/z.wav") / "a"
    (folder / "all.trans.txt").write_text("x one\u2028two\x85three\r\n\ny\tfour  five\n", encoding="utf-8")
    (folder / "z.txt").write_text("six\u2028\nseven ", encoding="utf-8")
    texts = [u.text for u in Folder(tmp_path, val=0.0).splits()["train"]]
    assert texts == ["one two three", "four five", "six seven"]


def test_training_keeps_an_utterance_whatever_share_is_held_out(tmp_path):
    touch(tmp_path, *(f"s/{n}.wav" for n in range(3)))
    assert {s: len(us) for s, us in Folder(tmp_path, val=0.999).splits().items()} == {"train": 1, "val": 2}


def test_names_held_out_twice_go_to_the_test_and_letters_keep_their_case(tmp_path):
    touch(tmp_path, "s/a1.wav", "s/a2.wav", "s/b.wav")
    assert keys(Folder(tmp_path, val=["a*"], test=["a1"])) == {"train": ["s-b"], "val": ["s-a2"], "test": ["s-a1"]}
    with pytest.raises(UsageError, match="no utterance matches 'A[*]'"):
        Folder(tmp_path, val=["A*"]).splits()


def test_a_link_back_to_a_folder_above_is_followed_once(tmp_path):
    touch(tmp_path, "s/a.wav")
    (tmp_path / "s/loop").symlink_to(tmp_path)
    assert [u.source for u in Folder(tmp_path, val=0.0).splits()["train"]] == ["s/a.wav"]


def test_long_keys_are_cut_and_told_apart_by_a_hash():
    assert clean_key("a" * 60 + ".wav") == "a" * 60
    assert re.fullmatch("a{60}-[0-9a-f]{10}", clean_key("a" * 61 + ".wav"))


def test_a_manifest_holds_out_one_in_twenty(tmp_path):
    touch(tmp_path, *(f"{n}.wav" for n in range(100)))
    (tmp_path / "list.tsv").write_text("path\tspeaker\n" + "".join(f"{n}.wav\ts\n" for n in range(100)))
    assert {s: len(us) for s, us in Manifest(tmp_path / "list.tsv").splits().items()} == {"train": 95, "val": 5}
