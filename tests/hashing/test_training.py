"""``derefl train teacher``, ``student`` and ``heads``: corpus, a resumed run, the saved file."""

import json
from dataclasses import asdict
from functools import cache

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from derefl import load_lcdh_student, load_lcdh_teacher
from derefl.cli import main
from derefl.errors import DataError
from derefl.hashing.codes import hamming
from derefl.hashing.learning import train_heads, train_student, train_teacher
from derefl.hashing.learning.captions import read_captions
from derefl.hashing.learning.corpus import (
    EVERY_NAMED,
    Corpus,
    CorpusConfig,
    imagenet_names,
    read_corpus,
)
from derefl.hashing.learning.distiller import Distiller
from derefl.hashing.learning.evaluate import evaluate_captions
from derefl.hashing.learning.features import views
from derefl.hashing.learning.phrases import loose_phrases
from derefl.hashing.teacher import similarity
from derefl.hashing.teacher_pipeline import TeacherHasher, TeacherPipeline
from derefl.training import loop
from derefl.training.config import read_config
from derefl.training.imagenet import load_imagenet_weights
from derefl.zoo.checkpoint import save_checkpoint
from tests.conftest import REPOSITORY
from tests.hashing.fake import COLOURS
from tests.hashing.test_online import ColourEncoder
from tests.hashing.tiny import STUDENT as TINY
from tests.hashing.tiny import tiny_hasher

TEACHER = ["model.dim=64", "run.steps=60", "run.batch=12", "run.warmup=5", "run.save_every=20"]
STUDENT = [
    "loss.contrastive=1.0",
    "run.learning_rate=0.003",
    "run.tune=0.0",
    "run.word_dropout=0.0",
    "run.views=3",
    "model.image_size=64",
    "model.token_dim=16",
    "run.steps=100",
    "run.batch=12",
    "run.warmup=5",
    "run.save_every=20",
]


@pytest.fixture
def data(tmp_path):
    """Four pictures per colour with two captions, some with tags, and some with synset names."""
    rng = np.random.default_rng(0)
    captions, tags = ["image,caption"], ["image,theme,tags"]
    for folder in ("images", "tagged", "named"):
        (tmp_path / folder).mkdir()
    for name, colour in COLOURS.items():
        for i in range(4):
            shade = np.clip(np.array(colour) * 255 + rng.normal(0, 20, (48, 64, 3)), 0, 255)
            picture = Image.fromarray(shade.astype(np.uint8))
            picture.save(tmp_path / "images" / f"{name}{i}.png")
            captions += [f"{name}{i},a {name} wall", f"{name}{i},all {name} {i}"]
            picture.save(tmp_path / "tagged" / f"t{name}{i}.png")
            tags.append(f"t{name}{i},1,{name} wall")
            noise = Image.fromarray(rng.integers(0, 256, (48, 64, 3)).astype(np.uint8))
            noise.save(tmp_path / "named" / f"n02084071_{name}{i}.png")
    (tmp_path / "captions.csv").write_text("\n".join(captions))
    (tmp_path / "tags.csv").write_text("\n".join(tags))
    (tmp_path / "split.txt").write_text("\n".join(f"{n}{i}" for n in COLOURS for i in range(3)))
    return tmp_path


@cache
def few_names():
    """A hundred of ImageNet's 20,000 names, because a student encodes all names."""
    wanted = ("dog", "golden retriever", "rocket", "teapot")
    names = enumerate(imagenet_names().items())
    return {synset: name for i, (synset, name) in names if name in wanted or i % 200 == 0}


@pytest.fixture(autouse=True)
def small_world(monkeypatch):
    """The colour encoder instead of the stand-in, and few names."""
    names = few_names()
    for module in ("corpus", "phrases"):
        monkeypatch.setattr(f"derefl.hashing.learning.{module}.imagenet_names", lambda: names)
    monkeypatch.setattr(train_teacher, "load_encoder", lambda *_: ColourEncoder())
    monkeypatch.setattr(train_student, "start_text_tower", lambda *_: None)


def options(data):
    return [
        *("--images", str(data / "images"), "--captions", str(data / "captions.csv")),
        *("--split", str(data / "split.txt")),
        *("--tagged", str(data / "tagged"), "--tags", str(data / "tags.csv")),
        *("--named", str(data / "named")),
    ]


