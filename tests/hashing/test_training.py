"""``derefl train teacher``, ``student`` and ``heads``: corpus, runs, the saved files."""

import gzip
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from derefl import load_lcdh_student
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
from derefl.hashing.teacher_pipeline import TeacherPipeline, load_teacher_network
from derefl.hashing.tokenizer import tokenize
from derefl.training import loop
from derefl.training.config import read_config
from derefl.training.imagenet import load_imagenet_weights
from derefl.zoo.checkpoint import save_checkpoint
from tests.conftest import REPOSITORY
from tests.hashing.fake import COLOURS
from tests.hashing.test_online import ColourEncoder
from tests.hashing.tiny import STUDENT as TINY
from tests.hashing.tiny import tiny_hasher

RUN = ["run.batch=12", "run.warmup=5", "run.save_every=100", "run.views=2"]
TEACHER = [*RUN, "model.dim=64", "run.steps=50"]
STUDENT = [
    *RUN,
    *("loss.contrastive=1.0", "run.learning_rate=0.003", "run.tune=0.0", "run.word_dropout=0.0"),
    *("model.image_size=64", "model.token_dim=16", "run.steps=50"),
]
HEADS = [*RUN, "run.steps=50", "run.hidden=520", "run.loose=8"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four pictures per colour with two captions, some with tags, and some with synset names."""
    data, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    captions, tags = ["image,caption"], ["image,theme,tags"]
    for folder in ("images", "tagged", "named"):
        (data / folder).mkdir()
    for name, colour in COLOURS.items():
        for i in range(4):
            shade = np.clip(np.array(colour) * 255 + rng.normal(0, 20, (48, 64, 3)), 0, 255)
            picture = Image.fromarray(shade.astype(np.uint8))
            picture.save(data / "images" / f"{name}{i}.png")
            captions += [f"{name}{i},a {name} wall", f"{name}{i},all {name} {i}"]
            picture.save(data / "tagged" / f"t{name}{i}.png")
            tags.append(f"t{name}{i},1,{name} wall")
            noise = Image.fromarray(rng.integers(0, 256, (48, 64, 3)).astype(np.uint8))
            noise.save(data / "named" / f"n02084071_{name}{i}.png")
    (data / "captions.csv").write_text("\n".join(captions))
    (data / "tags.csv").write_text("\n".join(tags))
    (data / "split.txt").write_text("\n".join(f"{n}{i}" for n in COLOURS for i in range(3)))
    return data


@pytest.fixture(scope="module")
def sources(data):
    """The options of the corpus."""
    files = {"captions": "captions.csv", "split": "split.txt", "tags": "tags.csv"}
    names = ("images", "captions", "split", "tagged", "tags", "named")
    return CorpusConfig(**{name: str(data / files.get(name, name)) for name in names})


@pytest.fixture(scope="module", autouse=True)
def small_world():
    """The colour encoder instead of the stand-in, and few of ImageNet's 20,000 names."""
    wanted = ("dog", "golden retriever", "rocket", "teapot")
    every = enumerate(imagenet_names().items())
    names = {synset: name for i, (synset, name) in every if name in wanted or i % 2000 == 0}
    with pytest.MonkeyPatch.context() as patch:
        for module in ("corpus", "phrases"):
            patch.setattr(f"derefl.hashing.learning.{module}.imagenet_names", lambda: names)
        patch.setattr(train_teacher, "load_encoder", lambda *_: ColourEncoder())
        patch.setattr(train_student, "start_text_tower", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def corpus(sources, small_world):
    return read_corpus(sources)


@pytest.fixture
def train(sources):
    """Run ``derefl train`` and return its exit status."""

    def run(kind, out, settings, *more, **other):
        given = {name: value for name, value in asdict(sources).items() if isinstance(value, str)}
        given |= other
        options = [part for name, value in given.items() for part in (f"--{name}", value)]
        return main(["train", kind, *options, "--out", str(out), *more, "--set", *settings])

    return run


@pytest.fixture(scope="module")
def teacher(sources, small_world, tmp_path_factory):
    """The file of a trained teacher."""
    out = tmp_path_factory.mktemp("teacher")
    config = read_config(train_teacher.TeacherTrainConfig, None, TEACHER)
    train_teacher.train_teacher(replace(config, corpus=sources), out, torch.device("cpu"))
    return out / "model.safetensors"


@pytest.fixture
def student(tmp_path):
    """The file of a student with random weights."""
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(tiny_hasher(), path, kind="lcdh-student", config=asdict(TINY))
    return path


class TestCorpus:
    def test_sources_and_groups(self, corpus):
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

    def test_a_batch_pairs_pictures_of_a_fold_with_their_own_texts(self, corpus):
        folds = [corpus.in_fold(k, 3) for k in range(3)]
        assert (sum(fold.astype(int) for fold in folds) == 1).all()
        for among in (None, folds[1]):
            pictures, texts = corpus.batch(12, 0.5, np.random.default_rng(0), among)
            assert len({*pictures}) == 12 and (pictures < corpus.captioned).sum() == 6
            assert all(t in corpus.of[p] for p, t in zip(pictures, texts, strict=True))
        assert folds[1][pictures].all()

    def test_a_batch_is_never_larger_than_the_corpus(self, corpus, sources):
        few = replace(sources, tagged="", tags="", named="", split="")
        for some in (corpus, read_corpus(few)):
            pictures, _ = some.batch(500, 0.5, np.random.default_rng(0))
            assert sorted(pictures) == list(range(len(some.paths)))
        fold = corpus.in_fold(2, 3)
        pictures, _ = corpus.batch(500, 0.5, np.random.default_rng(0), fold)
        assert sorted(pictures) == list(np.flatnonzero(fold))

    def test_texts_without_a_picture_come_last(self, corpus, sources, tmp_path):
        rng, more = np.random.default_rng(0), tmp_path / "more.csv.gz"
        more.write_bytes(
            gzip.compress(b"group,caption\n1,a red wall\n1,a boat\n2,an owl\n2,a boat")
        )
        both = read_corpus(replace(sources, texts=(str(more),)))
        assert both.texts == [*corpus.texts, "a boat", "an owl"]
        assert {both.texts[row] for row in both.loose(50, rng)} == {"a boat", "an owl"}
        assert len(corpus.loose(50, rng)) == 0
        for content in (gzip.compress(b"group,caption\n1,x")[:-9], b"no archive"):
            more.write_bytes(content)
            with pytest.raises(DataError, match="cannot be read"):
                read_corpus(replace(sources, texts=(str(more),)))

    def test_nothing_to_learn_from(self, sources, tmp_path):
        (tmp_path / "tags.csv").write_text("image,tags\ngone,red")
        for config, message in (
            (CorpusConfig(images=sources.images), "--images and --captions belong together"),
            (CorpusConfig(), "no pictures to learn from"),
            (replace(sources, tags=str(tmp_path / "tags.csv")), "names 'gone'"),
        ):
            with pytest.raises(DataError, match=message):
                read_corpus(config)


def test_a_stopped_and_resumed_run_gives_the_same_teacher(train, tmp_path):
    settings, save = [*TEACHER, "run.steps=6", "run.save_every=2"], loop.save_state

    def save_and_stop(path, model, average, optimiser, progress):
        save(path, model, average, optimiser, progress)
        if progress.step == 4:
            raise KeyboardInterrupt

    assert train("teacher", tmp_path / "whole", settings) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "save_state", save_and_stop)
        assert train("teacher", tmp_path / "parts", settings) == 130
    assert train("teacher", tmp_path / "parts", settings) == 0
    whole, parts = (load_file(tmp_path / x / "model.safetensors") for x in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_teacher_then_student(data, teacher, train, tmp_path):
    """Both learn which pictures and texts belong together."""
    log = [json.loads(line) for line in (teacher.parent / "log.jsonl").open()]
    assert log[0]["event"] == "start" and log[1]["codes"] > 0
    captions = read_captions(data / "images", data / "captions.csv")
    pipeline = TeacherPipeline(load_teacher_network(teacher), ColourEncoder(), bits=128)
    report = evaluate_captions(pipeline, captions)
    assert report["codes"]["128"]["text_to_image"]["r@10"] > 70

    assert train("student", tmp_path, STUDENT, "--teacher", str(teacher)) == 0
    student = load_lcdh_student(tmp_path / "model.safetensors")
    texts = [f"a {name} wall" for name in COLOURS]
    pictures = [data / "images" / f"{name}0.png" for name in COLOURS]
    distance = hamming(student.encode_text(texts), student.encode_image(pictures)).astype(float)
    right = np.diag(distance).mean()
    assert right + 3 < distance[~np.eye(len(COLOURS), dtype=bool)].mean()


def test_a_student_learns_from_texts_without_a_picture(teacher, train, student, tmp_path):
    """The word "boat" occurs in no text of a picture."""
    texts = tmp_path / "more.csv"
    texts.write_text("caption\na boat")
    ((boat,),) = tokenize(["boat"], TINY.vocabulary, TINY.max_tokens)
    sizes = ["model.feature_dim=128", "model.hash_hidden=512"]
    moved = []
    for loose in (0, 4):
        out, run = tmp_path / str(loose), ["run.steps=2", "run.ema=0.0", f"run.loose={loose}"]
        given = ("--teacher", str(teacher), "--start", str(student), "--texts", str(texts))
        assert train("student", out, [*STUDENT, *sizes, *run], *given) == 0
        before, after = (
            load_file(file)["text.embed.weight"][boat]
            for file in (student, out / "model.safetensors")
        )
        moved.append(not torch.allclose(before, after))
    assert moved == [False, True]


def test_features_of_other_data_are_refused(train, tmp_path, capsys):
    settings = [*TEACHER, "run.steps=1"]
    assert train("teacher", tmp_path, settings) == 0
    (tmp_path / "split.txt").write_text("red0")
    capsys.readouterr()
    assert train("teacher", tmp_path, [*settings, "run.views=3"]) == 1
    assert "holds images 2×74, texts" in capsys.readouterr().err
    assert train("teacher", tmp_path, settings, split=str(tmp_path / "split.txt")) == 1
    assert "delete the file or choose another --out" in capsys.readouterr().err


def test_every_view_is_encoded_and_learned_from(corpus, train, tmp_path, monkeypatch):
    """The views are those of ``views``; a batch takes each picture in a random view."""
    seen, loss = [], train_teacher.teacher_loss
    spy = lambda m, x, *a: seen.append(x) or loss(m, x, *a)  # noqa: E731
    monkeypatch.setattr(train_teacher, "teacher_loss", spy)
    assert train("teacher", tmp_path, [*TEACHER, "run.views=4", "run.steps=20"]) == 0
    saved = load_file(tmp_path / "features-stand-in.safetensors")["images"].float()
    assert saved.shape == (4, len(corpus.paths), 12)
    rng = np.random.default_rng(0)
    for row, path in enumerate(corpus.paths):
        with Image.open(path) as picture:
            looks = ColourEncoder().encode_image(views(picture.convert("RGB"), 4, rng))
        torch.testing.assert_close(saved[:, row], looks.half().float())
    taken = torch.cat(seen)
    for view in saved:
        assert (taken[:, None] == view).all(dim=-1).any(dim=1).float().mean() > 0.15


def test_teachers_with_different_encoders(train, teacher, tmp_path):
    """Each teacher uses its own encoder; the student learns from the mean similarities."""
    other = tmp_path / "other" / "model.safetensors"
    settings = [*TEACHER, "run.steps=1", "model.encoder=stand-in+org/text"]
    assert train("teacher", other.parent, settings) == 0
    both, out = (str(teacher), str(other)), tmp_path / "student"
    assert train("student", out, [*STUDENT, "run.steps=1"], "--teacher", *both) == 0
    names = ["features-stand-in-org-text.safetensors", "features-stand-in.safetensors"]
    assert sorted(path.name for path in out.glob("features*")) == names

    # Two different encoders: products of the vectors are means over the teachers.
    a, b = map(load_teacher_network, both)
    torch.manual_seed(0)
    mine, yours = ((torch.randn(2, 3, 12), torch.randn(4, 8)) for _ in range(2))
    image, text = train_student.seen_by([a, b], {"stand-in": mine, "stand-in+org/text": yours})
    expected = [
        F.normalize(teacher.image(images).mean(dim=0), dim=-1) @ teacher.text(texts).T
        for teacher, (images, texts) in ((a, mine), (b, yours))
    ]
    torch.testing.assert_close(image @ text.T, torch.stack(expected).mean(dim=0))


def test_a_student_learns_of_a_fold_from_teachers_who_left_it_out(
    corpus, train, tmp_path, monkeypatch
):
    drawn, folds, shares, teachers = [], [], [], []
    draw, loss, seen_by = Corpus.batch, Distiller.loss, train_student.seen_by

    def spy_draw(*args):
        drawn.append(draw(*args))
        return drawn[-1]

    def spy_loss(self, batch, positives, share):
        shares.append(share)
        i = drawn[-1][0]
        assert torch.equal(batch.teacher_image, folds[(len(drawn) - 1) % 3][0][i])
        return loss(self, batch, positives, share)

    def spy_seen_by(some, features):
        folds.append(seen_by(some, features))
        alone = seen_by([load_teacher_network(teachers[len(folds) - 1])], features)
        assert torch.equal(folds[-1][0], alone[0])
        return folds[-1]

    monkeypatch.setattr(Corpus, "batch", spy_draw)
    monkeypatch.setattr(Distiller, "loss", spy_loss)
    monkeypatch.setattr(train_student, "seen_by", spy_seen_by)
    for fold in range(3):
        drawn.clear()
        settings = [*TEACHER, "run.steps=4", "run.folds=3", f"run.fold={fold}", f"run.seed={fold}"]
        assert train("teacher", tmp_path / str(fold), settings) == 0
        assert len(drawn) == 4
        assert not corpus.in_fold(fold, 3)[np.concatenate([p for p, _ in drawn])].any()
        teachers.append(str(tmp_path / str(fold) / "model.safetensors"))

    drawn.clear()
    settings = [*STUDENT, "run.steps=5", "run.folds=3", "loss.regression=0", "run.mix=0.3"]
    assert train("student", tmp_path / "student", settings, "--teacher", *teachers) == 0
    assert len(drawn) == len(shares) == 5 and len(folds) == 3
    assert all(corpus.in_fold(i % 3, 3)[pictures].all() for i, (pictures, _) in enumerate(drawn))
    own = torch.cat([share.diagonal() for share in shares])
    assert own.min() >= 0.7 and own.std() > 0.05


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("teacher", ["run.fold=1"], "expected run.fold from 0 to 0"),
        ("teacher", ["run.folds=3", "run.fold=3"], "expected run.fold from 0 to 2"),
        ("student", ["run.folds=2"], "got 1 teachers for run.folds=2"),
        ("student", ["run.folds=1", "run.folds=0"], "got run.folds=0"),
        ("both", ["run.folds=2"], "set loss.regression=0"),
    ],
)
def test_folds_that_do_not_fit(train, teacher, tmp_path, capsys, kind, settings, message):
    teachers = {"teacher": 0, "student": 1, "both": 2}[kind] * [str(teacher)]
    more = ["--teacher", *teachers] if teachers else []
    assert train("student" if teachers else kind, tmp_path, settings, *more) == 1
    assert message in capsys.readouterr().err


