"""Check that a webhook comes from Waybill and was not changed, with the standard library only."""

import base64
import hmac
import time


def is_genuine(secret: str, headers: dict[str, str], body: bytes, tolerance_seconds: int = 300) -> bool:
    """Whether `body`, exactly as received, was signed with `secret` (whsec_...) within five minutes of now.

    The names in `headers` are in lower case.
    """
    event_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp[:12])) > tolerance_seconds:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{event_id}.{timestamp}.".encode() + body, "sha256")
    expected = b"v1," + base64.b64encode(digest)
    # Several while a secret is being rotated. Compared in constant time, so that no sender can guess byte by byte.
    given = headers.get("webhook-signature", "").split()
    return any(hmac.compare_digest(expected, signature.encode()) for signature in given)
