"""The stream in TLS: the certificate and key of the settings, checked before the port is opened."""

import ssl
from pathlib import Path

from kvd.config import ConfigError, Publish


def context(settings: Publish) -> ssl.SSLContext | None:
    """How to serve in TLS 1.2 or later, or None where the settings name no certificate.

    Raises ConfigError naming the setting that is wrong and the mend.
    """
    if not settings.tls_certificate:
        return None
    for name in ("tls_certificate", "tls_key"):
        _readable(f"publish.{name}", getattr(settings, name))
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    certificate, key = settings.tls_certificate, settings.tls_key
    try:
        made.load_cert_chain(certificate, key, password=_refuse_to_ask)
    except ssl.SSLError as error:
        raise ConfigError(_wrong(error, certificate, key)) from None
    return made


def _readable(setting: str, path: str) -> None:
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"{setting}: {path!r} cannot be read ({why}); name a PEM file that kvd may read") from None


def _wrong(error: ssl.SSLError, certificate: str, key: str) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return (
            f"publish.tls_key: the key in {key!r} is not that of the first certificate in {certificate!r}; "
            "name the two that belong together, the server's own certificate first in its file"
        )
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(certificate)
    except ssl.SSLError:
        return f"publish.tls_certificate: {certificate!r} holds no certificate; name a PEM file with it and its chain"
    return f"publish.tls_key: {key!r} holds no private key that can be used; name a PEM file with it, not encrypted"


def _refuse_to_ask() -> bytes:
    """Nobody is there to type the password of an encrypted key; an empty one opens none."""
    return b""
