"""Losses against their formulas, synthesis, pairs, and a resumed run."""

import dataclasses
import json
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from derefl.errors import ConfigError, DataError
from derefl.reflection.frequency import split_residual
from derefl.reflection.learning import synthesis as syn
from derefl.reflection.learning import train as training
from derefl.reflection.learning.losses import (
    LossConfig,
    align_colours,
    decomposition_loss,
    gradient_loss,
    log_error,
    low_loss,
    reconstruction_loss,
    tone_loss,
)
from derefl.reflection.learning.pairs import SHRINK, Pairs, PairsConfig, batches, held_back_photos
from derefl.reflection.model import DeReflConfig, Layers
from derefl.training.config import read_config
from derefl.training.step import make_optimiser, take_step
from derefl.zoo.manifest import find_model
from tests.conftest import REPOSITORY
from tests.tiny import TINY

pytestmark = pytest.mark.usefixtures("small_validation")


def picture(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


REAL = torch.tensor([True, False])


class TestLosses:
    def test_perfect_layers_cost_only_the_log_floor(self):
        image, truth = picture(2, 3, 24, 24), picture(2, 3, 24, 24, seed=1)
        low, high = split_residual(image, truth, 11)
        loss, terms = decomposition_loss(
            Layers(truth, low, high), image, truth, REAL, 11, LossConfig(log_error=0)
        )
        assert float(loss) == pytest.approx(0, abs=1e-6)
        assert terms["log_error"] == pytest.approx(np.log(1e-4))

    def test_log_error_is_psnr_up_to_scale(self):
        truth = torch.full((1, 3, 8, 8), 0.5)
        assert float(log_error(truth + 0.1, truth)) == pytest.approx(np.log(0.01 + 1e-4), rel=1e-4)

    def test_gradient_and_low_losses_on_a_ramp(self):
        ramp = torch.arange(8.0).view(1, 1, 1, 8).expand(1, 1, 8, 8) / 10  # 0.1 a pixel along w
        zero = torch.zeros_like(ramp)
        assert float(gradient_loss(ramp, zero)) == pytest.approx(0.1)
        assert float(low_loss(ramp, zero)) == pytest.approx(float(ramp.square().mean()) + 0.01)

    def test_targets_from_the_estimate_as_in_the_paper(self):
        """For a wrong T̂, the paper's targets give I = T̂ + R_low + R_high."""
        image, truth, guess = (picture(1, 3, 24, 24, seed=s) for s in range(3))
        config = LossConfig(
            reconstruction=0, tone=0, log_error=0, gradient=0, estimated_targets=True
        )
        layers = Layers(guess, *split_residual(image, guess, 11))
        assert float(decomposition_loss(layers, image, truth, REAL[:1], 11, config)[0]) < 1e-6
        config = dataclasses.replace(config, estimated_targets=False)
        assert float(decomposition_loss(layers, image, truth, REAL[:1], 11, config)[0]) > 0.01

    def test_another_exposure_of_a_real_pair_costs_nothing_after_alignment(self):
        truth = picture(2, 3, 24, 24)
        mix = torch.tensor([[0.7, 0.2, 0.0], [0.1, 0.8, 0.0], [0.0, 0.1, 0.9]])
        estimate = torch.einsum("ij,bjhw->bihw", mix, truth) + 0.1
        torch.testing.assert_close(align_colours(estimate, truth, 0), truth, atol=1e-4, rtol=1e-4)
        plain, half, full = (
            float(reconstruction_loss(estimate, truth, REAL, aligned)) for aligned in (0, 0.5, 1)
        )
        assert plain == pytest.approx(float((estimate - truth).abs().mean()))
        assert half == pytest.approx((plain + full) / 2, rel=1e-4)
        synthetic = float((estimate[1] - truth[1]).abs().mean())
        assert full == pytest.approx(synthetic / 2, rel=0.02)  # the real pair has loss 0

    def test_tone_is_the_error_of_block_means(self):
        truth = torch.full((1, 3, 32, 32), 0.5)
        checks = truth + 0.2 * (torch.arange(32) % 2 * 2 - 1)  # a pattern with zero mean
        assert float(tone_loss(checks, truth)) == pytest.approx(0, abs=1e-6)
        assert float(tone_loss(truth + 0.1, truth)) == pytest.approx(0.1, rel=1e-4)
        assert float(tone_loss(truth[:0], truth[:0])) == 0


class TestSynthesis:
    def test_screen_is_its_formula(self):
        t, r = picture(3, 8, 8), picture(3, 8, 8, seed=1)
        rng = np.random.default_rng(0)
        alpha, beta = rng.uniform(0.8, 1.0), rng.uniform(0.4, 1.0)
        expected = alpha * t + beta * r - alpha * beta * t * r
        torch.testing.assert_close(syn.screen(t, r, np.random.default_rng(0)), expected)

    def test_clipped_subtracts_what_overflows(self):
        t, r = torch.full((3, 4, 4), 0.9), torch.full((3, 4, 4), 0.9)
        rng = np.random.default_rng(3)
        alpha, beta = rng.uniform(0.8, 1.0), rng.uniform(0.4, 1.0)
        shift = 1.3 * (0.9 * (alpha + beta) - 1)
        expected = min(1, 0.9 * alpha + max(0, 0.9 * beta - shift))
        torch.testing.assert_close(
            syn.clipped(t, r, np.random.default_rng(3)), torch.full((3, 4, 4), float(expected))
        )

    def test_linear_light_of_darkness_only_dims(self):
        t = picture(3, 8, 8)
        tau = min(1.0, np.random.default_rng(0).uniform(0.75, 1.2))
        out = syn.linear_light(t, torch.zeros_like(t), np.random.default_rng(0))
        torch.testing.assert_close(out, (t * tau ** (1 / 2.2)).float(), atol=1e-3, rtol=1e-3)

    def test_blur_ghost_and_veil_keep_the_light(self):
        rng = np.random.default_rng(0)
        flat, noise = torch.full((3, 40, 40), 0.3), picture(3, 40, 40)
        for effect in (partial(syn.blur, sharp=False), syn.ghost, syn.veil, syn.bokeh):
            torch.testing.assert_close(effect(flat, rng=rng), flat)
        assert syn.blur(noise, rng, sharp=False).std() < 0.5 * noise.std()
        haze = syn.veil(noise, rng)
        assert float((haze.mean() - noise.mean()).abs()) < 0.02
        assert (haze[:, 1:] - haze[:, :-1]).abs().max() < 0.02  # no shapes
        softer = [float(syn.bokeh(noise, np.random.default_rng(n)).std()) for n in range(8)]
        assert max(softer) < noise.std() and min(softer) < 0.8 * noise.std()

    def test_recolour_changes_gamma_saturation_and_order_only(self):
        grey = torch.full((3, 4, 4), 0.5)
        values = {float(syn.recolour(grey, np.random.default_rng(s)).mean()) for s in range(30)}
        assert min(values) >= 0.5**1.42 and max(values) <= 0.5**0.7 and len(values) == 30
        red = torch.tensor([1.0, 0, 0]).view(3, 1, 1).expand(3, 4, 4)
        reddest = {
            int(syn.recolour(red, np.random.default_rng(s))[:, 0, 0].argmax()) for s in range(60)
        }
        assert reddest == {0, 1, 2}

    def test_transplanted_adds_what_the_pane_added(self):
        t, truth = torch.full((3, 4, 4), 0.4), torch.full((3, 4, 4), 0.5)
        image = torch.cat([truth[:, :2] + 0.2, truth[:, 2:] - 0.2], dim=1)  # half brighter
        rng = np.random.default_rng(0)
        alpha, strength = min(1.0, rng.uniform(0.85, 1.05)), rng.uniform(0.4, 1.2)
        mixture = syn.transplanted(t, image, truth, np.random.default_rng(0))
        torch.testing.assert_close(mixture[:, 2:], torch.full((3, 2, 4), alpha * 0.4))
        expected = alpha * 0.4 + strength * 0.2
        torch.testing.assert_close(mixture[:, :2], torch.full((3, 2, 4), expected))

    def test_clean_pictures_get_noise_and_compression_only(self):
        t, r = picture(3, 32, 32), picture(3, 32, 32, seed=1)
        plain = syn.SynthesisConfig(clean=1.0, noise=0, compress=0)
        assert torch.equal(syn.synthesise(t, r, np.random.default_rng(0), plain), t)
        for effect in ("noise", "compress"):
            config = dataclasses.replace(plain, **{effect: 1.0})
            assert not torch.equal(syn.synthesise(t, r, np.random.default_rng(0), config), t)

    def test_every_mixture_is_a_picture_and_repeats(self):
        t, r = picture(3, 48, 48), picture(3, 48, 48, seed=1)
        for seed in range(12):
            one, two = (
                syn.synthesise(t, r, np.random.default_rng(seed), syn.SynthesisConfig())
                for _ in range(2)
            )
            assert torch.equal(one, two)
            assert one.shape == t.shape and one.min() >= 0 and one.max() <= 1
            assert not torch.equal(one, t)

    @pytest.mark.parametrize("format", ["JPEG", "WEBP"])
    def test_compression_loses_little_and_less_at_higher_quality(self, format):
        noise = picture(3, 64, 64)
        errors = [float((syn.compressed(noise, format, q) - noise).abs().mean()) for q in (60, 97)]
        assert errors[1] < errors[0]
        smooth = syn.strength_map(64, 64, np.random.default_rng(0)).clamp(0, 1).expand(3, -1, -1)
        assert 0 < (syn.compressed(smooth, format, 95) - smooth).abs().mean() < 0.02

    def test_glass_is_one_affine_map_that_lifts_black(self):
        grey = torch.stack([torch.full((3, 4), v) for v in (0.0, 0.5, 1.0)], dim=1)  # [3 3 4]
        for seed in range(20):
            black, middle, white = syn.glass(grey, np.random.default_rng(seed)).unbind(1)
            assert black.min() >= 0 and black.max() < 0.11
            torch.testing.assert_close(middle, (black + white) / 2)
            assert 0.9 <= float((white - black).mean()) <= 1.1


class TestPairs:
    def make(self, photo_folder, pair_folder, **settings) -> Pairs:
        config = PairsConfig((str(photo_folder),), (str(pair_folder),), **settings)
        return Pairs(config, syn.SynthesisConfig(), seed=0)

    def test_held_back_pictures_are_never_trained_on(self, photo_folder, pair_folder):
        pairs = self.make(photo_folder, pair_folder)
        held = held_back_photos([photo_folder], 21)
        assert [p.name for p in held] == ["00.png", "21.png"]
        assert not set(held) & set(pairs.photos) and len(pairs.photos) == 40
        assert len(self.make(photo_folder, pair_folder, hold_back=0).photos) == 42

    def test_scenes_are_drawn_before_their_pairs(self, photo_folder, pair_folder):
        for path in [*pair_folder.glob("*/*")]:
            path.rename(path.with_stem("7-1" if path.stem == "0" else f"8-{path.stem}"))
        pairs = self.make(photo_folder, pair_folder)
        assert [[p.name for p in scene] for scene in pairs.scenes] == [["7-1"], ["8-1", "8-2"]]
        rng = np.random.default_rng(0)
        drawn = [pairs.random_pair(rng).name for _ in range(200)]
        assert 70 < drawn.count("7-1") < 130

    def test_layers_are_scaled_down(self, photo_folder):
        pairs = Pairs(PairsConfig((str(photo_folder),)), syn.SynthesisConfig(recolour=0), 0)
        stripes = np.zeros((96, 96, 3), np.uint8)
        stripes[:, ::2] = 255  # too fine for a picture shrunk by a third
        for seed in range(5):
            (patch,) = pairs.crop([stripes], 32, np.random.default_rng(seed), SHRINK)
            assert patch.std() < 0.15

    def test_real_pairs_stay_aligned(self, photo_folder, pair_folder):
        pairs = self.make(photo_folder, pair_folder, real_share=1.0)
        png = pairs.scenes[2][0]  # exactly 20 levels apart everywhere
        pairs.scenes = [[png]]
        for seed in range(5):
            blended, truth = pairs.crop(pairs.pair(png), 32, np.random.default_rng(seed))
            torch.testing.assert_close(blended - truth, torch.full((3, 32, 32), 20 / 255))
            image, transmission = pairs.real_pair(32, np.random.default_rng(seed))
            assert (image > transmission).all()

    def test_weaker_and_doubled_reflections(self, photo_folder, pair_folder):
        """Weaker: nearer to the truth. Doubled: another reflection over the same pair."""
        added = []
        for weaker in (0.0, 1.0):
            pairs = self.make(photo_folder, pair_folder, weaker=weaker, double=1.0)
            pairs.synthesis = syn.SynthesisConfig(clean=0, noise=0, compress=0)
            real = [pairs.real_pair(32, np.random.default_rng(n)) for n in range(20)]
            added.append([float((image - truth).mean()) for image, truth in real])
            for seed, (image, truth) in enumerate(real[:5]):
                more, same = pairs.doubled_pair(32, np.random.default_rng(seed))
                assert torch.equal(truth, same)
                assert (more - image).abs().mean() > 1 / 255
        assert min(added[1]) > 0 and np.mean(added[1]) < 0.75 * np.mean(added[0])

    def test_a_transplanted_reflection_comes_from_a_real_pair(self, photo_folder, pair_folder):
        pairs = self.make(photo_folder, pair_folder, real_share=0.0, transplant=1.0)
        pairs.synthesis = syn.SynthesisConfig(noise=0, compress=0)
        # As in the folder: another exposure would increase the difference of its layers.
        pairs.real_pair = lambda size, rng: pairs.crop(pairs.pair(pairs.scenes[2][0]), size, rng)
        for seed in range(5):  # the real pairs of this folder differ by at most 20 levels
            image, scene = pairs.synthetic_pair(32, np.random.default_rng(seed))
            assert (image - scene).max() < 1.3 * 30 / 255

    def test_a_layer_may_be_the_scene_of_a_real_pair(self, photo_folder, pair_folder):
        pairs = self.make(photo_folder, pair_folder, real_share=0.0, transplant=0, real_scene=1.0)
        never = self.make(photo_folder, pair_folder, real_scene=0.0)
        brightest = []  # this folder's photos have colours above 200, its scenes do not
        for some in (pairs, never):
            some.synthesis = syn.SynthesisConfig(recolour=0)
            layers = [some.layer(32, np.random.default_rng(s)) for s in range(10)]
            brightest.append(max(float(layer.max()) for layer in layers))
        assert brightest[0] < 200 / 255 < 220 / 255 < brightest[1]

    def test_different_sizes_and_broken_pictures_are_named(self, photo_folder, pair_folder):
        pairs = self.make(photo_folder, pair_folder, real_share=1.0)
        Image.new("RGB", (32, 32)).save(pair_folder / "blended" / "2.png")
        with pytest.raises(DataError, match="2: the blended picture is 32×32, its truth 96×64"):
            pairs.pair(pairs.scenes[2][0])
        pairs.photos[0].write_bytes(b"not a picture")
        with pytest.raises(DataError, match=f"{pairs.photos[0].name} cannot be read"):
            pairs.picture(pairs.photos[0])
        with pytest.raises(DataError, match=f"^[^\n]*{pairs.photos[0].name} cannot be read"):
            next(batches(pairs, [(0, 1, 32)], workers=1))  # raised here, not in a worker

    def test_a_batch_depends_on_seed_and_step_alone(self, photo_folder, pair_folder):
        pairs = self.make(photo_folder, pair_folder)
        plan = [(step, 2, 32) for step in range(4)]
        alone = list(batches(pairs, iter(plan), workers=0))
        worked = list(batches(self.make(photo_folder, pair_folder), iter(plan), workers=2))
        later = pairs.batch(3, 2, 32)
        for a, b in zip(alone, worked, strict=True):
            assert all(map(torch.equal, a, b))
        assert torch.equal(alone[3][0], later[0])
        assert not torch.equal(alone[0][0], alone[1][0])

    def test_wrong_folders_are_one_clear_error(self, photo_folder, pair_folder, tmp_path):
        with pytest.raises(DataError, match="no photographs"):
            Pairs(PairsConfig(), syn.SynthesisConfig(), 0)
        with pytest.raises(DataError, match="nowhere is not a folder"):
            Pairs(PairsConfig((str(tmp_path / "nowhere"),)), syn.SynthesisConfig(), 0)
        (pair_folder / "blended" / "0.png").unlink()
        with pytest.raises(DataError, match="the first is '0'"):
            self.make(photo_folder, pair_folder)


class TestConfig:
    def test_file_and_overrides(self, tmp_path):
        path = tmp_path / "run.toml"
        path.write_text("[run]\nsteps = 7\nlearning_rate = 1\n[model]\ndims = [8, 8, 8, 8, 8]\n")
        config = read_config(training.TrainConfig, path, ["run.batch=2", "model.reorganise=none"])
        assert (config.run.steps, config.run.batch, config.run.learning_rate) == (7, 2, 1.0)
        assert config.model.dims == (8,) * 5 and config.model.reorganise == "none"

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("run.stpes=3", "no setting 'run.stpes'"),
            ("run.steps=many", "got run.steps='many', expected a whole number$"),
            ("run.steps", "expected KEY=VALUE"),
            ("run=3", "got run=3, expected a table$"),
            ("pairs.photos=here", "got pairs.photos='here', expected a list$"),
            ("pairs.photos=[1]", r"got pairs.photos=\[1\], expected a text$"),
            ("synthesis.recipes=[1, 0]", r"got synthesis.recipes=\[1, 0\], expected a list of len"),
            ("loss.estimated_targets=1", "got loss.estimated_targets=1, expected true or false$"),
            ("=3", "no setting ''"),
            ("run.steps.x=3", r"got run.steps=\{'x': 3\}, expected a whole number$"),
        ],
    )
    def test_mistakes_are_named(self, override, message):
        with pytest.raises(ConfigError, match=message):
            read_config(training.TrainConfig, None, [override])

    @pytest.mark.parametrize("path", [".", "latin.toml", "broken.toml"])
    def test_files_that_are_not_toml(self, path, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "latin.toml").write_bytes(b"caf\xe9 = 1")
        (tmp_path / "broken.toml").write_text("[run\nsteps = 3")
        with pytest.raises(ConfigError, match=f"{path}"):
            read_config(training.TrainConfig, tmp_path / path)

    def test_given_settings_are_taken_as_they_are(self):
        names = ["a\\b", "q\"uo'te", "a = [1]", "naïve\udce9"]
        given = {"pairs.photos": names}
        config = read_config(training.TrainConfig, None, ["pairs.real=['x']"], given)
        assert (config.pairs.photos, config.pairs.real) == (tuple(names), ("x",))
        with pytest.raises(ConfigError, match="got pairs=3 and pairs"):
            read_config(training.TrainConfig, None, ["pairs=3", "pairs.real=['x']"])

    def test_the_shipped_recipe_reads(self):
        config = read_config(training.TrainConfig, REPOSITORY / "configs" / "derefl-base.toml")
        entry = find_model("derefl-base")
        stored = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.config.items()}
        assert config.model == DeReflConfig(**stored)


