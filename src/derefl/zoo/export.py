"""Export a module to ONNX and compare the results; independent of the model kind."""

import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from derefl.errors import CheckpointError, needs
from derefl.zoo.header import brief

OPSET = 18
"""Version of the standard ONNX operators; all recent runtimes support this version."""

TOLERANCE = 1e-4
"""Largest difference of a float output from torch's: 1/40 of an 8-bit level."""


@dataclass(frozen=True)
class Graph:
    """A module and how to export it.

    Attributes:
        module: takes one tensor and returns a tuple of tensors, in ``eval()`` mode.
        input: name of the input.
        outputs: names of the outputs.
        axes: dynamic axes of inputs and outputs, and their names.
        sizes: the supported input sizes, in words.
        samples: inputs of several sizes and batches for the comparison with torch. The first input
            is traced.
        suffix: suffix of the file name, for a model with several graphs.
    """

    module: nn.Module
    input: str
    outputs: tuple[str, ...]
    axes: Mapping[str, Mapping[int, str]]
    sizes: str
    samples: tuple[Tensor, ...]
    suffix: str = ""


@dataclass(frozen=True)
class Export:
    """All files of an exported model: graphs, and texts by the suffix of their file name."""

    graphs: tuple[Graph, ...]
    texts: Mapping[str, str] = field(default_factory=dict)


def to_onnx(graph: Graph, metadata: Mapping[str, str]) -> tuple[bytes, float]:
    """Export a graph to ONNX, and compare onnxruntime's results with torch's.

    Args:
        graph: the graph to export.
        metadata: metadata of the file; the graph's sizes are added.

    Returns:
        The file's bytes, and the largest difference of any float output on any sample.

    Raises:
        MissingExtraError: onnx or onnxruntime is not installed.
        CheckpointError: the difference is more than :data:`TOLERANCE`, or the graph does not run.
    """
    with needs("onnx and onnxruntime", "onnx", "the export"):
        import onnx
        import onnxruntime  # noqa: F401
    model = onnx.load_from_string(traced(graph))
    onnx.helper.set_model_props(model, {**metadata, "sizes": graph.sizes})
    onnx.checker.check_model(model)
    data = model.SerializeToString()
    difference = largest_difference(data, graph)
    if not difference <= TOLERANCE:  # so that NaN is refused
        raise CheckpointError(
            f"the graph of {graph.input} gives other numbers in onnxruntime than in torch: they "
            f"differ by {difference:.2g}, expected at most {TOLERANCE:g}; nothing was written. Try "
            "other versions: pip install --upgrade torch onnx onnxruntime"
        )
    return data, difference


def traced(graph: Graph) -> bytes:
    """The ONNX file from torch's exporter.

    This uses tracing, torch's legacy exporter. The new exporter (``dynamo=True``) fails on windows
    with a padding that depends on the picture size (tried with torch 2.14).
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # tracer warnings; the samples check the traced branches
        path = Path(folder, "it.onnx")
        torch.onnx.export(
            graph.module,
            (graph.samples[0],),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=[graph.input],
            output_names=list(graph.outputs),
            dynamic_axes={name: dict(axes) for name, axes in graph.axes.items()},
        )
        return path.read_bytes()


def largest_difference(data: bytes, graph: Graph) -> float:
    """Largest difference of float outputs between onnxruntime and torch, over all samples."""
    session = cpu_session(data)
    worst = 0.0
    for sample in graph.samples:
        try:
            got = session.run(list(graph.outputs), {graph.input: sample.numpy()})
        except Exception as error:  # onnxruntime has no common base class for its errors
            raise CheckpointError(
                f"onnxruntime cannot run the graph on {graph.input} of {list(sample.shape)}: "
                f"{brief(error)}; nothing was written"
            ) from error
        with torch.inference_mode():
            expected = graph.module(sample)
        for mine, theirs in zip(got, expected, strict=True):
            if mine.shape != tuple(theirs.shape):
                return float("inf")
            if theirs.is_floating_point():
                difference = (torch.from_numpy(mine) - theirs).abs().max().item()
                worst = max(worst, difference if difference == difference else float("inf"))
    return worst


def cpu_session(file: Any, threads: int | None = None) -> Any:
    """An onnxruntime CPU session from a file or its bytes, by default with torch's threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
