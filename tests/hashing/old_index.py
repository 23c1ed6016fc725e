"""Index files of format 1, as derefl wrote them before they could grow."""

import hashlib
import json
import struct
import zlib


def format_1(index) -> bytes:
    """The file of an index."""
    places, body = {}, b""
    extra = json.dumps(index.extra).encode()
    for name, values in {"codes": index.codes, **index._ids.columns}.items():
        shape = list(values.shape)
        places[name] = {"dtype": values.dtype.str, "shape": shape, "offset": len(body)}
        body += values.tobytes() + bytes(-values.nbytes % 64)
    places["extra"] = {"dtype": "|u1", "shape": [len(extra)], "offset": len(body)}
    body += extra + bytes(-len(extra) % 64)
    header = {
        "bits": index.bits,
        "model": index.model,
        "sha256": index.sha256,
        "count": len(index),
        "checksum": hashlib.sha256(body).hexdigest(),
        "body_bytes": len(body),
        "sections": places,
    }
    text = json.dumps(header).encode()
    text += b" " * (-(20 + len(text)) % 64)
    return struct.pack("<8sIII", b"\x89LCDH\r\n\x1a", 1, len(text), zlib.crc32(text)) + text + body