def config(data):
    return CorpusConfig(
        images=str(data / "images"),
        captions=str(data / "captions.csv"),
        split=str(data / "split.txt"),
        tagged=str(data / "tagged"),
        tags=str(data / "tags.csv"),
        named=str(data / "named"),
    )


class TestCorpus:
    def test_sources_and_groups(self, data):
        corpus = read_corpus(config(data))
        assert corpus.captioned == 21
        names = [path.stem for path in corpus.paths]
        assert "red3" not in names and "red2" in names  # not in the split
        named = [n for n in names if n.startswith("n02084071")]
        assert len(named) == 28 - -(-28 // EVERY_NAMED)
        assert {corpus.texts[i] for i in corpus.of[names.index(named[0])]} >= {"dog", "a dog"}
        red = names.index("red0")
        assert [corpus.texts[i] for i in corpus.of[red]] == ["a red wall", "all red 0"]
        assert corpus.groups[names.index("tred0")] == corpus.groups[names.index("tred1")]
        assert corpus.groups[names.index("red0")] != corpus.groups[names.index("red1")]
        assert len({*corpus.texts}) == len(corpus.texts)

    def test_a_batch_pairs_pictures_with_their_own_texts(self, data):
        corpus = read_corpus(config(data))
        pictures, texts = corpus.batch(12, 0.5, np.random.default_rng(0))
        assert len({*pictures}) == 12 and (pictures < corpus.captioned).sum() == 6
        assert all(t in corpus.of[p] for p, t in zip(pictures, texts, strict=True))

    def test_a_batch_is_never_larger_than_the_corpus(self, data):
        whole = config(data)
        for corpus in (
            read_corpus(whole),
            read_corpus(CorpusConfig(whole.images, whole.captions)),
            read_corpus(CorpusConfig(tagged=whole.tagged, tags=whole.tags)),
        ):
            pictures, _ = corpus.batch(500, 0.5, np.random.default_rng(0))
            assert sorted(pictures) == list(range(len(corpus.paths)))

    def test_folds_part_the_pictures_and_a_batch_keeps_to_one(self, data):
        corpus = read_corpus(config(data))
        folds = [corpus.in_fold(k, 3) for k in range(3)]
        assert (sum(fold.astype(int) for fold in folds) == 1).all()
        pictures, texts = corpus.batch(12, 0.5, np.random.default_rng(0), folds[1])
        assert len({*pictures}) == 12 and folds[1][pictures].all()
        assert (pictures < corpus.captioned).sum() == 6
        assert all(t in corpus.of[p] for p, t in zip(pictures, texts, strict=True))
        every, _ = corpus.batch(500, 0.5, np.random.default_rng(0), folds[2])
        assert sorted(every) == list(np.flatnonzero(folds[2]))

    def test_nothing_to_learn_from(self, data):
        with pytest.raises(DataError, match="--images and --captions belong together"):
            read_corpus(CorpusConfig(images=str(data / "images")))
        with pytest.raises(DataError, match="no pictures to learn from"):
            read_corpus(CorpusConfig())
        (data / "tags.csv").write_text("image,tags\ngone,red")
        with pytest.raises(DataError, match="names 'gone'"):
            read_corpus(config(data))


def test_teacher_then_student(data, tmp_path, capsys):
    """Both commands, stopped and resumed, give the same result as an uninterrupted run."""
    runs = {}
    for name, stops in (("whole", [60]), ("parts", [20, 60])):
        out = tmp_path / f"teacher-{name}"
        for stop in stops:
            arguments = [*options(data), "--out", str(out), "--set", *TEACHER]
            if stop < 60:
                stopped_after(stop, lambda a=arguments: main(["train", "teacher", *a]))
            else:
                assert main(["train", "teacher", *arguments]) == 0
        runs[name] = load_lcdh_teacher(out / "model.safetensors")
    for a, b in zip(runs["whole"].parameters(), runs["parts"].parameters(), strict=True):
        assert torch.equal(a, b)
    log = [json.loads(line) for line in (tmp_path / "teacher-whole/log.jsonl").open()]
    assert log[0]["event"] == "start" and log[1]["codes"] > 0

    teacher = tmp_path / "teacher-whole" / "model.safetensors"
    out = tmp_path / "student"
    arguments = [*options(data), "--teacher", str(teacher), "--out", str(out), "--set", *STUDENT]
    assert main(["train", "student", *arguments]) == 0
    student = load_lcdh_student(out / "model.safetensors")
    texts = [f"a {name} wall" for name in COLOURS]
    pictures = [data / "images" / f"{name}0.png" for name in COLOURS]
    distance = hamming(student.encode_text(texts), student.encode_image(pictures)).astype(float)
    right = np.diag(distance).mean()
    assert right + 3 < distance[~np.eye(len(COLOURS), dtype=bool)].mean()

    captions = read_captions(data / "images", data / "captions.csv")
    hasher = TeacherHasher(TeacherPipeline(runs["whole"], ColourEncoder()), bits=128)
    report = evaluate_captions(hasher, captions)
    assert report["codes"]["128"]["text_to_image"]["r@10"] > 70


def stopped_after(step, run):
    """Run until ``step`` steps are saved, then stop with Ctrl-C."""
    save = loop.save_state

    def save_and_stop(path, model, ema, optimiser, progress):
        save(path, model, ema, optimiser, progress)
        if progress.step >= step:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "save_state", save_and_stop)
        assert run() == 130


