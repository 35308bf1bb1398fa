"""Files from the web."""

import errno
import hashlib
import http.client
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from sami.errors import UserError
from sami.progress import Progress

SILENCE = 60.0  # seconds without a byte after which a connection is given up
CHUNK = 2**16
BY_HAND = "Try again, or get the file in another way and put it where the configuration names it."


def download(address: str, path: Path) -> str:
    """Writes what stands at a web address to a file; returns its SHA-256.

    Raises:
        UserError: there is no such host or file, the connection breaks off or falls silent, or less arrives than was
            announced.
    """
    digest, received = hashlib.sha256(), 0
    try:
        # Names of files may hold spaces; what is quoted already stays so.
        with urllib.request.urlopen(urllib.parse.quote(address, safe=":/%?=&"), timeout=SILENCE) as answer:
            announced = answer.length or 0
            with path.open("wb") as file, Progress(announced, f"fetching {address}", "bytes") as progress:
                while part := answer.read(CHUNK):
                    file.write(part)
                    digest.update(part)
                    received += len(part)
                    progress.update(len(part))
    except urllib.error.HTTPError as error:
        raise UserError(
            f"{address}: found the answer {error.code} ({error.reason}), expected the file. Mend the address, "
            "or get the file in another way and put it where the configuration names it."
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: no address, or no name of a host
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise
        raise UserError(
            f"{address}: cannot be fetched ({getattr(error, 'reason', None) or error or type(error).__name__}); "
            f"expected a way to the web. {BY_HAND}"
        ) from None
    if received < announced:
        raise UserError(f"{address}: found {received} bytes, expected {announced}: the connection broke off. {BY_HAND}")
    return digest.hexdigest()
