"""Use exported models without torch: ``python examples/onnx_without_torch.py FOLDER``.

FOLDER contains the output of ``derefl export derefl-base -o FOLDER/derefl-base.onnx`` and
``derefl export lcdh-student -o FOLDER/lcdh-student.onnx``. Needs numpy, onnxruntime, Pillow and
tokenizers, but not derefl.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image
from tokenizers import Tokenizer

PICTURES = Path(__file__).parent / "pictures"
BYTES = 8  # of 16; the first 64 bits of a 128-bit code are the 64-bit code


def session(name: str) -> onnxruntime.InferenceSession:
    """A CPU session for a graph in the folder."""
    return onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])


def pixels(picture: Image.Image) -> np.ndarray:
    """``[3 h w]`` in [0, 1]."""
    array = np.asarray(picture.convert("RGB"), np.float32) / 255
    return array.transpose(2, 0, 1)


def image_code(picture: Image.Image) -> np.ndarray:
    """The code of a picture, uint8 ``[8]``, from the whole picture and its centre."""
    side = image_graph.get_inputs()[0].shape[3]
    picture = picture.convert("RGB")
    w, h = picture.size
    x, y = round(w / 10), round(h / 10)
    views = [
        pixels(picture.resize((side, side), Image.Resampling.BICUBIC, box, reducing_gap=3.0))
        for box in ((0, 0, w, h), (x, y, w - x, h - y))
    ]
    return image_graph.run(["code"], {"views": np.stack(views)[None]})[0][0, :BYTES]


def text_code(text: str) -> np.ndarray:
    """The code of a text, uint8 ``[8]``; the code of a matching picture differs in few bits."""
    pieces = tokenizer.encode(text).ids or [0]  # a text without tokens is a single 0
    return text_graph.run(["code"], {"tokens": np.array([pieces])})[0][0, :BYTES]


folder = Path(sys.argv[1])
photo = Image.open(sorted((PICTURES / "through_glass").glob("*.jpg"))[0])
clean = session("derefl-base.onnx").run(["clean"], {"image": pixels(photo)[None]})[0][0]
Image.fromarray(np.uint8(np.rint(clean * 255)).transpose(1, 2, 0)).save("clean.png")
print("without reflections: clean.png")

image_graph, text_graph = session("lcdh-student-image.onnx"), session("lcdh-student-text.onnx")
tokenizer = Tokenizer.from_file(str(folder / "lcdh-student-tokenizer.json"))
paths = sorted(PICTURES.rglob("*.jpg"))
codes = np.stack([image_code(Image.open(path)) for path in paths])
query = text_code("a dog on a beach")
distances = np.bitwise_count(codes ^ query).sum(axis=1)
for place in np.argsort(distances, kind="stable")[:3]:
    print(f"{distances[place]:2} bits from the words: {paths[place].name}")
