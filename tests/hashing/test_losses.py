"""Each loss against its formula, with numbers that are easy to check by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from derefl.hashing.learning.distil import (
    DistilConfig,
    StudentView,
    TeacherView,
    Temperatures,
    student_loss,
)
from derefl.hashing.learning.losses import (
    alignment_loss,
    contrastive_loss,
    decorrelation_loss,
    nested,
    quantisation_loss,
    row_distillation,
    similarity_distillation,
    straight_through_sign,
    without_diagonal,
)


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class TestLosses:
    def test_straight_through_sign(self):
        h = torch.tensor([-0.3, 0.2, 0.9], requires_grad=True)
        b = straight_through_sign(h)
        assert b.tolist() == pytest.approx([-1, 1, 1])
        (b * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
        assert h.grad.tolist() == [1, 2, 3]

    def test_contrastive_is_cross_entropy_both_ways(self):
        s = random(5, 5)
        target = torch.arange(5)
        expected = (F.cross_entropy(7 * s, target) + F.cross_entropy(7 * s.T, target)) / 2
        assert float(contrastive_loss(s, torch.eye(5), 7.0)) == pytest.approx(float(expected))

    def test_contrastive_with_two_positives_wants_both(self):
        positives = torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]])
        even, uneven = positives.clone(), positives.clone()
        uneven[0, 1] = uneven[1, 0] = 0
        assert contrastive_loss(even, positives, 9.0) < contrastive_loss(uneven, positives, 9.0)
        assert float(contrastive_loss(even, positives, 50.0)) == pytest.approx(
            2 / 3 * np.log(2), abs=1e-6
        )

    def test_row_distillation_is_zero_for_equals_and_a_kl_else(self):
        s, t = random(4, 6), random(4, 6, seed=1)
        assert float(row_distillation(s, s, 5.0, 5.0)) == pytest.approx(0, abs=1e-6)
        p, q = F.softmax(3 * t, 1).numpy(), F.softmax(5 * s, 1).numpy()
        expected = (p * np.log(p / q)).sum(1).mean()
        assert float(row_distillation(s, t, 5.0, 3.0)) == pytest.approx(expected, rel=1e-4)

    def test_without_diagonal(self):
        s = torch.arange(9.0).view(3, 3)
        assert without_diagonal(s).tolist() == [[1, 2], [3, 5], [6, 7]]

    def test_similarity_distillation(self):
        a, b = torch.tensor([[1.0, 1], [1, -1]]), torch.tensor([[1.0, 1]])
        assert float(similarity_distillation(a, b, torch.tensor([[1.0], [0.5]]))) == (
            pytest.approx(0.125)
        )

    def test_alignment_and_quantisation(self):
        assert float(alignment_loss(torch.ones(2, 4), torch.zeros(2, 4))) == 1
        assert float(quantisation_loss(torch.tensor([[0.5, -1.0]]))) == pytest.approx(0.125)

    def test_decorrelation_counts_what_two_bits_share(self):
        signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        assert float(decorrelation_loss(signs)) == 0
        twice = signs[:, [0, 0]]
        assert float(decorrelation_loss(twice)) == pytest.approx(1)  # two entries of 1, over K = 2
        assert float(decorrelation_loss(torch.ones(4, 2))) == 0

    def test_nested_is_the_mean_over_prefixes_weighed_by_the_root_of_their_length(self):
        a = random(3, 128)
        seen = []
        value = nested(lambda x, y: (seen.append(x.shape[1]), x.sum() + y.sum())[1], a, a)
        assert seen == [16, 32, 64, 128]
        expected = np.average([2 * float(a[:, :n].sum()) for n in seen], weights=np.sqrt(seen))
        assert float(value) == pytest.approx(expected, rel=1e-4)
        one = nested(lambda x, y: x.sum() + y.sum(), a, a, [32])
        assert float(one) == pytest.approx(2 * float(a[:, :32].sum()), rel=1e-4)


class TestStudentLoss:
    def views(self, n=6):
        units = [F.normalize(random(n, 8, seed=s), dim=1) for s in range(4)]
        codes = [torch.tanh(random(n, 128, seed=10 + s)) for s in range(5)]
        return StudentView(*units[:2], *codes[:2]), TeacherView(*units[2:], *codes[2:])

    def test_the_sum_is_what_the_weights_say(self):
        student, teacher = self.views()
        config = DistilConfig(matrices=0.7)
        total, terms = student_loss(student, teacher, torch.eye(6), Temperatures(), config)
        expected = sum(getattr(config, name) * value for name, value in terms.items())
        assert float(total.detach()) == pytest.approx(expected, rel=1e-5)
        assert {"rows", "code_rows", "matrices", "regression", "lambda1", "lambda2"} < terms.keys()

    def test_a_student_who_sees_as_the_teacher_does_pays_nothing_for_rows(self):
        teacher = self.views()[1]
        same = StudentView(*teacher[:4])
        terms = student_loss(same, teacher, torch.eye(6), Temperatures(), DistilConfig())[1]
        assert terms["rows"] == pytest.approx(0, abs=1e-5) and terms["regression"] == 0

    def test_rows_of_one_modality_leave_out_that_all_are_like_themselves(self):
        student, teacher = self.views()
        config = DistilConfig(scale=5.0)
        terms = student_loss(student, teacher, torch.eye(6), Temperatures(), config)[1]
        expected = []
        for a, b in ((0, 1), (1, 0), (0, 0), (1, 1)):
            for i in range(6):
                row = [j for j in range(6) if a != b or j != i]
                logs = [
                    F.log_softmax(5 * (view[a][i] @ view[b][row].T), dim=0)
                    for view in (teacher, student)
                ]
                expected.append(float((logs[0].exp() * (logs[0] - logs[1])).sum()))
        assert terms["rows"] == pytest.approx(np.mean(expected), rel=1e-4)

    def test_texts_without_a_picture_count_in_the_rows_of_similarities_only(self):
        def longer(view, other):
            texts = {
                k: torch.cat([getattr(view, k), getattr(other, k)]) for k in ("text", "text_code")
            }
            return view._replace(**texts)

        config, pairs = DistilConfig(matrices=1.0), torch.eye(6)
        few, more = self.views(), self.views(9)
        terms, other = (
            student_loss(*views, pairs, Temperatures(), config)[1]
            for views in (few, map(longer, few, more))
        )
        same = {name for name in terms if terms[name] == other[name]}
        assert same == {"contrastive", "float_contrastive", "lambda1", "matrices", "regression"}

    def test_bits_beyond_the_lengths_that_are_trained_do_not_matter(self):
        student, teacher = self.views()
        config = DistilConfig(lengths=(16,), regression=0, lambda1=0, lambda2=0)
        other = torch.cat([student.image_code[:, :16], -student.image_code[:, 16:]], dim=1)
        losses = [
            float(student_loss(s, teacher, torch.eye(6), Temperatures(), config)[0].detach())
            for s in (student, student._replace(image_code=other))
        ]
        assert losses[0] == losses[1]

    def test_without_a_teacher(self):
        student, teacher = self.views()
        for given, config in ((None, DistilConfig()), (teacher, DistilConfig(teacher=False))):
            terms = student_loss(student, given, torch.eye(6), Temperatures(), config)[1]
            assert terms.keys() == {
                *("contrastive", "float_contrastive", "lambda1", "lambda2", "decorrelation")
            }

    def test_every_output_of_the_student_gets_a_gradient(self):
        student, teacher = self.views()
        student = StudentView(*(x.detach().requires_grad_() for x in student))
        temperatures = Temperatures()
        loss, _ = student_loss(student, teacher, torch.eye(6), temperatures, DistilConfig())
        loss.backward()
        assert all(x.grad.abs().max() > 0 for x in student)
        assert (temperatures.log.grad.abs() > 0).all()
