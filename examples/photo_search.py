"""Find photos by words: ``python examples/photo_search.py "mountains under a blue sky"``."""

import sys
from pathlib import Path

from derefl import load_lcdh_student

words = " ".join(sys.argv[1:]) or "mountains under a blue sky"
photos = sorted(Path(__file__).parent.glob("pictures/[ls]*/*.jpg"))
hasher = load_lcdh_student(bits=64)
index = hasher.new_index()
index.add_pictures(photos)  # 8 bytes per photo
index.save("photos.lcdh")  # next time: derefl.HashIndex.load("photos.lcdh")

print(f"nearest to {words!r}:")
for photo, distance in index.search(words, k=3):
    print(f"{distance:3} of 64 bits differ: {photo}")
