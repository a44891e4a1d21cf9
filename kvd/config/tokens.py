"""Who may: the entries of ``publish.tokens``, each ``NAME:SCOPES:TOKEN``.

What is wrong with an entry is said by its position alone: whatever else stands in it may be the secret.
"""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from kvd.config.settings import ConfigError

Scope = Literal["read", "lock"]
LEAST_CHARACTERS = 16
RESERVED = "limits"  # the author of what the configuration itself holds a smile to
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,32}")
# what a header and the name of a sub-protocol can both carry (RFC 6750 section 2.1, RFC 9110 section 5.6.2)
_SECRET = re.compile(r"[A-Za-z0-9._~+-]{1,256}")


class Token(NamedTuple):
    """One token: the name of its holder, what it may, and the secret."""

    name: str
    scopes: frozenset[Scope]
    secret: str

    def __repr__(self) -> str:
        return f"Token({self.name}:{'+'.join(sorted(self.scopes))})"


def parse(entries: Sequence[str], source: str = "default") -> tuple[Token, ...]:
    """The tokens in `entries`, which came from `source`. Raises ConfigError naming the entry's position."""
    tokens: list[Token] = []
    for position, entry in enumerate(entries, 1):
        parts = entry.split(":")
        why = _complaint(*parts) if len(parts) == 3 else "it has not three parts"
        if why:
            raise ConfigError(_sentence(f"entry {position}", why, source))
        token = Token(parts[0], frozenset(s for s in ("read", "lock") if s in parts[1].split("+")), parts[2])
        for other, known in enumerate(tokens, 1):
            same = "name" if known.name == token.name else "token" if known.secret == token.secret else ""
            if same:
                raise ConfigError(_sentence(f"entries {other} and {position}", f"they have the same {same}", source))
        tokens.append(token)
    return tuple(tokens)


def _complaint(name: str, scopes: str, secret: str) -> str:
    """What is wrong with an entry, without a word of it; nothing if it can be used."""
    if not _NAME.fullmatch(name):
        return "its name is not 1 to 32 letters, digits, _, - and ."
    if name == RESERVED:
        return "its name is taken: it stands for the limits of the configuration"
    if sorted(scopes.split("+")) not in (["read"], ["lock", "read"]):
        return "its scopes are not read or read+lock (a lock is set on the stream, which read opens)"
    if len(secret) < LEAST_CHARACTERS:
        return f"its token is shorter than {LEAST_CHARACTERS} characters"
    if not _SECRET.fullmatch(secret):
        return "its token is longer than 256 characters or has others than letters, digits, ., _, ~, + and -"
    return ""


def _sentence(where: str, why: str, source: str) -> str:
    return (
        f"publish.tokens ({source}), {where}: {why}; write NAME:read:TOKEN or NAME:read+lock:TOKEN, "
        "separated by commas or lines, with tokens such as `openssl rand -hex 32` prints"
    )
