"""Downloading a file whose content is known: nothing else is ever kept or used.

The content is held in memory, since the files are small, and checked before a byte of it is written. Its name
and its place come from the caller, never from the server.
"""
import hashlib
import http.client
import ssl
import urllib.error
import urllib.request
from pathlib import Path

from common.errors import InputError
from common.files.atomic import replacing

TIMEOUT = 30.0  # seconds; of silence, not of the whole download


def fetch(url: str, path: Path, size: int, sha256: str) -> None:
    """Download a file, check it and put it at `path`.

    Parameters
    ----------
    url : str
        Of HTTP or HTTPS. A redirect is not followed.
    path : Path
        Its folder is made where it is missing.
    size : int
        Bytes of the file; no more are read, whatever the server sends.
    sha256 : str
        Of the content, in hexadecimal digits.

    Raises
    ------
    InputError
        There is no such content at `url`, or it cannot be written; then `path` stayed as it was.
    """
    try:
        content = _content(url, size)
        if len(content) < size:
            raise ValueError(f"it ended after {len(content):,} of {size:,} bytes")
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ValueError("its content is not the expected one")
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        reason = ascii(str(cause) or type(cause).__name__)[1:-1]  # it may repeat what a server sent
        raise InputError(f"downloading {url} failed ({reason[:200]})") from None
    with replacing(path, "wb") as file:
        file.write(content)


def _content(url, size):
    """Return what is at the address, but at most one byte more than expected."""
    # Put together here, since the opener of urllib also follows redirects, reading their bodies without a limit.
    opener = urllib.request.OpenerDirector()
    for handler in (urllib.request.ProxyHandler(), urllib.request.HTTPHandler(),
                    urllib.request.HTTPSHandler(context=_trust())):
        opener.add_handler(handler)
    with opener.open(url, timeout=TIMEOUT) as answer:
        if answer.status != 200:
            raise ValueError(f"the server answered with status {answer.status}, wanted 200")
        return answer.read(size + 1)


def _trust():
    """Return a context that trusts the certificates of the machine and of certifi: some Pythons find no others."""
    context = ssl.create_default_context()
    try:
        import certifi  # optional
    except ImportError:
        return context
    context.load_verify_locations(certifi.where())
    return context