def test_a_teacher_without_codes_learns_from_features_alone(train, tmp_path):
    off = [f"run.{name}=0" for name in ("codes", "code_rows", "joint", "lambda1", "lambda2")]
    assert train("teacher", tmp_path, [*TEACHER, *off]) == 0
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").open()]
    assert log[1]["loss"] == pytest.approx(log[1]["features"], abs=1e-5)
    assert "codes" not in log[1]


def test_only_the_stages_above_the_fixed_ones_are_tuned(train, teacher, tmp_path):
    settings = [*STUDENT, "run.tune=0.5", "run.steps=2", "run.fixed=5", "run.views=1"]
    assert train("student", tmp_path, settings, "--teacher", str(teacher)) == 0
    learned = load_lcdh_student(tmp_path / "model.safetensors").image.backbone
    begun = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    load_imagenet_weights(begun, "tf_efficientnet_lite0", num_classes=0)
    changed = []
    for a, b in zip(learned.blocks, begun.blocks, strict=True):
        both = zip(a.parameters(), b.parameters(), strict=True)
        changed.append(any(not torch.equal(x, y.half().float()) for x, y in both))
    assert changed == [stage >= 5 for stage in range(7)]
    for name, value in begun.named_buffers():  # the statistics of the batch norms
        torch.testing.assert_close(learned.get_buffer(name), value, rtol=1e-3, atol=1e-3)


