import base64, hmac, time

def verify(secret, headers, body, now=None):
    """secret: "whsec_..."; headers: a mapping with lower-case names; body: the bytes that came."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    id_, at = headers["webhook-id"], headers["webhook-timestamp"]
    if abs((now or time.time()) - int(at)) > 300:
        raise ValueError("too old, or our clock is wrong")
    expected = base64.b64encode(hmac.digest(key, f"{id_}.{at}.".encode() + body, "sha256"))
    given = [s[3:].encode() for s in headers["webhook-signature"].split() if s.startswith("v1,")]
    if not any(hmac.compare_digest(expected, one) for one in given):
        raise ValueError("not signed with our secret")
