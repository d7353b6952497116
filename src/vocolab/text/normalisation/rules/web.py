"""Addresses of the web and of mail, hashtags and names of accounts."""

from __future__ import annotations

import re

from vocolab.text.normalisation.words import Words

_PARTS = re.compile(r"\d+|[^\W\d_]+|[^\w\s]|_")
_HOST = r"(?:[\w-]+\.)+"
# Top-level domains that count without http:// or www. before them: others look like a missing space.
_KNOWN = "com|org|net|edu|gov|io|ai|dev|info|app|de|fr|es|it|ru|uk|eu|nl|pl|pt|ch|at|cn|jp|kr|br"


def mails(text: str, words: Words) -> str:
    if "@" not in words.spelling.signs:
        return text
    return re.sub(rf"(?<![\w.+-])[\w.+-]+@{_HOST}[^\W\d_]{{2,}}", lambda m: _spelt(m[0], words), text)


def addresses(text: str, words: Words) -> str:
    """What stands before the host (https://) is not said."""
    if "dot" not in words.spelling.signs:
        return text
    tail = r"(?::\d+)?(?:[/?#][^\s<>\"”»]*)?"
    known = rf"(?:https?://|ftp://)[^\s<>\"”»]+|www\.[^\s<>\"”»]+|(?<![\w@.]){_HOST}(?:{_KNOWN})(?!\w){tail}"

    def say(m: re.Match[str]) -> str:
        address = m[0].rstrip(".,;:!?)]}'")
        bare = re.sub(r"^\w+://", "", address).rstrip("/")
        return (_spelt(bare, words) if bare else address) + m[0][len(address) :]

    return re.sub(known, say, text)


def tags(text: str, words: Words) -> str:
    """#ThisIsIt and @someone; a number behind # is left to the rules of numbers."""
    signs = words.spelling.signs
    if "hashtag" in signs:
        text = re.sub(r"(?<!\w)#(?=\w*[^\W\d_])(\w+)", lambda m: f"{signs['hashtag']} {_apart(m[1])}", text)
    if "@" in signs:
        text = re.sub(r"(?<!\w)@(\w+)", lambda m: f"{signs['@']} {_apart(m[1])}", text)
    return text


def _apart(name: str) -> str:
    """The words of a name: ThisIsIt, this_is_it."""
    return " ".join(
        re.sub(r"(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])", " ", part)
        for part in name.split("_")
        if part
    )


def _spelt(address: str, words: Words) -> str:
    """The words of an address, its marks by name, its numbers digit by digit; www letter by letter."""
    signs, said = words.spelling.signs, []
    for part in _PARTS.findall(address):
        if part.isdecimal():
            said.append(words.digits(part))
        elif part.lower() == "www":
            said.append(" ".join(part))
        elif part == ".":
            said.append(signs["dot"])
        else:
            said.append(signs.get(part, part))
    return " ".join(said)
