"""The maths of teacher and student against their docstrings."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from derefl.errors import ConfigError
from derefl.hashing.attention import AttentionBlock, pooled
from derefl.hashing.student import HashHead, LCDHStudent, LCDHStudentConfig, TextTower
from derefl.hashing.teacher import LCDHTeacher
from derefl.hashing.tokenizer import by_length, padded, tokenize, unknown_words, word_pieces
from derefl.reflection.model import DeRefl, DeReflConfig
from tests.hashing.tiny import STUDENT, TEACHER, tiny_hasher, tiny_teacher


def units(n, d, seed=0):
    return F.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=-1)


class TestAttention:
    def test_one_head_against_the_formula(self):
        torch.manual_seed(0)
        block = AttentionBlock(8, heads=1).eval()
        x = torch.randn(2, 5, 8)
        out = block(x, torch.ones(2, 5, dtype=torch.bool))
        q, k, v = block.to_qkv(block.norm_attention(x)).chunk(3, dim=-1)
        y = x + block.to_out(torch.softmax(q @ k.transpose(1, 2) / 8**0.5, dim=-1) @ v)
        expected = y + block.contract(F.gelu(block.expand(block.norm_forward(y))))
        torch.testing.assert_close(out, expected)

    def test_absent_tokens_change_nothing(self):
        torch.manual_seed(0)
        block = AttentionBlock(8, heads=2).eval()
        x = torch.randn(1, 4, 8)
        alone = block(x, torch.ones(1, 4, dtype=torch.bool))
        padded_x = torch.cat([x, 100 * torch.randn(1, 3, 8)], dim=1)
        present = torch.tensor([[True] * 4 + [False] * 3])
        torch.testing.assert_close(block(padded_x, present)[:, :4], alone)

    def test_pooled_is_a_weighted_mean(self):
        x = torch.tensor([[[1.0], [3.0], [50.0]]])
        mean = pooled(x, torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[True, True, False]]))
        assert float(mean) == pytest.approx((1 * 1 + 3 * 3) / 4)


class TestStudent:
    @torch.inference_mode()
    def test_hash_head_bends_what_its_fc_gives(self):
        head = HashHead(8, 4, 2)
        x = units(5, 8)
        flat = torch.tanh(head.project(head.gain * x))
        torch.testing.assert_close(head(x), flat)  # the new units have no effect before training
        nn.init.normal_(head.bend[2].weight)
        hidden = F.gelu(head.bend[0](head.gain * x)) @ head.bend[2].weight.T
        torch.testing.assert_close(head(x), torch.tanh(head.project(head.gain * x) + hidden))
        assert HashHead(8, 0, 2).bend is None

    @pytest.mark.parametrize("hidden", [0, 4])
    @torch.inference_mode()
    def test_a_wider_hash_head_gives_the_same_codes_and_can_learn_more(self, hidden):
        head = HashHead(8, hidden, 2)
        for parameter in head.parameters():
            nn.init.normal_(parameter)
        x = units(5, 8)
        wide = head.widened(6)
        torch.testing.assert_close(wide(x), head(x))
        assert wide.bend[2].weight.shape == (2, 6)
        wide.bend[2].weight[:, hidden:] = 1.0
        assert not torch.allclose(wide(x), head(x))

    @torch.inference_mode()
    def test_the_tower_cut_in_two_is_the_whole_backbone(self):
        tower = tiny_hasher().image
        x = torch.rand(2, 3, 64, 64)
        whole = tower.project(tower.backbone(2 * x - 1))
        for stages in (0, 5, 6, 7):
            cut = tower.upper(tower.lower(x, stages), stages)
            torch.testing.assert_close(cut, F.normalize(whole, dim=-1), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(tower(x), F.normalize(whole, dim=-1), atol=1e-5, rtol=1e-4)

    @torch.inference_mode()
    def test_the_config_normalises_the_pictures(self):
        tower = tiny_hasher().image
        mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
        other = LCDHStudent(replace(STUDENT, mean=mean, std=std)).eval().image
        other.load_state_dict(tower.state_dict())  # the weights do not contain mean and std
        x = torch.rand(2, 3, 64, 64)
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
        torch.testing.assert_close(other(x), tower(((x - mean) / std + 1) / 2))

    def test_batch_norms_stay_as_they_are_while_training(self):
        tower = tiny_hasher().image.train()
        before = {k: v.clone() for k, v in tower.backbone.named_buffers()}
        tower(torch.rand(4, 3, 64, 64))
        assert all(torch.equal(v, before[k]) for k, v in tower.backbone.named_buffers())

    @torch.inference_mode()
    def test_words_are_seen_in_their_order(self):
        tower = tiny_hasher().text
        a, b = tower(torch.tensor([[5, 6, 7]])), tower(torch.tensor([[7, 6, 5]]))
        assert (a - b).abs().max() > 1e-4

    @torch.inference_mode()
    def test_padding_changes_nothing_and_the_empty_text_has_a_code(self):
        tower: TextTower = tiny_hasher().text
        short, long = tower(torch.tensor([[5, 6]])), tower(torch.tensor([[5, 6, 0, 0, 0]]))
        torch.testing.assert_close(short, long)
        empty = tower(torch.zeros(1, 3, dtype=torch.long))
        assert empty.isfinite().all()
        torch.testing.assert_close(empty, tower(torch.zeros(1, 1, dtype=torch.long)))


class TestTeacher:
    @torch.inference_mode()
    def test_unimodal_codes_are_joint_ones_with_the_other_token_masked(self):
        """Against the attention block itself, with both tokens and a mask."""
        teacher = tiny_teacher()
        image = units(4, 64)
        tokens = torch.stack([teacher.gain * image, torch.randn(4, 64)], dim=1) + teacher.modality
        present = torch.tensor([True, False]).expand(4, 2)
        x = teacher.norm(teacher.attention(tokens, present)) * present[..., None]
        expected = torch.tanh(teacher.project(x.flatten(1)))
        torch.testing.assert_close(teacher(image=image), expected)

    @torch.inference_mode()
    def test_joint_codes_know_both(self):
        teacher = tiny_teacher()
        image, text = units(3, 64), units(3, 64, seed=1)
        joint = teacher(image, text)
        assert joint.abs().max() < 1
        assert (joint - teacher(image=image)).abs().max() > 1e-3
        assert (joint - teacher(image, units(3, 64, seed=2))).abs().max() > 1e-3

    @torch.inference_mode()
    def test_without_attention_tokens_do_not_see_each_other(self):
        """The ablation: with zero weights for the first token in the FC, only the text counts."""
        torch.manual_seed(0)
        teacher = LCDHTeacher(replace(TEACHER, attention=False)).eval()
        assert not any("attention" in name for name in teacher.state_dict())
        teacher.project.weight[:, : TEACHER.dim] = 0
        text = units(3, 64)
        torch.testing.assert_close(teacher(units(3, 64, seed=1), text), teacher(text=text))

    def test_neither_is_refused(self):
        with pytest.raises(ValueError, match="neither image nor text"):
            tiny_teacher()()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LCDHStudentConfig(backbone="resnet18"), "backbone='resnet18'.*'efficientnet'"),
        (lambda: LCDHStudentConfig(backbone="vit_tiny_patch16_224"), "module='efficientnet'"),
        (lambda: LCDHStudentConfig(backbone="hf-hub:a/b"), "backbone='hf-hub:a/b'"),
        (lambda: LCDHStudentConfig(mean=(0.5, 0.5)), r"mean=\(0.5, 0.5\), expected 3 numbers"),
        (lambda: LCDHStudentConfig(std=(0.5, 0.5, 0.0)), "std=.*expected 3 numbers from 0.01"),
        (lambda: LCDHStudentConfig(bits=(64, 128)), r"bits=\(64, 128\), expected a whole number"),
        (lambda: LCDHStudent(replace(STUDENT, text_heads=3)), "3 attention heads.* of 16"),
        (lambda: LCDHTeacher(replace(TEACHER, heads=7)), "7 attention heads.* of 64"),
        (lambda: DeReflConfig(dims=(8, 8, 8, 16)), r"dims=\(8, 8, 8, 16\), expected 5 whole"),
        (lambda: DeReflConfig(depths=(1,) * 6), "depths=.*expected 5 whole numbers"),
        (lambda: DeReflConfig(windows=()), r"windows=\(\), expected 5 whole numbers"),
        (lambda: DeReflConfig(dims=8), "dims=8, expected 5 whole numbers"),
        (lambda: DeRefl(DeReflConfig(backbone="convnext_atto")), "at strides 2, 4, 8, 16 and 32"),
    ],
)
def test_a_config_that_cannot_be_is_refused_at_once(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize("backbone", ["mobilenetv2_050", "mnasnet_small"])
@torch.inference_mode()
def test_relatives_of_efficientnet_are_towers(backbone):
    torch.manual_seed(0)
    tower = LCDHStudent(replace(STUDENT, backbone=backbone)).eval().image
    x = torch.rand(1, 3, 64, 64)
    whole = F.normalize(tower.project(tower.backbone(2 * x - 1)), dim=-1)
    torch.testing.assert_close(tower(x), whole, atol=1e-5, rtol=1e-4)


# fmt: off
ENGLISH = (
    "", "42", "dog", "Two dogs, running!", "a baby's first birthday",
    "mountains under a blue sky", "red car in front of a house", "children play in the garden",
    "a plate of food", "beach 2019", "a woman in a pink dress is climbing up a set of stairs",
    "a snowboarder jumps over a fence",
)
FOREIGN = (
    "zwei Kinder spielen im Garten", "Berge unter blauem Himmel", "Schnee im Wald", "rotes Auto",
    "eine Tasse Kaffee auf dem Tisch", "Hochzeit in der Kirche", "eine Frau mit Hut",
    "Blumen auf der Wiese", "Sonnenuntergang am Meer", "alter Mann mit Bart",
    "deux enfants jouent dans le jardin", "voiture rouge devant une maison",
    "vélo contre le mur", "montagnes sous un ciel bleu", "un chat dort sur le canapé",
    "gâteau avec des bougies", "dos niños juegan en el jardín", "un perro en la playa",
    "montañas bajo un cielo azul", "una mujer con sombrero", "un cane sulla spiaggia",
    "duas crianças brincando no jardim", "twee kinderen spelen in de tuin",
    "dwoje dzieci bawi się w ogrodzie", "en hund på stranden", "собака на пляже", "海滩上的狗",
    "砂浜の犬", "해변의 개", "σκύλος στην παραλία", "كلب على الشاطئ",
)
# fmt: on


class TestTokenizer:
    def take(self, *texts, most=64):
        return tokenize(texts, STUDENT.vocabulary, most)

    def words(self, text):
        return [word_pieces()[i] for i in self.take(text)[0]]

    def test_words_signs_and_case(self):
        assert self.words("Two DOGS, running!") == ["two", "dogs", ",", "running", "!"]
        assert self.words("Café") == self.words("cafe")

    def test_unknown_words_fall_apart_and_come_back_together(self):
        pieces = self.words("snowboardingest")
        assert len(pieces) > 1
        assert "".join(p.removeprefix("##") for p in pieces) == "snowboardingest"

    def test_what_is_no_english_is_one_unknown_piece(self):
        assert self.words("🐕") == ["[UNK]"]

    def test_texts_that_are_probably_not_english(self):
        assert unknown_words("un chien sur la plage") == ["chien", "plage"]
        assert not [text for text in ENGLISH if unknown_words(text)]
        assert [text for text in FOREIGN if not unknown_words(text)] == ["alter Mann mit Bart"]

    def test_empty_and_endless_texts(self):
        assert self.take("", "   ") == [[], []]
        (tokens,) = self.take("dog " * 10_000)
        assert tokens == self.take("dog " * 64)[0] and len(tokens) == 64

    def test_padding(self):
        np.testing.assert_array_equal(padded([[3], [], [4, 5]]), [[3, 0], [0, 0], [4, 5]])
        assert padded([[]]).shape == (1, 1)

    def test_texts_of_similar_length_go_together(self):
        parts = by_length([[1, 2, 3], [], [4], [5, 6, 7], [8]], 2)
        assert [part.tolist() for part in parts] == [[1, 2], [0, 4], [3]]

    def test_the_list_of_pieces(self):
        pieces = word_pieces()
        assert len(set(pieces)) == len(pieces) == 24_000
        assert pieces[:2] == ("[PAD]", "[UNK]")
