"""Find photos in ClickHouse: ``python examples/search_with_clickhouse.py "a cup of coffee"``."""

import sys
from pathlib import Path

from derefl import DereflError, load_lcdh_student
from derefl.hashing.index.clickhouse import ClickHouseIndex, Embedded

words = " ".join(sys.argv[1:]) or "a cup of coffee"
photos = sorted(Path(__file__).parent.glob("pictures/[ls]*/*.jpg"))
hasher = load_lcdh_student(bits=64)
try:
    engine = Embedded("outputs/photos.clickhouse")  # a folder
except DereflError as error:
    sys.exit(f"derefl: {error}")
index = ClickHouseIndex(engine, "photos", hasher.bits, hasher.name, hasher.sha256)
index.hasher = hasher  # for queries; by default, the index loads its model
index.upsert(hasher.encode_image(photos), photos)  # next time: ClickHouseIndex(engine, "photos")

print(f"nearest to {words!r} of {len(index)} photos:")
for photo, distance in index.search(words, k=3):
    print(f"{distance:3} of 64 bits differ: {photo}")
engine.close()