def test_features_of_other_data_are_refused(data, tmp_path, capsys):
    out = tmp_path / "teacher"
    arguments = [*options(data), "--out", str(out), "--set", *TEACHER, "run.steps=1"]
    assert main(["train", "teacher", *arguments]) == 0
    capsys.readouterr()
    assert main(["train", "teacher", *arguments, "run.views=2"]) == 1
    assert "images 5×74" in capsys.readouterr().err
    (data / "split.txt").write_text("red0")
    assert main(["train", "teacher", *arguments]) == 1
    assert "delete the file or choose another --out" in capsys.readouterr().err


def test_every_view_is_encoded_and_learned_from(data, tmp_path, monkeypatch):
    """The views are those of ``views``; a batch takes each picture in a random view."""
    corpus = read_corpus(config(data))
    features = train_teacher.encode(ColourEncoder(), corpus, 4, torch.device("cpu"))
    assert features.images.shape == (4, len(corpus.paths), 12)
    rng = np.random.default_rng(0)
    for row, path in enumerate(corpus.paths):
        with Image.open(path) as picture:
            looks = ColourEncoder().encode_image(views(picture.convert("RGB"), 4, rng))
        torch.testing.assert_close(features.images[:, row], looks)

    seen = []
    loss = train_teacher.teacher_loss
    monkeypatch.setattr(
        train_teacher, "teacher_loss", lambda m, x, *a: seen.append(x) or loss(m, x, *a)
    )
    arguments = [*options(data), "--out", str(tmp_path / "out"), "--set", *TEACHER]
    arguments += ["run.views=4", "run.steps=20"]
    assert main(["train", "teacher", *arguments]) == 0
    saved = load_file(tmp_path / "out" / "features-stand-in.safetensors")["images"].float()
    taken = torch.cat(seen)
    for view in saved:
        assert (taken[:, None] == view).all(dim=-1).any(dim=1).float().mean() > 0.15


def test_teachers_with_different_encoders(data, tmp_path):
    """Each teacher uses its own encoder; the student learns from the mean similarities."""
    for name, encoder in (("first", "stand-in"), ("second", "stand-in+org/text")):
        arguments = [*options(data), "--out", str(tmp_path / name), "--set", *TEACHER]
        arguments += ["run.steps=1", f"model.encoder={encoder}"]
        assert main(["train", "teacher", *arguments]) == 0
    teachers = [tmp_path / name / "model.safetensors" for name in ("first", "second")]
    out = tmp_path / "student"
    arguments = [*options(data), "--out", str(out), "--teacher", *map(str, teachers)]
    assert main(["train", "student", *arguments, "--set", *STUDENT, "run.steps=1"]) == 0
    names = ["features-stand-in.safetensors", "features-stand-in-org-text.safetensors"]
    assert sorted(path.name for path in out.glob("features*")) == sorted(names)

    # Two different encoders: products of the vectors are means over the teachers.
    a, b = (load_lcdh_teacher(path) for path in teachers)
    torch.manual_seed(0)
    mine, yours = (
        train_teacher.Features(torch.randn(2, 3, 12), torch.randn(4, 8)) for _ in range(2)
    )
    image, text = train_student.seen_by([a, b], {"stand-in": mine, "stand-in+org/text": yours})
    expected = [
        similarity(teacher.image(f.images).mean(dim=0), teacher.text(f.texts))
        for teacher, f in ((a, mine), (b, yours))
    ]
    torch.testing.assert_close(image @ text.T, torch.stack(expected).mean(dim=0))


