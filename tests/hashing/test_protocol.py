"""Streams and the online protocol, with a predictable learner."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from derefl.errors import ConfigError, DataError, MissingExtraError
from derefl.hashing.learning.captions import CaptionData
from derefl.hashing.learning.labelled import LabelledData
from derefl.hashing.learning.protocol import plot_rounds, run_stream
from derefl.hashing.learning.streams import Stream, StreamPairs, caption_stream, labelled_stream


class FakeLearner:
    """Items are numbers and their own codes; each chunk flips one more bit of new codes.

    So codes of an earlier round differ from the current codes of the student.
    """

    def __init__(self):
        self.round, self.student, self.shown = 0, self, []

    def partial_fit(self, images, texts, labels=None):
        self.round += 1
        self.shown.append(labels)
        return {"loss": 1 / self.round}

    def encode_image(self, images):
        flip = (1 << (self.round - 1)) if self.round else 0
        return np.array([[int(i) ^ flip, 0] for i in images], np.uint8)

    encode_text = encode_image

    def database_codes(self, images, texts, labels=None):
        return np.array([[int(i), 0] for i in images], np.uint8)


def pairs(numbers, labels):
    return StreamPairs(list(numbers), list(numbers), np.array(labels))


STREAM = Stream(
    chunks=(pairs([0, 15], [0, 1]), pairs([240, 255], [2, 3])),
    queries=pairs([0, 240], [0, 2]),
    order="random",
    labels_known=True,
    seed=0,
)


def test_old_codes_never_change_and_queries_are_hashed_anew():
    first, second = run_stream(FakeLearner(), STREAM)
    # Round 1: bit 0 is flipped in both; query 0 finds its equal. 240 has no relevant item yet.
    assert (first.number, first.seen, first.queries) == (1, 2, 1)
    assert first.hashed == first.learned == {"text_to_image": 1.0, "image_to_text": 1.0}
    # Round 2 flips bit 1: the stored codes are still 1 and 14, the new codes 242 and 253. Query 0,
    # now 2, is as far from 1 as from 14; query 240, now 242, finds its equal. If all items had new
    # codes, query 0 would find its equal, too.
    assert (second.seen, second.queries) == (4, 2)
    assert second.hashed["text_to_image"] == ((1 + 1 / 2) / 2 + 1) / 2
    assert second.learned["text_to_image"] == 1.0
    assert second.losses == {"loss": 0.5}


def test_labels_are_shown_or_hidden():
    learner = FakeLearner()
    list(run_stream(learner, STREAM))
    assert [list(shown) for shown in learner.shown] == [[0, 1], [2, 3]]
    hidden, learner = Stream(STREAM.chunks, STREAM.queries, "random", False, 0), FakeLearner()
    assert [r.hashed for r in run_stream(learner, hidden)]
    assert learner.shown == [None, None]


def test_rounds_without_a_question_have_no_score():
    early = Stream(STREAM.chunks, pairs([255], [3]), "random", True, 0)
    first, second = run_stream(FakeLearner(), early)
    assert (first.queries, first.hashed["text_to_image"]) == (0, None)
    assert (second.queries, second.learned["image_to_text"]) == (1, 1.0)
    assert first.learned == {"text_to_image": None, "image_to_text": None}


def test_seconds_and_memory_are_measured(monkeypatch):
    clock = iter([1.0, 3.5, 10.0, 10.25])
    monkeypatch.setattr("derefl.hashing.learning.protocol.time.perf_counter", lambda: next(clock))
    rounds = list(run_stream(FakeLearner(), STREAM))
    assert [r.seconds for r in rounds] == [2.5, 0.25]
    assert 10 < rounds[0].peak_memory_mb <= rounds[1].peak_memory_mb < 1e6  # numpy alone takes 10


@pytest.fixture
def labelled():
    themes = tuple(str(i % 5) for i in range(53))
    labels = np.eye(5, dtype=bool)[[i % 5 for i in range(53)]]
    numbers = tuple(map(str, range(53)))
    return LabelledData(numbers, tuple(map(Path, numbers)), numbers, labels, tuple("01234"), themes)


def numbers(chunk):
    assert [str(p) for p in chunk.images] == chunk.texts  # pairs stay together
    return [int(text) for text in chunk.texts]


def test_random_chunks_share_out_everything(labelled):
    stream = labelled_stream(labelled, chunk_size=10, queries=8, seed=3)
    assert [len(chunk.images) for chunk in stream.chunks] == [10, 10, 10, 15]  # 45 in all
    everything = [n for chunk in (*stream.chunks, stream.queries) for n in numbers(chunk)]
    assert sorted(everything) == list(range(53))
    for chunk in (*stream.chunks, stream.queries):
        assert chunk.labels.argmax(axis=1).tolist() == [n % 5 for n in numbers(chunk)]
    again = labelled_stream(labelled, chunk_size=10, queries=8, seed=3)
    assert [numbers(c) for c in again.chunks] == [numbers(c) for c in stream.chunks]
    other = labelled_stream(labelled, chunk_size=10, queries=8, seed=4)
    assert [numbers(c) for c in other.chunks] != [numbers(c) for c in stream.chunks]
    assert len(labelled_stream(labelled, chunk_size=1000).chunks) == 1


def test_themes_come_one_after_the_other(labelled):
    stream = labelled_stream(labelled, themes_per_chunk=2, queries=8, seed=3)
    themes = [{n % 5 for n in numbers(chunk)} for chunk in stream.chunks]
    assert [len(t) for t in themes] == [2, 2, 1]
    assert set().union(*themes) == set(range(5))
    everything = [n for chunk in (*stream.chunks, stream.queries) for n in numbers(chunk)]
    assert sorted(everything) == list(range(53))
    assert stream.order == "by theme"
    assert len({n % 5 for n in numbers(stream.queries)}) > 1  # queries come from several themes


def test_captioned_pictures_are_asked_for_by_their_second_caption():
    rows = np.repeat(np.arange(20), 3)
    captions = tuple(f"{row}-{i}" for row in range(20) for i in range(3))
    paths = tuple(Path(str(i)) for i in range(20))
    data = CaptionData(tuple(map(str, range(20))), paths, captions, rows)
    stream = caption_stream(data, chunk_size=6, queries=4, seed=1)
    assert [len(chunk.images) for chunk in stream.chunks] == [6, 6, 8]
    for chunk, which in [(c, 0) for c in stream.chunks] + [(stream.queries, 1)]:
        assert [str(p) for p in chunk.images] == list(map(str, chunk.labels))
        assert chunk.texts == [f"{n}-{which}" for n in chunk.labels]
    assert sorted(n for chunk in stream.chunks for n in chunk.labels) == list(range(20))
    assert len(stream.queries.texts) == 4 and not stream.labels_known


def test_streams_that_cannot_be(labelled):
    with pytest.raises(ConfigError, match="chunks of 0 pairs"):
        labelled_stream(labelled, chunk_size=0)
    with pytest.raises(ConfigError, match="0 themes a chunk"):
        labelled_stream(labelled, themes_per_chunk=0)
    with pytest.raises(ConfigError, match="53 queries of 53"):
        labelled_stream(labelled, queries=53)
    bare = LabelledData(
        *[getattr(labelled, f) for f in ("names", "paths", "texts")],
        labelled.labels,
        labelled.classes,
        None,
    )
    with pytest.raises(DataError, match="no themes; add a column 'theme'"):
        labelled_stream(bare, themes_per_chunk=1)
    single = CaptionData(("a", "b"), (Path("a"), Path("b")), tuple("xyz"), np.array([0, 0, 1]))
    with pytest.raises(DataError, match="b has one caption, expected two"):
        caption_stream(single)


def test_the_plot_is_a_picture_and_whole_or_not_there(tmp_path, monkeypatch):
    rounds = list(run_stream(FakeLearner(), STREAM))
    plot_rounds(rounds, tmp_path / "plot.png", "title")
    with Image.open(tmp_path / "plot.png") as image:
        assert image.size == (1320, 480)
        colours = image.convert("RGB").getcolors(1 << 20)
    assert len(colours) > 20  # lines of several colours on white
    with pytest.raises(ConfigError, match=r"name it like plot\.png"):
        plot_rounds(rounds, tmp_path / "plot.xyz")
    assert [p.name for p in tmp_path.iterdir()] == ["plot.png"]
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r'matplotlib; .*pip install "derefl\[train\]"'):
        plot_rounds(rounds, tmp_path / "other.png")
