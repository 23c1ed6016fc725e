"""Codes of LCDH beside other methods on the same float features (needs ``derefl[train]``).

Each method learns from Flickr8k train. Its settings in :data:`GRIDS` have the best mean recall at
64 bits on a sixth of these pictures, after training on the others. Flickr8k dev is the test set.

- LEMON: Wang, Luo and Xu, "Label Embedding Online Hashing for Cross-Modal Retrieval", ACM MM 2020.
- DOCH: Zhan et al., "Discrete Online Cross-Modal Hashing", Pattern Recognition 2022.
- UCCH: Hu et al., "Unsupervised Contrastive Cross-modal Hashing", TPAMI 2023.

LEMON and DOCH need labels, and Flickr8k has none. Here the labels of a picture are the clusters of
its captions (k-means of the same text features). Their learned hash functions encode the test set.
"""

import argparse
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file, save_file
from torch import nn

from derefl.commands.bench import table
from derefl.hashing.codes import BITS, pack, prefix
from derefl.hashing.hasher import load_lcdh_student
from derefl.hashing.learning.baselines import BASELINES, Projection, centred
from derefl.hashing.learning.captions import read_captions
from derefl.hashing.learning.recall import KS, caption_recall
from derefl.hashing.teacher_pipeline import load_lcdh_teacher


@dataclass(frozen=True, eq=False)
class Captioned:
    """Features of pictures ``[n d]`` and captions ``[m d]``, and each caption's picture ``[m]``."""

    images: np.ndarray
    texts: np.ndarray
    rows: np.ndarray

    def part(self, pictures):
        """These pictures, in ascending order, and their captions."""
        chosen = np.isin(self.rows, pictures)
        rows = np.searchsorted(pictures, self.rows[chosen])
        return Captioned(self.images[pictures], self.texts[chosen], rows)


@cache
def cluster_labels(data, clusters, iterations=10):
    """The labels of each picture, 0 or 1 ``[n clusters]``: the k-means clusters of its captions."""
    texts = torch.from_numpy(data.texts)
    centres = texts[np.random.default_rng(0).choice(len(texts), clusters, replace=False)]
    for _ in range(iterations):
        nearest = (texts @ centres.T).argmax(dim=1)
        centres = F.normalize(torch.zeros_like(centres).index_add(0, nearest, texts), dim=1)
    labels = np.zeros((len(data.images), clusters), np.float32)
    labels[data.rows, nearest] = 1
    return labels


def online(learn_codes, data, bits, *, clusters, ridge, chunk=2000):
    """Linear hash functions for the codes −1 and 1 of ``learn_codes``, by ridge regression.

    ``learn_codes`` sees the labels of pictures, in chunks as in the papers on MIRFlickr-25K. A
    picture and its captions share a code.
    """
    rng = np.random.default_rng(0)
    order = rng.permutation(len(data.images))
    chunks = np.split(cluster_labels(data, clusters)[order], range(chunk, len(order), chunk))
    codes = np.concatenate(list(learn_codes(chunks, bits, rng)))[order.argsort()]
    images, y = data.images[data.rows], codes[data.rows]
    sides = centred(images, data.texts)
    maps = [np.linalg.solve(x.T @ x + ridge * np.eye(len(x.T)), x.T @ y) for x in sides]
    return Projection(images.mean(axis=0), data.texts.mean(axis=0), *maps)


def lemon(chunks, bits, rng, alpha=1e4, beta=1e4, gamma=0.1, iterations=5):
    """LEMON: minimises α‖k S − B Vᵀ‖² + β‖L − V P‖² + γ‖P‖² + ‖B − V R‖² by turns.

    B are the codes, S = 2 G Gᵀ − 1 with labels G of unit length, R is a rotation, and the columns
    of V are balanced and decorrelated. Old chunks enter as sums.
    """
    vv = vl = vb = gv = gb = total = 0
    for labels in chunks:
        g = labels / np.linalg.norm(labels, axis=1, keepdims=True)
        b, v = np.sign(rng.normal(size=(len(g), bits))), rng.normal(size=(len(g), bits))
        rotation = np.linalg.qr(rng.normal(size=(bits, bits)))[0]
        for _ in range(iterations):
            p = np.linalg.solve(vv + v.T @ v + gamma * np.eye(bits), vl + v.T @ labels)
            similar = 2 * g @ (gb + g.T @ b) - total - b.sum(axis=0)
            target = b @ rotation.T + beta * labels @ p.T + alpha * bits * similar
            u, _, wt = np.linalg.svd(target - target.mean(axis=0), full_matrices=False)
            v = len(g) ** 0.5 * u @ wt
            u, _, wt = np.linalg.svd(vb + v.T @ b)
            rotation = u @ wt
            b = np.sign(alpha * bits * 2 * g @ (gv + g.T @ v) + v @ rotation)
        vv, vl, vb = vv + v.T @ v, vl + v.T @ labels, vb + v.T @ b
        gv, gb, total = gv + g.T @ v, gb + g.T @ b, total + b.sum(axis=0)
        yield b