def test_heads_learn_who_is_near_in_the_features(data, train, tmp_path, student):
    """The codes rank like the features, and the towers do not change."""
    assert train("heads", tmp_path, HEADS, "--start", str(student)) == 0
    begun, learned = load_file(student), load_file(tmp_path / "model.safetensors")
    for name, tensor in learned.items():
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

    assert agreement(tmp_path / "model.safetensors") > agreement(student) + 0.2


def test_heads_learn_the_similarities_of_a_teacher(data, train, tmp_path, student, teacher):
    """The codes of captions rank like the teacher's features, more than those of the student."""
    captions = read_captions(data / "images", data / "captions.csv").captions
    pipeline = TeacherPipeline(load_teacher_network(teacher), ColourEncoder(), bits=128)
    near = pipeline.text_features(captions)

    def agreement(out, *more):
        assert train("heads", tmp_path / out, HEADS, "--start", str(student), *more) == 0
        codes = load_lcdh_student(tmp_path / out / "model.safetensors").encode_text(captions)
        return np.corrcoef((near @ near.T).ravel(), -hamming(codes, codes).ravel().astype(float))

    assert agreement("taught", "--teacher", str(teacher))[0, 1] > agreement("alone")[0, 1] + 0.1


def test_heads_learn_from_phrases_and_align_pairs_only():
    hasher = tiny_hasher()
    run = train_heads.HeadsRun(hasher.image_hash, hasher.text_hash)
    unit = nn.functional.normalize(torch.randn(3, 10, TINY.feature_dim), dim=-1)
    texts = torch.cat([unit[1], unit[2]])
    weights = train_heads.HeadsLossConfig()
    _, alone = train_heads.heads_loss(run, unit[0], unit[1], unit[:2], weights)
    _, more = train_heads.heads_loss(run, unit[0], texts, (unit[0], texts), weights)
    assert more["lambda1"] == alone["lambda1"]
    for term in ("across", "within", "decorrelation"):
        assert more[term] != pytest.approx(alone[term], rel=0.001)


