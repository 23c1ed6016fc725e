"""The commands ``derefl evaluate hashing`` and ``online``, with their printed output."""

import json
import sys

import numpy as np
import pytest
from PIL import Image
from scipy import io

from derefl.cli import main
from derefl.commands import evaluate_online
from derefl.errors import ConfigError
from derefl.hashing import teacher_pipeline
from derefl.hashing.codes import BITS, pack
from derefl.hashing.learning.baselines import BASELINES
from derefl.hashing.learning.captions import read_captions
from derefl.hashing.learning.evaluate import evaluate_captions, evaluate_labels
from derefl.hashing.learning.labelled import read_labelled, split_queries
from derefl.hashing.learning.ranking import average_precisions
from derefl.hashing.learning.recall import caption_recall
from derefl.zoo import save_checkpoint
from tests.hashing.fake import COLOURS, FakeHasher
from tests.hashing.test_online import ColourEncoder
from tests.hashing.tiny import TEACHER, tiny_teacher

NAMES = list(COLOURS)
WAYS = ("text_to_image", "image_to_text")


@pytest.fixture
def coloured(tmp_path):
    """Four pictures per colour; two captions each, one picture has three; themes by colour."""
    rng = np.random.default_rng(0)
    captions, tags, n = ["image,caption"], ["image,theme,tags"], 0
    (tmp_path / "images").mkdir()
    for n in range(28):
        colour = NAMES[n % 7]
        noisy = np.clip(np.array(COLOURS[colour]) * 255 + rng.normal(0, 70, 3), 0, 255)
        noisy = np.tile(noisy, (8, 8, 1))
        Image.fromarray(noisy.astype(np.uint8)).save(tmp_path / "images" / f"{n:02}.png")
        captions += [f"{n:02}.png,a {colour} thing", f'{n:02},"{colour}, and {NAMES[n // 4]}"']
        tags.append(f"{n:02},{n % 7},{colour} thing")
    captions.append("14,one more")
    (tmp_path / "captions.csv").write_text("\n".join(captions))
    (tmp_path / "tags.csv").write_text("\n".join(tags))
    (tmp_path / "dev.txt").write_text("\n".join(f"{n:02}" for n in range(14)))
    (tmp_path / "train.txt").write_text("\n".join(f"{n:02}" for n in range(14, 28)))
    return tmp_path


@pytest.fixture
def evaluate(coloured, monkeypatch):
    """Run a command on the coloured pictures, with the fake hasher."""
    module = type(sys)("derefl.hashing.hasher")
    module.load_lcdh_student = lambda source, *, bits, device: FakeHasher(bits, name=source)
    monkeypatch.setitem(sys.modules, "derefl.hashing.hasher", module)
    monkeypatch.chdir(coloured)
    return lambda what, *args: main(["evaluate", what, "--images", "images", *args])


def test_json_is_the_agreed_object_and_nothing_else(evaluate, coloured, capsys):
    options = ["--captions", "captions.csv", "--split", "dev.txt", "--json", "--baselines"]
    assert evaluate("hashing", *options, "--train-split", "train.txt") == 0
    streams = capsys.readouterr()
    report = json.loads(streams.out)
    assert list(report) == ["n_images", "n_texts", "codes", "float", "baselines"]
    assert (report["n_images"], report["n_texts"]) == (14, 28)
    assert list(report["codes"]) == ["16", "32", "64", "128"]
    assert list(report["baselines"]) == ["random", "lsh", "itq", "cca_itq"]
    # The fake has four features, too few for ITQ with 16 bits.
    assert [list(of) for of in report["baselines"].values()] == [
        *[["16", "32", "64", "128"]] * 2,
        [],
        [],
    ]
    scored = [*report["codes"].values(), report["float"], *report["baselines"]["lsh"].values()]
    for result in scored:
        assert list(result) == list(WAYS)
        for way in WAYS:
            assert list(result[way]) == ["r@1", "r@5", "r@10", "median_rank"]
            assert 0 <= result[way]["r@1"] <= result[way]["r@5"] <= result[way]["r@10"] <= 100
    for words in ("lcdh-student", "14 pictures, 28 captions", "ties: ", "database: hashed"):
        assert words in streams.err
    assert "baselines fitted on train.txt" in streams.err


