"""What was published, in a digest: for the audit log."""

from hashlib import sha256

from kvd.wire import Message


class Published:
    """What the `surface` topics have said since it was last taken: how many smiles, and the SHA-256 of their bytes."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}

    def add(self, messages: tuple[Message, ...]) -> None:
        """Take in what was handed out. Only messages of `surface` topics count, for all smiles are in them, whole."""
        for message in messages:
            if message.kind == "surface":
                if message.topic not in self._topics:
                    self._topics[message.topic] = _Topic(message.seq)
                self._topics[message.topic].add(message)

    def take(self) -> dict[str, dict[str, object]]:
        """By topic: the numbers of its messages, how many they were, and the SHA-256 over the JSON of each `smile`, one
        after another, each followed by a line break. Begins anew.
        """
        topics, self._topics = self._topics, {}
        return {name: topics[name].content() for name in sorted(topics)}


class _Topic:
    def __init__(self, from_seq: int) -> None:
        self._from_seq = self._to_seq = from_seq
        self._smiles = 0
        self._digest = sha256()

    def add(self, message: Message) -> None:
        self._to_seq = message.seq
        self._smiles += 1
        self._digest.update(message.body)
        self._digest.update(b"\n")

    def content(self) -> dict[str, object]:
        return {
            "from_seq": self._from_seq,
            "to_seq": self._to_seq,
            "smiles": self._smiles,
            "sha256": self._digest.hexdigest(),
        }
