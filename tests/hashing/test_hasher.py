"""The hasher: pictures and texts in, codes out."""

import threading

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import interpolate

from derefl.errors import CheckpointError, ConfigError, ImageError
from derefl.hashing import pictures
from derefl.hashing.codes import hamming
from derefl.hashing.hasher import load_lcdh_student
from derefl.hashing.pictures import square
from derefl.imaging.sixteen_bit import SixteenBitPicture
from derefl.zoo import save_checkpoint
from tests.hashing.tiny import STUDENT, tiny_hasher


@pytest.fixture(scope="module")
def hasher():
    return tiny_hasher(128)


def photo(seed, size=(80, 60)):
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


TURNED = Image.Exif()
TURNED[0x0112] = 6
PHOTOS = [photo(seed) for seed in range(7)]
TEXTS = ["a dog", "", "two dogs run in the snow 🐕", "red", "dog " * 10_000, "zzyzx qwrt", "ÄÖ"]


class TestCodes:
    def test_shape_type_and_order_of_bits(self, hasher):
        for codes, embedding in (
            (hasher.encode_image(PHOTOS), hasher.image_embedding(PHOTOS)),
            (hasher.encode_text(TEXTS), hasher.text_embedding(TEXTS)),
        ):
            assert codes.dtype == np.uint8 and codes.shape == (7, 16)
            assert embedding.dtype == np.float32 and np.abs(embedding).max() < 1
            np.testing.assert_array_equal(np.unpackbits(codes, axis=1), embedding > 0)
            assert len({bytes(code) for code in codes}) >= 6

    def test_one_string_and_one_picture(self, hasher):
        np.testing.assert_array_equal(hasher.encode_text("red"), hasher.encode_text(["red"]))
        np.testing.assert_array_equal(
            hasher.encode_image(PHOTOS[0]), hasher.encode_image([PHOTOS[0]])
        )

    def test_a_new_index_takes_the_codes(self, hasher):
        index = hasher.new_index()
        assert (index.bits, index.model, index.sha256) == (128, hasher.name, hasher.sha256)
        index.add(hasher.encode_image(PHOTOS), range(7))
        assert index.search(hasher.encode_image(PHOTOS[3]), k=1)[0][0].id == 3

    def test_nothing_gives_nothing(self, hasher):
        assert hasher.encode_image([]).shape == hasher.encode_text([]).shape == (0, 16)
        assert hasher.encode_text([]).dtype == np.uint8

    def test_what_else_is_in_the_batch_does_not_matter(self, hasher):
        whole = hasher.image_embedding(PHOTOS)
        for size in (1, 2, 3):
            again = hasher.image_embedding(PHOTOS, batch_size=size)
            np.testing.assert_allclose(again, whole, atol=1e-5)
            np.testing.assert_array_equal(
                hasher.encode_image(PHOTOS, batch_size=size), hasher.encode_image(PHOTOS)
            )
        texts = hasher.text_embedding(TEXTS)
        alone = np.concatenate([hasher.text_embedding(text) for text in TEXTS])
        np.testing.assert_allclose(alone, texts, atol=1e-5)
        np.testing.assert_array_equal(
            np.concatenate([hasher.encode_text(t) for t in TEXTS]), hasher.encode_text(TEXTS)
        )

    def test_folded_batch_norms_follow_the_weights(self):
        """Inference runs a folded copy of the tower; the copy must never be outdated."""
        hasher = tiny_hasher(128)
        for norm in (m for m in hasher.image.modules() if isinstance(m, nn.BatchNorm2d)):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.running_mean, std=0.1)
        pixels = torch.rand(3, 3, 64, 64)

        def both():
            with torch.inference_mode():
                plain = hasher.image.of_views(hasher._views(pixels)).numpy()
            np.testing.assert_allclose(hasher.image_features(pixels), plain, atol=1e-5)
            return plain

        before = both()
        with torch.no_grad():
            hasher.image.backbone.conv_stem.weight.mul_(1.2)
        assert np.abs(both() - before).max() > 1e-3
        hasher.load_state_dict(tiny_hasher(128, seed=1).state_dict())
        assert np.abs(both() - before).max() > 1e-3
        hasher.bfloat16()
        assert np.abs(hasher.image_features(pixels) - before).max() > 1e-3

    def test_a_shorter_code_is_the_beginning_of_a_longer_one(self, hasher):
        for bits in (16, 32, 64):
            short = tiny_hasher(bits)
            np.testing.assert_array_equal(
                short.encode_text(TEXTS), hasher.encode_text(TEXTS)[:, : bits // 8]
            )


class TestPictures:
    def test_the_network_sees_the_whole_and_the_centre(self, hasher):
        """Both at full detail: the centre is cut before it is resized."""
        picture = photo(3, (300, 200))
        views = [
            part.resize((64, 64), Image.Resampling.BICUBIC, reducing_gap=3)
            for part in (picture, picture.crop((30, 20, 270, 180)))
        ]
        x = torch.from_numpy(np.stack(list(map(np.asarray, views)))).permute(0, 3, 1, 2) / 255
        with torch.inference_mode():
            whole, centre = hasher.image(x)
        assert (whole - centre).abs().max() > 0.01
        mean = nn.functional.normalize(whole + centre, dim=0).numpy()
        np.testing.assert_allclose(hasher.image_features(picture)[0], mean, atol=1e-3)
        large = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255
        np.testing.assert_allclose(hasher.image_features(large)[0], mean, atol=2e-3)

    def test_paths_pictures_and_tensors_agree(self, hasher, tmp_path):
        paths = []
        for i, picture in enumerate(PHOTOS):
            paths.append(tmp_path / f"{i}.png")
            picture.save(paths[-1])
        expected = hasher.encode_image(PHOTOS)
        np.testing.assert_array_equal(hasher.encode_image(paths), expected)
        np.testing.assert_array_equal(hasher.encode_image([str(p) for p in paths]), expected)
        for arrays in ([np.asarray(p) for p in PHOTOS], np.asarray(PHOTOS[0])):
            codes = hasher.encode_image(arrays)
            np.testing.assert_array_equal(codes, expected[: len(codes)])
            assert len(codes) == (7 if isinstance(arrays, list) else 1)
        tensor = torch.stack(
            [torch.from_numpy(np.array(p)).permute(2, 0, 1).float() / 255 for p in PHOTOS]
        )
        for code, other in zip(hasher.encode_image(tensor), expected, strict=True):
            assert hamming(code[None], other[None])[0, 0] <= 2  # tensors are not rounded to 8 bits

    def test_files_are_decoded_by_threads_and_large_jpegs_at_reduced_size(
        self, hasher, tmp_path, monkeypatch
    ):
        threads, sizes = set(), []

        def listen(picture, side, box=None):
            threads.add(threading.current_thread())
            sizes.append(picture.size)
            return square(picture, side, box)

        monkeypatch.setattr(pictures, "square", listen)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
        for i in range(3):
            photo(i, (800, 600)).save(tmp_path / f"{i}.jpg", exif=TURNED)
        photo(3, (800, 600)).save(tmp_path / "3.png")
        paths = sorted(tmp_path.iterdir())
        codes = hasher.encode_image(paths)
        assert len(threads) == 2 and threading.main_thread() not in threads
        assert sorted(sizes) == [(300, 400)] * 6 + [(800, 600)] * 2  # 3 × 64 at least
        for path, code in zip(paths, codes, strict=True):
            assert hamming(code[None], hasher.encode_image(Image.open(path)))[0, 0] <= 5
            np.testing.assert_array_equal(hasher.encode_image(path), code[None])
        stopped = pictures.prepared([tmp_path / "gone.jpg"] * 200, 64)
        with pytest.raises(ImageError, match="there is no such file"):
            next(stopped).result()
        stopped.close()

    def test_a_turned_photo_is_turned_back(self, hasher, tmp_path):
        PHOTOS[0].rotate(90, expand=True).save(tmp_path / "turned.png", exif=TURNED)
        np.testing.assert_array_equal(
            hasher.encode_image(tmp_path / "turned.png"), hasher.encode_image(PHOTOS[0])
        )

    def test_the_mode_does_not_decide_the_code(self, hasher, tmp_path):
        """Each pair shows the same picture, so its codes differ in a few of 128 bits."""
        grey, colour = PHOTOS[0].convert("L"), PHOTOS[0]
        wide = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
        hidden = PHOTOS[0].convert("RGBA")
        hidden.paste(PHOTOS[1].crop((0, 0, 80, 30)))
        hidden.paste((255, 0, 0, 0), (0, 30, 80, 60))
        shown = Image.new("RGB", (80, 60), "white")
        shown.paste(PHOTOS[1].crop((0, 0, 80, 30)))
        palette = colour.quantize(64)
        wide.save(tmp_path / "16.png")
        deep = np.asarray(colour).astype(np.uint16) * 257
        for name, given, expected in (
            ("16-bit grey", wide, grey),
            ("mode I", wide.convert("I"), grey),
            ("16-bit file", tmp_path / "16.png", grey),
            ("48-bit colour", SixteenBitPicture(deep, {}), colour),
            ("palette", palette, palette.convert("RGB")),
            ("bilevel", grey.convert("1"), grey.convert("1").convert("RGB")),
            ("inks", colour.convert("CMYK"), colour),
            ("alpha", hidden, shown),
            ("grey and alpha", hidden.convert("LA"), shown.convert("L")),
        ):
            assert hamming(*map(hasher.encode_image, (given, expected)))[0, 0] <= 3, name
        # Clipped, or without alpha, two of the pictures would be far away.
        white = hasher.encode_image(Image.new("RGB", (80, 60), "white"))
        assert hamming(hasher.encode_image(wide), white)[0, 0] > 10
        assert hamming(hasher.encode_image(hidden.convert("RGB")), hasher.encode_image(hidden)) > 10

    def test_any_iterable(self, hasher, tmp_path):
        expected = hasher.encode_image(PHOTOS)
        for i, picture in enumerate(PHOTOS):
            picture.save(tmp_path / f"{i}.png")
        paths = sorted(tmp_path.iterdir())
        for given in (
            (path for path in paths),
            map(str, paths),
            tuple(PHOTOS),
            dict.fromkeys(paths),
            np.array(list(map(str, paths))),
        ):
            found = hasher.encode_image(given, batch_size=3, progress=True)
            np.testing.assert_array_equal(found, expected)
        for given in (iter(TEXTS), tuple(TEXTS), dict.fromkeys(TEXTS)):
            np.testing.assert_array_equal(hasher.encode_text(given), hasher.encode_text(TEXTS))

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), r"torch\.uint8, expected floats"),
            (torch.full((1, 3, 8, 8), 200.0), "from 200 to 200, expected sRGB"),
            (torch.full((1, 3, 8, 8), -1.0), "from -1 to -1, expected sRGB"),
            (torch.tensor([0.5, torch.nan]).expand(1, 3, 4, 2), "from nan to nan"),
            (torch.zeros(3, 8, 8), r"shape \[3, 8, 8\]"),
            (torch.zeros(()), r"shape \[\]"),
            (torch.zeros(1, 3, 0, 8), r"shape \[1, 3, 0, 8\]"),
            ([torch.zeros(3, 8, 8)], r"torch\.stack"),
            (np.zeros((1, 8, 8, 3), np.uint8), r"array of uint8 \[1, 8, 8, 3\], expected"),
            ([np.zeros((8, 8, 3))], r"array of float64 \[8, 8, 3\], expected uint8"),
            (b"\x89PNG", "the data is not a picture that derefl can read"),
            (None, "a NoneType, expected a picture, an array, a path or bytes"),
            ([3], "a int, expected a picture"),
            (Image.new("F", (8, 8)), "mode F is not supported"),
        ],
    )
    def test_what_is_no_picture(self, hasher, given, message):
        with pytest.raises(ImageError, match=message):
            hasher.encode_image(given)

    def test_tensors_of_other_types_and_rounding_beyond_the_range(self, hasher):
        x = interpolate(torch.rand(2, 3, 8, 8), (32, 32), mode="bicubic").clamp(-0.04, 1.04)
        expected = hasher.image_embedding(x)
        np.testing.assert_allclose(hasher.image_embedding(x.double()), expected, atol=1e-5)
        np.testing.assert_allclose(hasher.image_embedding(x.half()), expected, atol=0.05)
        assert hasher.encode_image(torch.zeros(0, 3, 8, 8)).shape == (0, 16)

    def test_bad_ones_are_named(self, hasher, tmp_path):
        (tmp_path / "notes.jpg").write_text("no picture")
        with pytest.raises(ImageError, match=r"notes\.jpg"):
            hasher.encode_image([PHOTOS[0], tmp_path / "notes.jpg"])
        with pytest.raises(ImageError, match=r"gone\.jpg"):
            hasher.encode_image(tmp_path / "gone.jpg")
        for size in (0, -1):
            with pytest.raises(ConfigError, match=f"batch_size={size}, expected at least 1"):
                hasher.encode_image(PHOTOS, batch_size=size)

    @pytest.mark.parametrize(
        ("given", "kind"),
        [(["dog", None], "NoneType"), (None, "NoneType"), (b"dog", "bytes"), ([3], "int")],
    )
    def test_what_is_no_text(self, hasher, given, kind):
        with pytest.raises(ConfigError, match=f"a {kind} among the texts, expected strings"):
            hasher.encode_text(given)

    @pytest.mark.parametrize(
        ("broken", "whole"),
        [("caf\udce9", "caf"), ("\ud83d\udc15 runs", "🐕 runs"), ("a \ud83d dog", "a  dog")],
        ids=ascii,
    )
    def test_surrogates_in_texts(self, hasher, broken, whole):
        """Bytes on a command line that are not UTF-8, and characters in two halves."""
        np.testing.assert_array_equal(
            hasher.encode_text(["red", broken]), hasher.encode_text(["red", whole])
        )


class TestLoading:
    @pytest.fixture
    def file(self, tmp_path):
        path = tmp_path / "mine.safetensors"
        save_checkpoint(
            tiny_hasher(), path, kind="lcdh-student", config=vars(STUDENT), dtype=torch.float32
        )
        return path

    def test_weights_and_identity(self, file):
        with pytest.raises(ConfigError, match="bits=48"):
            load_lcdh_student(file, bits=48)
        loaded = load_lcdh_student(file, bits=32)
        assert loaded.bits == 32 and not loaded.training
        assert loaded.name == str(file) and len(loaded.sha256) == 64
        np.testing.assert_array_equal(loaded.encode_text(TEXTS), tiny_hasher(32).encode_text(TEXTS))

    def test_a_reflection_model_is_refused(self, file):
        with pytest.raises(CheckpointError, match="'lcdh-student'"):
            from derefl import load_derefl

            load_derefl(file)