def test_phrases_are_spans_of_captions_and_names(corpus):
    phrases = loose_phrases(corpus)
    captions = [corpus.texts[i] for rows in corpus.of[: corpus.captioned] for i in rows]
    text = " | ".join(f" {caption} " for caption in captions)
    spans = phrases[: next(i for i, phrase in enumerate(phrases) if f" {phrase} " not in text)]
    assert len(set(spans)) == len(spans) > 10
    assert {len(span.split()) for span in spans} == {1, 2, 3}
    names = " | ".join(phrases[len(spans) :])
    assert all(name in names for name in ("teapot", "rocket", "golden retriever"))
    assert phrases == loose_phrases(corpus)


def test_features_of_another_student_are_refused(corpus, train, tmp_path, student, capsys):
    settings = [*HEADS, "run.steps=1"]
    assert train("heads", tmp_path, settings, "--start", str(student)) == 0
    features = load_file(tmp_path / "features-student.safetensors")
    expected = load_lcdh_student(student).text_features(loose_phrases(corpus)[:50])
    phrases = features["texts"][len(corpus.texts) :][:50]
    np.testing.assert_allclose(phrases.numpy(), expected, atol=1e-5)
    for part in ("image", "text"):  # a student that differs in one tower only
        hasher = tiny_hasher()
        setattr(hasher, part, getattr(tiny_hasher(seed=1), part))
        other = tmp_path / f"{part}.safetensors"
        save_checkpoint(hasher, other, kind="lcdh-student", config=asdict(TINY))
        assert train("heads", tmp_path, settings, "--start", str(other)) == 1
        assert "features of another student" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["teacher", "student", "heads"])
