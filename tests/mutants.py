"""After `mutmut run`: the changes to the code that no test noticed, less those that change nothing a CPU can show.

`tests/mutants.txt` holds what is known to change nothing, a line each: `file: old line => new line  # why`. The exit
status is 1 where a change is in neither.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files

KNOWN = Path("tests/mutants.txt")
# Arguments without which a CPU computes the same, and checks of our own that hold for every input.
SAME_ON_A_CPU = (
    (re.compile(r",? ?\bdevice=[^,)]*"), "the device, where the tests have only one"),
    (re.compile(r",? ?\bstrict=[^,)]*"), "zip over lists of equal length"),
    (re.compile(r"\.to\((None|\w+\.device)\)"), "the device, where the tests have only one"),
)


@dataclass
class Survivor:
    file: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.file}: {self.old} => {self.new}"

    @property
    def reason(self) -> str:
        """Why the change shows nowhere on a CPU; empty where nobody says so."""
        for pattern, reason in SAME_ON_A_CPU:
            if _plain(pattern.sub("", self.old)) == _plain(pattern.sub("", self.new)):
                return reason
        return ""


def _plain(line: str) -> str:
    return re.sub(r"[\s,]+", "", line)


def survivor(path: Path, name: str) -> Survivor:
    """The line of a mutant before and after."""
    lines = get_diff_for_mutant(name, path=path).splitlines()
    old = [line[1:].strip() for line in lines if line.startswith("-") and not line.startswith("---")]
    new = [line[1:].strip() for line in lines if line.startswith("+") and not line.startswith("+++")]
    return Survivor(str(path), " ".join(old), " ".join(new))


def known() -> set[str]:
    lines = KNOWN.read_text(encoding="utf-8").splitlines() if KNOWN.exists() else []
    return {line.rpartition("  # ")[0] for line in lines if "  # " in line}


def main() -> int:
    counts: dict[str, Counter[str]] = {}
    left, listed = [], known()
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        if data.exit_code_by_key:
            count = counts[str(path)] = Counter()
        for name, code in data.exit_code_by_key.items():
            status = status_by_exit_code[code]
            if status in ("survived", "no tests"):
                found = survivor(path, name)
                status = "changes nothing" if found.reason or str(found) in listed else "not noticed"
                left += [found] * (status == "not noticed")
            count["noticed" if status in ("killed", "timeout", "segfault", "suspicious") else status] += 1
    for found in left:
        print(found)
    columns = ("noticed", "changes nothing", "not noticed", "not checked")
    print(f"{'':40}", *(f"{column:>16}" for column in columns))
    for file, count in counts.items():
        print(f"{file.removeprefix('src/vocolab/'):40}", *(f"{count[column]:16}" for column in columns))
    total = sum(counts.values(), Counter())
    print(f"{'all':40}", *(f"{total[column]:16}" for column in columns))
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
