"""Who is there: the holder of each token, what it may, and what all its connections have done together."""

from collections import Counter
from hashlib import sha256
from hmac import compare_digest
from typing import NamedTuple

from kvd.config import Publish, Token
from kvd.config.tokens import parse
from kvd.sinks.requests import Bucket


class Use(NamedTuple):
    """What the holder of one token has done: connections now, messages so far, and refusals by code."""

    clients: int
    messages: int
    refused: dict[str, int]


class Holder:
    """Whoever comes with one token, over all its connections; without `token` it is anyone, who may read alone."""

    def __init__(self, token: Token | None, settings: Publish, now_s: float) -> None:
        self.name = token.name if token else ""
        self.may_lock = token is not None and "lock" in token.scopes
        self.clients = 0
        self.messages = 0
        self.refused: Counter[str] = Counter()
        self._most = settings.max_clients_per_token if token else settings.max_clients
        self._bucket = Bucket(settings.max_messages_per_s_per_token, now_s) if token else None

    @property
    def full(self) -> bool:
        """Every connection that the token may have is taken."""
        return self.clients >= self._most

    def take(self, now_s: float) -> bool:
        """Count a message, if one more may be sent."""
        if self._bucket is not None and not self._bucket.take(now_s):
            return False
        self.messages += 1
        return True

    def use(self) -> Use:
        """What was done so far."""
        return Use(self.clients, self.messages, dict(self.refused))


class Keyring:
    """The holders of all tokens. Without tokens everyone is the same holder, who may read.

    Raises ConfigError where an entry of the settings cannot be used.
    """

    def __init__(self, settings: Publish, now_s: float) -> None:
        tokens = parse(settings.tokens)
        self._known = [(_digest(token.secret), Holder(token, settings, now_s)) for token in tokens]
        self._anyone = None if tokens else Holder(None, settings, now_s)

    def holder(self, presented: str | None) -> Holder | None:
        """Whose token was presented, or None where it is nobody's.

        Digests are compared, so that no length shows, each in constant time, and all of them whichever fits.
        """
        found = self._anyone
        digest = _digest(presented or "")
        for known, holder in self._known:
            if compare_digest(known, digest):
                found = holder
        return found

    def uses(self) -> dict[str, Use]:
        """What each holder has done, by name."""
        return {holder.name: holder.use() for _, holder in self._known}


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