def test_a_student_learns_of_a_fold_from_teachers_who_left_it_out(data, tmp_path, monkeypatch):
    drawn, taught, shares = [], [], []
    batch, loss = Corpus.batch, Distiller.loss

    def spy_batch(self, *args):
        found = batch(self, *args)
        drawn.append(found[0])
        return found

    def spy_loss(self, items, *args):
        taught.append(items.teacher_image)
        shares.append(args[-1])
        return loss(self, items, *args)

    monkeypatch.setattr(Corpus, "batch", spy_batch)
    monkeypatch.setattr(Distiller, "loss", spy_loss)
    corpus = read_corpus(config(data))
    teachers = []
    for fold in range(3):
        drawn.clear()
        out = tmp_path / f"fold{fold}"
        settings = [*TEACHER, "run.steps=4", "run.folds=3", f"run.fold={fold}", f"run.seed={fold}"]
        arguments = [*options(data), "--out", str(out), "--set", *settings]
        assert main(["train", "teacher", *arguments]) == 0
        assert not corpus.in_fold(fold, 3)[np.concatenate(drawn)].any()
        teachers.append(out / "model.safetensors")

    drawn.clear()
    out = tmp_path / "student"
    arguments = [*options(data), "--out", str(out), "--teacher", *map(str, teachers)]
    settings = [*STUDENT, "run.steps=5", "run.folds=3", "loss.regression=0", "run.mix=0.3"]
    shares.clear()
    assert main(["train", "student", *arguments, "--set", *settings]) == 0
    own = torch.cat([share.diagonal() for share in shares])
    assert own.min() >= 0.7 and own.std() > 0.05
    features = train_teacher.Features(**load_file(out / "features-stand-in.safetensors"))
    features = train_teacher.Features(features.images.float(), features.texts.float())
    assert len(drawn) == len(taught) == 5
    for number, (pictures, image) in enumerate(zip(drawn, taught, strict=True)):
        assert corpus.in_fold(number % 3, 3)[pictures].all()
        teacher = load_lcdh_teacher(teachers[number % 3])
        expected, _ = train_student.seen_by([teacher], {"stand-in": features})
        torch.testing.assert_close(image, expected)


@pytest.mark.parametrize(
    "settings, message",
    [
        (["run.folds=2"], "got 1 teachers for run.folds=2"),
        (["run.folds=0"], "got run.folds=0"),
    ],
)
def test_teachers_that_do_not_come_in_folds(data, tmp_path, capsys, settings, message):
    arguments = [*options(data), "--out", str(tmp_path / "out"), "--set", *STUDENT, *settings]
    assert main(["train", "student", *arguments]) == 1
    assert message in capsys.readouterr().err


def test_a_teacher_of_no_fold(data, tmp_path, capsys):
    arguments = [*options(data), "--out", str(tmp_path / "out"), "--set", *TEACHER]
    for wrong in (["run.fold=1"], ["run.folds=3", "run.fold=3"]):
        assert main(["train", "teacher", *arguments, *wrong]) == 1
        assert "expected run.fold from 0 to" in capsys.readouterr().err


def test_teachers_of_folds_have_no_codes_in_common(data, tmp_path, capsys):
    arguments = [*options(data), "--teacher", "lcdh-teacher", "lcdh-teacher", "--out"]
    arguments += [str(tmp_path / "out"), "--set", *STUDENT, "run.folds=2"]
    assert main(["train", "student", *arguments]) == 1
    assert "set loss.regression=0" in capsys.readouterr().err


def test_a_teacher_without_codes_learns_from_features_alone(both_precisions, data, tmp_path):
    off = [f"run.{name}=0" for name in ("codes", "code_rows", "joint", "lambda1", "lambda2")]
    out = tmp_path / "teacher"
    arguments = [*options(data), "--out", str(out), "--set", *TEACHER, *off]
    assert main(["train", "teacher", *arguments]) == 0
    log = [json.loads(line) for line in (out / "log.jsonl").open()]
    assert log[1]["loss"] == pytest.approx(log[1]["features"], abs=1e-5)
    assert "codes" not in log[1]