def test_settings_out_of_range_are_one_line(kind, capsys, tmp_path):
    for setting, expected in (
        ("run.save_every=0", "a whole number >= 1"),
        ("run.seed=99999999999", "a whole number <= 4294967295"),
        ("run.ema=1.5", "a number <= 1.0"),
        ("run.learning_rate=0", "a number > 0.0"),
        ("run.weight_decay=inf", "a number <= 1000000000.0"),
    ):
        assert main(["train", kind, "--out", str(tmp_path / "run"), "--set", setting]) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"derefl: got {setting.partition('=')[0]}=")
        assert error.endswith(f", expected {expected}\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("kind", "name", "share"),
    [
        (train_teacher.TeacherTrainConfig, "lcdh-teacher", 0.85),
        (train_teacher.TeacherTrainConfig, "lcdh-fold", 0.85),
        (train_teacher.TeacherTrainConfig, "lcdh-text-teacher", 0.8),
        (train_student.StudentTrainConfig, "lcdh-student", 0.85),
        (train_student.StudentTrainConfig, "lcdh-text-student", 0.8),
        (train_heads.HeadsTrainConfig, "lcdh-heads", 0.7),
    ],
)
def test_the_shipped_recipes_read(kind, name, share):
    recipe = read_config(kind, REPOSITORY / "configs" / f"{name}.toml")
    assert recipe.corpus.caption_share == share