def test_the_numbers_are_those_of_the_codes(coloured):
    data = read_captions(coloured / "images", coloured / "captions.csv")
    report = evaluate_captions(FakeHasher(128), data)
    for bits in BITS:  # a hasher of this length, not a prefix
        own = FakeHasher(bits)
        codes = own.encode_image(data.paths), own.encode_text(data.captions)
        assert report["codes"][str(bits)] == caption_recall(*codes, data.rows)
    features = [FakeHasher().image_features(data.paths), FakeHasher().text_features(data.captions)]
    assert report["float"] == caption_recall(*features, data.rows)
    assert report["codes"]["128"]["text_to_image"]["r@5"] > 2 * 100 * 5 / 28  # twice chance
    assert list(report["baselines"]) == ["random"]
    random = [report["baselines"]["random"][str(bits)]["text_to_image"]["r@10"] for bits in BITS]
    assert np.mean(random) == pytest.approx(100 * 10 / 28, abs=12)


class WideHasher(FakeHasher):
    """20 features, enough for ITQ and CCA with 16 bits."""

    lift = np.random.default_rng(1).normal(size=(4, 20)).astype(np.float32)

    def image_features(self, images, **options):
        return np.tanh(2 * super().image_features(images) @ self.lift)

    def text_features(self, texts, **options):
        return np.tanh(2 * super().text_features(texts) @ self.lift)

    def image_embedding(self, images, **options):
        return np.tile(self.image_features(images), 7)[:, : self.bits]

    def text_embedding(self, texts, **options):
        return np.tile(self.text_features(texts), 7)[:, : self.bits]


def test_baselines_are_fitted_on_the_training_pairs(coloured):
    table = coloured / "images", coloured / "captions.csv"
    data, train = (read_captions(*table, coloured / f) for f in ("dev.txt", "train.txt"))
    hasher = WideHasher(16)
    report = evaluate_captions(hasher, data, bits=[16], baselines=True, train=train, seed=4)
    features = [
        (hasher.image_features(d.paths), hasher.text_features(d.captions)) for d in (train, data)
    ]
    (images, texts), (dev_images, dev_texts) = features
    for name, fit in BASELINES.items():
        fitted = fit(images[train.rows], texts, 16, seed=4)
        codes = fitted.encode_image(dev_images), fitted.encode_text(dev_texts)
        assert report["baselines"][name]["16"] == caption_recall(*codes, data.rows)
    onto_itself = evaluate_captions(hasher, data, bits=[16], baselines=True, seed=4)
    assert onto_itself["baselines"]["itq"] != report["baselines"]["itq"]


def test_labels_are_measured_on_held_back_queries(coloured):
    data = read_labelled(coloured / "images", coloured / "tags.csv")
    hasher = WideHasher(32)
    report = evaluate_labels(hasher, data, bits=[16, 32], queries=6, seed=2, baselines=True)
    assert {key: report[key] for key in ("n_queries", "n_database", "seed")} == {
        "n_queries": 6,
        "n_database": 22,
        "seed": 2,
    }
    asking, asked = split_queries(28, 6, 2)
    images, texts = hasher.image_features(data.paths), hasher.text_features(data.texts)
    labels = data.labels[asking], data.labels[asked]
    codes = pack(texts[asking, :16]), pack(images[asked, :16])
    result = report["codes"]["16"]["text_to_image"]
    assert result["map"] != report["codes"]["16"]["image_to_text"]["map"]
    assert result["map"] == pytest.approx(average_precisions(*codes, *labels).mean())
    assert report["float"]["image_to_text"]["map"] == pytest.approx(
        average_precisions(images[asking], texts[asked], *labels).mean()
    )
    assert len(result["precision_recall"]) == 17
    assert "precision_recall" not in report["float"]["image_to_text"]
    for name, fit in BASELINES.items():
        fitted = fit(images[asked], texts[asked], 16, seed=2)  # not on the queries
        codes = fitted.encode_image(images[asking]), fitted.encode_text(texts[asked])
        assert report["baselines"][name]["16"]["image_to_text"]["map"] == pytest.approx(
            average_precisions(*codes, *labels).mean()
        )


