"""``kvd audit verify``: what an audit log's chain comes to, in words and as an object."""

import re
from pathlib import Path
from typing import NamedTuple

from kvd.config import ConfigError
from kvd.sinks import chain

UNSEEN = "an end that was cut off would not show: compare with a digest kept elsewhere (--head; kvd logs audit.head)"


class Judged(NamedTuple):
    """A log and the verdict on it; `head` is the digest that was asked for."""

    file: Path
    head: str | None
    verdict: chain.Verdict

    @property
    def whole(self) -> bool:
        """Nothing was changed, as far as can be told."""
        return self.verdict.change is None

    def json(self) -> dict[str, object]:
        """As an object; `line` counts the lines of the file, `lines` those that follow each other before it."""
        change, head = self.verdict.change, self.verdict.head
        told = {} if change is None else {"line": change.line, "why": change.why}
        asked = {} if self.head is None else {"head_found_at": self.verdict.found}
        return {
            "file": str(self.file),
            "whole": self.whole,
            "lines": head.number,
            "head": head.digest,
            "torn": list(self.verdict.torn),
            **told,
            **asked,
        }

    def words(self) -> str:
        """As people read it."""
        head = self.verdict.head
        if self.verdict.change is not None:
            line, why = self.verdict.change
            return f"{self.file}: CHANGED: line {line} {why}; {head.number:,} lines before it follow each other"
        torn = "".join(f"; line {line} was torn by a crash, and noted as such" for line in self.verdict.torn)
        end = UNSEEN if self.head is None else f"the digest asked for is that of number {self.verdict.found}"
        return f"{self.file}: {head.number:,} lines, none changed{torn}\nhead {head.digest}\n{end}"


def verdict(file: Path, head: str | None) -> Judged:
    """Go through the log in `file`. Raises ConfigError if it cannot be read or `head` is no digest."""
    if head is not None and not re.fullmatch("[0-9a-f]{64}", head):
        raise ConfigError("--head takes a SHA-256 as kvd logs it in audit.head: 64 digits from 0 to f")
    try:
        with file.open("rb") as lines:
            return Judged(file, head, chain.verify(lines, head))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}; name the file that audit.path names") from None