@pytest.mark.parametrize("fixed", [5, 6])
def test_only_the_stages_above_the_fixed_ones_are_tuned(both_precisions, data, tmp_path, fixed):
    teacher, out = tmp_path / "teacher", tmp_path / "student"
    arguments = [*options(data), "--out", str(teacher), "--set", *TEACHER, "run.steps=1"]
    assert main(["train", "teacher", *arguments]) == 0
    arguments = [*options(data), "--teacher", str(teacher / "model.safetensors"), "--out", str(out)]
    arguments += ["--set", *STUDENT, "run.tune=0.5", "run.steps=2", f"run.fixed={fixed}"]
    assert main(["train", "student", *arguments]) == 0
    learned = load_lcdh_student(out / "model.safetensors").image.backbone
    begun = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    load_imagenet_weights(begun, "tf_efficientnet_lite0", num_classes=0)
    changed = [
        any(not torch.equal(a, b.half().float()) for a, b in zip(*both, strict=True))
        for both in zip(
            map(nn.Module.parameters, learned.blocks),
            map(nn.Module.parameters, begun.blocks),
            strict=True,
        )
    ]
    assert changed == [stage >= fixed for stage in range(7)]


HEADS = [
    *("run.steps=60", "run.batch=12", "run.warmup=5", "run.save_every=20"),
    *("run.hidden=520", "run.phrases=8"),
]


@pytest.fixture
def student(tmp_path):
    """The file of a student with random weights."""
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(tiny_hasher(), path, kind="lcdh-student", config=asdict(TINY))
    return path


def test_heads_learn_who_is_near_in_the_features(data, tmp_path, student):
    """Stopped and resumed; the codes rank like the features, and the towers do not change."""
    runs = {}
    for name, stops in (("whole", [60]), ("parts", [20, 60])):
        out = tmp_path / name
        arguments = [*options(data), "--start", str(student), "--out", str(out), "--set", *HEADS]
        for stop in stops:
            if stop < 60:
                stopped_after(stop, lambda a=arguments: main(["train", "heads", *a]))
            else:
                assert main(["train", "heads", *arguments]) == 0
        runs[name] = load_file(out / "model.safetensors")
    begun, learned = load_file(student), runs["whole"]
    for name, tensor in learned.items():
        assert torch.equal(tensor, runs["parts"][name])
        if "_hash" not in name:
            assert torch.equal(tensor, begun[name])
    assert learned["image_hash.bend.0.weight"].shape == (520, TINY.feature_dim)
    assert not torch.equal(learned["image_hash.project.weight"], begun["image_hash.project.weight"])

    captions = read_captions(data / "images", data / "captions.csv")

    def agreement(path):
        """Correlation of the codes' similarities with the features' similarities."""
        hasher = load_lcdh_student(path, bits=64)
        paths, texts = list(captions.paths), captions.captions
        near = hasher.image_features(paths) @ hasher.text_features(texts).T
        far = hamming(hasher.encode_image(paths), hasher.encode_text(texts))
        return np.corrcoef(near.ravel(), -far.ravel().astype(float))[0, 1]

    assert agreement(tmp_path / "whole" / "model.safetensors") > agreement(student) + 0.2


@pytest.mark.parametrize("kind", ["teacher", "heads"])
def test_a_batch_without_finite_gradients_changes_no_weights(
    kind, data, tmp_path, student, monkeypatch
):
    module, settings = (train_teacher, TEACHER) if kind == "teacher" else (train_heads, HEADS)
    loss, factors = getattr(module, f"{kind}_loss"), iter([1.0, float("nan"), 1.0])

    def sometimes_broken(*arguments):
        total, terms = loss(*arguments)
        return total * next(factors), terms

    monkeypatch.setattr(module, f"{kind}_loss", sometimes_broken)
    start = ["--start", str(student)] if kind == "heads" else []
    arguments = [*options(data), *start, "--out", str(tmp_path / "out"), "--set", *settings]
    assert main(["train", kind, *arguments, "run.steps=3"]) == 0
    assert next(factors, None) is None
    learned = load_file(tmp_path / "out" / "model.safetensors")
    assert all(tensor.isfinite().all() for tensor in learned.values())