def test_the_tables_say_what_the_json_says(evaluate, capsys):
    options = ["--captions", "captions.csv", "--bits", "16", "64"]
    assert evaluate("hashing", *options, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert evaluate("hashing", *options) == 0
    out = capsys.readouterr().out
    for words in (
        "lcdh-student on captions.csv",
        "28 pictures, 57 captions",
        "ties: ",
        "database: ",
    ):
        assert words in out
    lines = out.splitlines()[3:]
    names = ["16 bits", "64 bits", "float", "random, 16", "random, 64"]
    assert [line.split("  ")[0] for line in lines] == 2 * names
    values = report["codes"]["64"]["image_to_text"].values()
    assert lines[6].split()[2:] == ["image→text", *(f"{value:.4g}" for value in values)]

    options = ["--labels", "tags.csv", "--bits", "16", "--queries", "7"]
    assert evaluate("hashing", *options, "--json") == 0
    streams = capsys.readouterr()
    report = json.loads(streams.out)
    assert report["model"] == "lcdh-student" and "expected value" in report["tie_rule"]
    assert evaluate("hashing", *options) == 0
    out = capsys.readouterr().out
    assert "7 queries, 21 in the database, seed 0" in out
    assert "text→image" in out and "image→text" in out
    assert f"{report['float']['text_to_image']['map']:.4g}" in out
    assert f"{report['codes']['16']['image_to_text']['map@50']:.4g}" in out


class FakeOnline:
    """Learns nothing; its learned codes are the student's codes of the texts."""

    def __init__(self, bits):
        self.student, self.shown = FakeHasher(bits), []

    def partial_fit(self, images, texts, labels=None):
        self.shown.append(labels)
        return {"loss": 0.5}

    def database_codes(self, images, texts, labels=None):
        return self.student.encode_text(texts)


@pytest.fixture
def learners(monkeypatch):
    made = []

    def make(args, stream):
        made.append(FakeOnline(args.bits))
        return made[-1]

    monkeypatch.setattr(evaluate_online, "make_learner", make)
    return made


def test_online_by_theme_as_json_and_plot(evaluate, learners, coloured, capsys):
    options = ["--labels", "tags.csv", "--themes-per-chunk", "3", "--queries", "7", "--json"]
    assert evaluate("online", *options, "--plot", "plot.png") == 0
    streams = capsys.readouterr()
    report = json.loads(streams.out)
    protocol = report["protocol"]
    assert (protocol["order"], protocol["queries"], protocol["bits"]) == ("by theme", 7, 64)
    assert sum(protocol["chunks"]) == 21 and len(protocol["chunks"]) == 3
    assert [r["seen"] for r in report["rounds"]] == np.cumsum(protocol["chunks"]).tolist()
    last = report["rounds"][-1]
    assert last["queries"] == 7 and last["losses"] == {"loss": 0.5}
    # The learned database holds the codes of the texts, as the hashed database of image→text does.
    assert last["hashed"]["image_to_text"] == last["learned"]["image_to_text"] > 0.5
    assert last["seconds"] > 0
    assert [labels.shape[1] for labels in learners[0].shown] == [7, 7, 7]
    assert "written: plot.png" in streams.err
    with Image.open("plot.png") as image:
        assert image.format == "PNG"
    assert evaluate("online", *options, "--plot", "plot.png") == 1
    assert "plot.png already exists; " in capsys.readouterr().err
    assert len(learners) == 1  # the error comes before any work
    assert evaluate("online", *options, "--plot", "plot.png", "--overwrite") == 0


def test_online_at_random_as_a_table(evaluate, learners, capsys):
    options = ["--captions", "captions.csv", "--chunk-size", "9", "--queries", "7", "--bits", "32"]
    assert evaluate("online", *options) == 0
    title, header, *lines = capsys.readouterr().out.splitlines()
    assert "3 chunks random, 7 queries, seed 0, labels not known to the learner" in title
    assert header.split()[:3] == ["round", "seen", "queries"]
    rows = [line.split() for line in lines]
    assert [row[:2] for row in rows] == [["1", "9"], ["2", "18"], ["3", "28"]]
    assert rows[-1][2] == "7" and len(rows[-1]) == 9
    assert learners[0].shown == [None] * 3 and learners[0].student.bits == 32
    assert evaluate("online", "--labels", "tags.csv", "--hide-labels", "--chunk-size", "9") == 0
    assert "labels not known" in capsys.readouterr().out
    assert learners[1].shown == [None] * len(learners[1].shown)


@pytest.mark.parametrize("pictures", [False, True])
def test_online_on_a_mat_file(evaluate, coloured, capsys, pictures):
    """Features and word counts of a few classes: the hash heads learn to find them."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 6, 300)
    variables = {
        "XAll": np.eye(6)[classes] @ rng.normal(size=(6, 20)) + 0.3 * rng.normal(size=(300, 20)),
        "YAll": np.eye(6)[classes] @ rng.integers(0, 9, (6, 15)) + rng.integers(0, 3, (300, 15)),
        "LAll": np.eye(24)[classes],
    }
    if pictures:
        shown = np.array([COLOURS[NAMES[number]] for number in classes]) * 255
        variables["IAll"] = np.tile(shown[..., None, None], (1, 1, 4, 4)).astype(np.uint8)
        del variables["XAll"]
    io.savemat("F.mat", variables)
    options = ["--chunk-size", "100", "--queries", "60", "--bits", "32", "--json"]
    mat = ["evaluate", "online", "--mat", "F.mat", "--dataset", "mirflickr25k"]
    assert main([*mat, *options]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["model"] == "hash heads on features"
    assert [r["seen"] for r in report["rounds"]] == [100, 240]
    last = report["rounds"][-1]
    for scores in (last["hashed"], last["learned"]):
        assert min(scores.values()) > 0.8  # by chance 1/6
    assert main([*mat, *options, "--images", "images"]) == 1
    assert "--dataset with --mat, not both" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hashing", "--captions", "none.csv"], "none.csv cannot be read"),
        (["hashing", "--captions", "captions.csv", "--split", "none.txt"], "none.txt cannot be"),
        (["hashing", "--captions", "captions.csv", "--queries", "3"], "leave out --queries"),
        (["hashing", "--captions", "captions.csv", "--train-split", "x"], "add --baselines"),
        (["hashing", "--labels", "tags.csv", "--queries", "28"], "28 queries of 28 items"),
        (["online", "--captions", "captions.csv", "--themes-per-chunk", "1"], "use --chunk-size"),
        (["online", "--captions", "captions.csv", "--hide-labels"], "no labels"),
        (["online", "--labels", "captions.csv"], "two rows for '00'"),
    ],
)
def test_mistakes_are_one_line(evaluate, learners, capsys, arguments, message):
    assert evaluate(*arguments) == 1
    streams = capsys.readouterr()
    assert streams.err.startswith("derefl: ") and message in streams.err
    assert streams.err.count("\n") == 1 and streams.out == ""
    assert not learners


def test_a_damaged_picture_is_named(evaluate, coloured, capsys):
    (coloured / "images" / "03.png").write_bytes(b"not a picture")
    assert evaluate("hashing", "--captions", "captions.csv", "--json") == 1
    streams = capsys.readouterr()
    assert "03.png" in streams.err and streams.out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["hashing"],
        ["hashing", "--images", "images", "--captions", "a", "--labels", "b"],
        ["hashing", "--images", "images", "--captions", "a", "--bits", "48"],
        [
            "online",
            "--images",
            "i",
            "--labels",
            "b",
            "--chunk-size",
            "2",
            "--themes-per-chunk",
            "1",
        ],
    ],
)
def test_bad_usage_exits_2(arguments):
    with pytest.raises(SystemExit) as exit_info:
        main(["evaluate", *arguments])
    assert exit_info.value.code == 2


def test_a_length_that_the_model_does_not_reach(coloured):
    data = read_captions(coloured / "images", coloured / "captions.csv")
    for bits in ([128], [], [24]):
        with pytest.raises(ConfigError, match="a model of 64 bits, expected some of 16, 32, 64"):
            evaluate_captions(FakeHasher(64), data, bits=bits)


def test_a_teacher_is_measured_by_its_unimodal_codes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(teacher_pipeline, "load_encoder", lambda *_: ColourEncoder())
    path = tmp_path / "teacher.safetensors"
    save_checkpoint(tiny_teacher(), path, kind="lcdh-teacher", config=vars(TEACHER))
    images = tmp_path / "images"
    images.mkdir()
    for name, colour in (("red", "red"), ("sky", "blue"), ("grass", "green")):
        Image.new("RGB", (32, 32), colour).save(images / f"{name}.png")
    (tmp_path / "captions.csv").write_text("image,caption\nred,red\nsky,blue\ngrass,green\n")
    arguments = ["--images", str(images), "--captions", str(tmp_path / "captions.csv"), "--json"]
    assert main(["evaluate", "hashing", "--model", str(path), "--teacher", *arguments]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["n_texts"] == 3 and report["codes"].keys() == {"16", "32", "64", "128"}
