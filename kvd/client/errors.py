"""What a client cannot go on with. Every message is one sentence that says the mend."""


class ClientError(Exception):
    """Whatever goes wrong between a subscriber and kvd; the others are kinds of it."""


class Unreachable(ClientError):
    """Nobody answers at the address, or not as kvd does."""


class Refused(ClientError):
    """kvd answers, and will not let this client in: no further attempt mends that."""


class RequestRefused(ClientError):
    """kvd will not do what was asked; `code` is its stable slug, as in docs/protocol.md."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Interrupted(ClientError):
    """The connection was lost before kvd answered: whether it did what was asked is not known."""