def test_heads_learn_from_phrases_and_align_pairs_only():
    hasher = tiny_hasher()
    run = train_heads.HeadsRun(hasher.image_hash, hasher.text_hash)
    unit = nn.functional.normalize(torch.randn(3, 10, TINY.feature_dim), dim=-1)
    texts = torch.cat([unit[1], unit[2]])
    weights = train_heads.HeadsLossConfig()
    _, alone = train_heads.heads_loss(run, unit[0], unit[1], weights)
    _, more = train_heads.heads_loss(run, unit[0], texts, weights)
    assert more["lambda1"] == alone["lambda1"]
    for term in ("across", "within", "decorrelation"):
        assert more[term] != pytest.approx(alone[term], rel=0.001)


def test_phrases_are_spans_of_captions_and_names(data):
    corpus = read_corpus(config(data))
    phrases = loose_phrases(corpus)
    captions = [corpus.texts[i] for rows in corpus.of[: corpus.captioned] for i in rows]
    text = " | ".join(f" {caption} " for caption in captions)
    spans = phrases[: next(i for i, phrase in enumerate(phrases) if f" {phrase} " not in text)]
    assert len(set(spans)) == len(spans) > 10
    assert {len(span.split()) for span in spans} == {1, 2, 3}
    names = " | ".join(phrases[len(spans) :])
    assert all(name in names for name in ("teapot", "rocket", "golden retriever", "a photo of a "))
    assert phrases == loose_phrases(corpus)


def test_features_of_another_student_are_refused(data, tmp_path, student, capsys):
    out = tmp_path / "heads"
    arguments = [*options(data), "--out", str(out), "--set", *HEADS, "run.steps=1"]
    assert main(["train", "heads", "--start", str(student), *arguments]) == 0
    features = load_file(out / "features-student.safetensors")
    phrases = loose_phrases(read_corpus(config(data)))
    expected = load_lcdh_student(student).text_features(phrases[:50])
    np.testing.assert_allclose(features["phrases"][:50].numpy(), expected, atol=1e-5)
    for part in ("image", "text"):  # a student that differs in one tower only
        hasher = tiny_hasher()
        setattr(hasher, part, getattr(tiny_hasher(seed=1), part))
        other = tmp_path / f"{part}.safetensors"
        save_checkpoint(hasher, other, kind="lcdh-student", config=asdict(TINY))
        assert main(["train", "heads", "--start", str(other), *arguments]) == 1
        assert "features of another student" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["teacher", "student", "heads"])
def test_settings_out_of_range_are_one_line(kind, capsys, tmp_path):
    for setting, expected in (
        ("run.save_every=0", "a whole number >= 1"),
        ("run.steps=-1", "a whole number >= 1"),
        ("run.batch=0", "a whole number >= 1"),
        ("run.seed=1e30", "a whole number"),
        ("run.seed=99999999999", "a whole number <= 4294967295"),
        ("run.ema=1.5", "a number <= 1.0"),
        ("run.learning_rate=0", "a number > 0.0"),
        ("run.weight_decay=nan", "a number >= 0.0"),
        ("run.weight_decay=inf", "a number <= 1000000000.0"),
        ("corpus.images=[]", "a text"),
    ):
        assert main(["train", kind, "--out", str(tmp_path / "run"), "--set", setting]) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"derefl: got {setting.partition('=')[0]}=")
        assert error.endswith(f", expected {expected}\n")
    assert not (tmp_path / "run").exists()


def test_the_shipped_recipes_read():
    heads = read_config(train_heads.HeadsTrainConfig, REPOSITORY / "configs" / "lcdh-heads.toml")
    assert (heads.corpus.caption_share, heads.run.seed) == (0.7, 1)
    for kind, name in (
        (train_teacher.TeacherTrainConfig, "lcdh-teacher"),
        (train_teacher.TeacherTrainConfig, "lcdh-fold"),
        (train_student.StudentTrainConfig, "lcdh-student"),
    ):
        recipe = read_config(kind, REPOSITORY / "configs" / f"{name}.toml")
        assert recipe.corpus.caption_share == 0.85