def doch(chunks, bits, rng, theta=0.1, anchors=50, rounds=7, sweeps=3):
    """DOCH: maximises Σ log p(Sᵢⱼ; α bᵢ·bⱼ) − θ‖L − B P‖² bit by bit, with a quadratic bound.

    S is 1 for a shared label. j are anchors of old chunks; the first chunk has its own.
    """
    alpha = {16: 0.35, 32: 0.25, 64: 0.15, 128: 0.1}[bits]
    old, bb, bl = [], 0, 0
    for labels in map(torch.from_numpy, chunks):
        b = torch.from_numpy(np.sign(rng.normal(size=(len(labels), bits)))).float()
        p = torch.from_numpy(rng.normal(size=(bits, labels.shape[1]))).float()
        for _ in range(rounds):
            explained, overlap = labels @ p.T, p @ p.T
            for _ in range(sweeps):
                seen = [(some, rng.choice(len(some[0]), anchors)) for some in old or [(b, labels)]]
                a, of = (torch.cat([some[i][rows] for some, rows in seen]) for i in (0, 1))
                shared = (labels @ of.T > 0).float() @ a
                for k in range(bits):
                    likely = torch.sigmoid(alpha * b @ a.T) @ a[:, k]
                    pull = alpha * (shared[:, k] - likely) + alpha**2 * len(a) / 4 * b[:, k]
                    rest = explained[:, k] - b @ overlap[:, k] + overlap[k, k] * b[:, k]
                    b[:, k] = torch.where(pull + theta * 2 * rest > 0, 1.0, -1.0)
            p = torch.linalg.pinv(bb + b.T @ b) @ (bl + b.T @ labels)
        bb, bl = bb + b.T @ b, bl + b.T @ labels
        old.append((b, labels))
        yield b.double().numpy()


def ucch(data, bits, *, temperature, alpha=0.7, margin=0.2, shift=0.1, epochs=20):
    """UCCH: contrast with a memory of codes, and a ranking loss over all negatives of the batch.

    The memory has a running mean of each pair; the first epoch contrasts within the batch. Our
    choice: all pictures as negatives, a random caption of each in an epoch, one hidden layer.
    """
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    d = data.images.shape[1]
    images, texts = (torch.from_numpy(d**0.5 * side) for side in (data.images, data.texts))
    layers = [(nn.Linear(d, 1024), nn.ReLU(), nn.Linear(1024, bits), nn.Tanh()) for _ in "vt"]
    nets = nn.ModuleList(nn.Sequential(*some) for some in layers)
    optimiser = torch.optim.Adam(nets.parameters(), 1e-3, weight_decay=1e-6)
    of = [np.flatnonzero(data.rows == i) for i in range(len(images))]
    memory = torch.zeros(len(images), bits)
    for epoch in range(epochs):
        captions = np.array([rng.choice(some) for some in of])
        for batch in torch.from_numpy(rng.permutation(len(of))).split(256):
            pair = zip(nets, (images[batch], texts[captions[batch]]), strict=True)
            v, t = (F.normalize(net(z), dim=1) for net, z in pair)
            mean, own = F.normalize((v + t).detach(), dim=1), torch.arange(len(batch))
            keys, answer = (memory, batch) if epoch else (mean, own)
            keys = keys.sign().T / (temperature * bits**0.5)
            loss = alpha * (F.cross_entropy(v @ keys, answer) + F.cross_entropy(t @ keys, answer))
            for s in (v @ t.T, t @ v.T):
                near = s >= s.diag()[:, None] - margin
                loss = loss + (1 - alpha) * F.cross_entropy(torch.where(near, s, s - shift), own)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(nets.parameters(), 1.0)
            optimiser.step()
            memory[batch] = F.normalize(0.4 * memory[batch] + 0.6 * mean, dim=1)

    nets.requires_grad_(False)
    encode = [lambda x, net=net: pack(net(torch.from_numpy(d**0.5 * x)).numpy()) for net in nets]
    return SimpleNamespace(encode_image=encode[0], encode_text=encode[1])


