"""TLS to Postgres: libpq's sslmode, sslrootcert, sslcert and sslkey, as the ways in that are tried in turn.

asyncpg's own reading of these is not used: it looks for files in the home directory, and knows no PEM text. A
client certificate is shown in every mode that speaks TLS. Nothing here asks a terminal for a passphrase. Pure
but for reading the files; any thread.
"""

import contextlib
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from server.warehouse.errors import Unavailable

SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
SYSTEM_ROOTS: Final = "system"
"""As `sslrootcert`: the certificate authorities that the operating system trusts."""

_PEM: Final = "-----BEGIN"

Way = ssl.SSLContext | bool
"""A context: speak TLS by it; False: do not."""


def ways_in(options: Mapping[str, str]) -> tuple[Way, ...]:
    """How to connect, the first choice first. `options`: sslmode, sslrootcert, sslcert, sslkey, sslpassword.

    Raises Unavailable, saying which option is wrong and why.
    """
    mode = options["sslmode"]
    if mode == "disable":
        return (False,)
    context = _context(mode, options)
    if mode == "allow":
        return (False, context)
    return (context, False) if mode == "prefer" else (context,)


def _context(mode: str, options: Mapping[str, str]) -> ssl.SSLContext:
    root = options["sslrootcert"]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = mode == "verify-full"
    context.set_alpn_protocols(["postgresql"])
    if mode in ("allow", "prefer") or (mode == "require" and not root):
        context.verify_mode = ssl.CERT_NONE
    else:
        _trust(context, root)
    if options["sslcert"]:
        _present(context, options)
    elif options["sslkey"]:
        raise Unavailable("sslkey is set and sslcert is not", "give the certificate that belongs to the key")
    return context


def _trust(context: ssl.SSLContext, root: str) -> None:
    try:
        if root in ("", SYSTEM_ROOTS):
            context.load_default_certs()
        elif _PEM in root:
            context.load_verify_locations(cadata=root)
        else:
            context.load_verify_locations(cafile=root)
    except (OSError, ValueError) as error:
        raise Unavailable(
            f"sslrootcert: cannot use {_shown(root)}: {error}",
            "give the PEM file of the authority that signed the server's certificate, or its text",
        ) from error


def _present(context: ssl.SSLContext, options: Mapping[str, str]) -> None:
    certificate, key = options["sslcert"], options["sslkey"]
    try:
        with _as_file(certificate) as cert_path, _as_file(key) as key_path:
            # Without a password OpenSSL would ask the terminal for one.
            context.load_cert_chain(cert_path, key_path or None, password=options["sslpassword"])
    except (OSError, ValueError) as error:
        raise Unavailable(
            f"sslcert, sslkey: cannot use {_shown(certificate)} with {_shown(key)}: {error}",
            "both must be PEM that this user may read, the key must belong to the certificate, "
            "and an encrypted key needs sslpassword",
        ) from error


def _shown(path_or_pem: str) -> str:
    """For messages: a path, never what a key says."""
    return "the PEM text" if _PEM in path_or_pem else path_or_pem or "no key"


@contextlib.contextmanager
def _as_file(path_or_pem: str) -> Iterator[str]:
    """OpenSSL loads a client certificate from files only: PEM text is put into a private one for a moment."""
    if _PEM not in path_or_pem:
        yield path_or_pem
        return
    with tempfile.NamedTemporaryFile("w", suffix=".pem", delete=False) as file:
        file.write(path_or_pem)
    try:
        yield file.name
    finally:
        Path(file.name).unlink()