class TestRun:
    """The training loop with a tiny network and tiny pictures, without ImageNet weights."""

    @pytest.fixture
    def config(self, photo_folder, pair_folder, monkeypatch):
        monkeypatch.setattr(training, "load_imagenet_weights", lambda *_, **__: None)
        run = training.RunConfig(
            steps=4,
            batch=2,
            size=32,
            late_batch=1,
            late_size=64,
            warmup=1,
            validate_every=2,
            validation=(f"real_val={pair_folder}",),
        )
        pairs = PairsConfig((str(photo_folder),), (str(pair_folder),))
        return training.TrainConfig(model=TINY, pairs=pairs, run=run)

    def train(self, config, out, **run):
        config = dataclasses.replace(config, run=dataclasses.replace(config.run, **run))
        return training.train(config, out, torch.device("cpu"))

    def test_stopped_and_resumed_equals_uninterrupted(self, config, tmp_path):
        whole = self.train(config, tmp_path / "whole", validate_every=4)
        steps = []

        def stop_at_the_third(*args):
            steps.append(args)
            if len(steps) == 3:
                raise KeyboardInterrupt
            return batch_loss(*args)

        batch_loss = training.batch_loss
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(training, "batch_loss", stop_at_the_third)
            self.train(config, tmp_path / "parts", save_every=0.0, validate_every=4)
        resumed = self.train(config, tmp_path / "parts", validate_every=4)
        torch.testing.assert_close(resumed.state_dict(), whole.state_dict())
        log = [json.loads(line) for line in (tmp_path / "parts/log.jsonl").read_text().splitlines()]
        assert [r["step"] for r in log if r["event"] == "start"] == [0, 2]
        assert {"real_val", "screen", "clean"} <= log[-1]["kinds"].keys()
        assert log[-1]["choice"] == pytest.approx(
            log[-1]["kinds"]["real_val"]["gain"] - max(0, 40 - log[-1]["kinds"]["clean"]["psnr"]),
            abs=2e-3,
        )
        with Image.open(tmp_path / "parts/validation-000004.png") as sheet:
            assert sheet.width == 4 * 256

    def test_a_run_ends_with_its_minutes_and_keeps_a_frozen_backbone(self, config, tmp_path):
        torch.manual_seed(config.run.seed)
        first = training.DeRefl(config.model).state_dict()
        last = self.train(config, tmp_path, backbone_rate=0.0, minutes=1e-6)
        moved = {k for k, v in last.state_dict().items() if not torch.equal(v, first[k])}
        assert moved and not any(k.startswith("backbone.") for k in moved)
        log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
        assert [(r["event"], r["step"]) for r in log] == [("start", 0), ("validation", 1)]
        saved = load_file(tmp_path / "model.safetensors")["stem.weight"].float()
        torch.testing.assert_close(saved, last.state_dict()["stem.weight"], atol=1e-3, rtol=1e-3)

    def test_the_sets_that_choose_a_checkpoint(self, config, pair_folder, photo_folder):
        def kinds(choose_by, **folders):
            run = dataclasses.replace(config.run, choose_by=choose_by)
            return training.deciding_kinds(run, folders)

        sets = {"mine": pair_folder, "theirs": pair_folder, "clean": photo_folder}
        assert kinds(("theirs", "other"), **sets) == ["theirs"]
        assert kinds(("other",), **sets) == ["mine", "theirs"]
        assert kinds((), clean=photo_folder) == ["screen"]

    def test_a_run_that_could_not_be_validated_is_refused(self, config, tmp_path):
        config = dataclasses.replace(config, pairs=dataclasses.replace(config.pairs, hold_back=0))
        with pytest.raises(ConfigError, match="no pairs to validate on: give --val NAME=DIR"):
            self.train(config, tmp_path, validation=())
        with pytest.raises(ConfigError, match="expected NAME=DIR"):
            self.train(config, tmp_path, validation=("pairs/",))

    def test_learning_lowers_the_loss(self, config, bfloat16):
        """Ten steps on one batch lower its loss."""
        torch.manual_seed(0)
        model = training.DeRefl(TINY).train()
        optimiser = make_optimiser(model, 4e-3, 0.0)
        batch = Pairs(config.pairs, config.synthesis, 0).batch(0, 2, 32)
        errors = []
        for _ in range(10):
            loss, terms = training.batch_loss(model, batch, config)
            take_step(optimiser, loss, 1.0)
            errors.append(float(terms["reconstruction"]))
        assert errors[-1] < 0.8 * errors[0]