def baseline(fit, data, bits):
    """LSH, ITQ or CCA + ITQ."""
    return fit(data.images[data.rows], data.texts, bits)


FITS = {name.upper().replace("_", " + "): partial(baseline, f) for name, f in BASELINES.items()}
FITS |= {"LEMON": partial(online, lemon), "DOCH": partial(online, doch), "UCCH": ucch}
GRIDS = {
    "LEMON": {"clusters": (32, 128, 512), "ridge": (10, 100)},
    "DOCH": {"clusters": (8, 32, 128, 512), "ridge": (100,)},
    "UCCH": {"temperature": (0.9, 0.3, 0.1, 0.05)},
}
MODELS = {"student": load_lcdh_student, "teacher": load_lcdh_teacher}


def recall(coder, data):
    """The scores of ``derefl evaluate hashing`` for these codes."""
    return caption_recall(coder.encode_image(data.images), coder.encode_text(data.texts), data.rows)


def choose(name, data):
    """The settings of a method with the best mean recall on a sixth of the training pictures."""
    order = np.random.default_rng(0).permutation(len(data.images))
    held, rest = (data.part(np.sort(some)) for some in np.split(order, [len(order) // 6]))

    def mean_recall(settings):
        report = recall(FITS[name](rest, 64, **settings), held)
        return np.mean([way[f"r@{k}"] for way in report.values() for k in KS])

    grid = GRIDS.get(name, {})
    choices = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    return max(choices, key=mean_recall) if len(choices) > 1 else choices[0]


def read(name, part, root, folder):
    """The features of a model for a part of Flickr8k, and its codes, from a file or into a file."""
    path = folder / f"{name}-{part}.safetensors"
    if not path.exists():
        data = read_captions(root / "images", root / "captions.csv", root / f"{part}.txt")
        model = MODELS[name](bits=max(BITS))
        found = {"rows": data.rows}
        for kind, items in (("image", data.paths), ("text", data.captions)):
            for what in (f"{kind}_features", f"{kind}_embedding"):
                found[what] = getattr(model, what)(list(items), progress=True)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(found, path)
    found = load_file(path)
    codes = [pack(found[f"{kind}_embedding"]) for kind in ("image", "text")]
    return Captioned(found["image_features"], found["text_features"], found["rows"]), codes


def parser():
    """The options."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("flickr8k", type=Path, help="images/, captions.csv, train.txt, dev.txt")
    result.add_argument("--features", type=Path, default="outputs/peers", help="folder of a cache")
    result.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    result.add_argument("--methods", nargs="+", choices=FITS, default=list(FITS))
    return result


def main(arguments=None):
    """Train, measure and print R@10 text→image / image→text."""
    args = parser().parse_args(arguments)
    rows, lengths = [], [f"{k} bits" for k in BITS]
    for name in args.models:
        train, _ = read(name, "train", args.flickr8k, args.features)
        dev, own = read(name, "dev", args.flickr8k, args.features)
        reports = {"LCDH": [caption_recall(*(prefix(c, k) for c in own), dev.rows) for k in BITS]}
        for method in args.methods:
            settings = choose(method, train)
            label = " ".join([method, *(f"{key}={value}" for key, value in settings.items())])
            reports[label] = [recall(FITS[method](train, k, **settings), dev) for k in BITS]
        for label, scores in reports.items():
            cells = ["{:.1f} / {:.1f}".format(*(r["r@10"] for r in s.values())) for s in scores]
            rows.append({"features": name, "codes": label} | dict(zip(lengths, cells, strict=True)))
    print(*table(rows), sep="\n")


if __name__ == "__main__":
    main()
