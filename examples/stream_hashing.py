"""Learn from a stream of photos while old codes stay valid. Needs derefl[train]."""

from pathlib import Path

from derefl import HashIndex, load_lcdh_student, load_lcdh_teacher
from derefl.hashing.learning.online import OnlineConfig, OnlineHasher

folder = Path(__file__).parent / "pictures" / "layers"
chunks = [
    {"coffee": "a cup of coffee on a wooden table", "church": "a white church on a green lawn"},
    {"wine": "a bottle of red wine and a glass", "friends": "two dogs look out of a door"},
    {"meadow": "a green meadow and autumn trees", "stream": "a brook runs over rocks in a wood"},
]
few_steps = OnlineConfig(epochs=5)  # a chunk has only two photos
learner = OnlineHasher(load_lcdh_student(), load_lcdh_teacher(), few_steps)
index = HashIndex(bits=learner.student.bits)
index.hasher = learner.student

for chunk in chunks:
    photos = [folder / f"{name}.jpg" for name in chunk]
    learner.partial_fit(photos, list(chunk.values()))
    index.add(learner.student.encode_image(photos), chunk)  # each photo is encoded only once
    print(f"{len(index)} photos seen")
    for text in chunks[0].values():  # the search still finds the first photos
        print(f"    {text!r} finds {index.search(text, k=1)[0].id}")
