"""Pictures per CPU second of the same network in PyTorch, onnxruntime and OpenVINO.

Random weights, made pictures, one thread: what an engine costs does not hang on the values. The
features of every variant are compared with eager float32 before anything is timed; what int8 does
to the accuracy of a trained network is another question, see docs/deploy.md. Without openvino its
rows are left out. Takes ten minutes on a quiet machine.
"""

import argparse
import importlib.util
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from harness import RESULTS, Call, Row, machine_stamp, measure, replace_rows, rows_of, show
from marginface.backbones import make_backbone
from marginface.recognition import ModelContract, save_onnx
from marginface.recognition.network import OnnxNetwork, TorchNetwork
from marginface.recognition.onnx_file import add_metadata
from marginface.recognition.quantise import quantise

NETWORKS = ("iresnet50", "iresnet18", "mobilefacenet")
BATCHES = (1, 32)
DIM, SIZE = 512, 112
BASELINE = "eager float32"


def faces_of(count: int, *, seed: int) -> NDArray[np.uint8]:
    """Smooth noise, so that neighbouring pixels are alike as in a picture."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 14, 14, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def bfloat16(backbone: torch.nn.Module, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        images = torch.from_numpy(inputs).to(torch.bfloat16, memory_format=torch.channels_last)
        return backbone(images).float().numpy()


def eager(backbone: torch.nn.Module, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        return backbone(torch.from_numpy(inputs)).numpy()


def variants_of(name: str, folder: Path) -> dict[str, Call]:
    torch.manual_seed(0)
    plain = make_backbone(name, dim=DIM, input_size=SIZE).eval()
    contract = ModelContract(architecture=name, dim=DIM, input_size=(SIZE, SIZE))
    network = TorchNetwork(plain, contract)
    exact, small = folder / f"{name}.onnx", folder / f"{name}.int8.onnx"
    save_onnx(exact, plain, contract)
    quantise(exact, small, network, faces_of(32, seed=1))
    add_metadata(small, contract.to_metadata())
    rounded = make_backbone(name, dim=DIM, input_size=SIZE).eval()
    rounded.load_state_dict(plain.state_dict())
    rounded = rounded.to(torch.bfloat16).to(memory_format=torch.channels_last)
    found: dict[str, Call] = {
        BASELINE: partial(eager, plain),
        "eager float32 channels_last": network.run,
        "eager bf16 channels_last": partial(bfloat16, rounded),
        "onnxruntime float32": OnnxNetwork(exact).run,
        "onnxruntime int8": OnnxNetwork(small).run,
    }
    if importlib.util.find_spec("openvino") is not None:
        found |= {
            "openvino float32": OnnxNetwork(exact, engine="openvino").run,
            "openvino bf16": OnnxNetwork(exact, engine="openvino-bf16").run,
            "openvino int8": OnnxNetwork(small, engine="openvino").run,
            "openvino int8 and bf16": OnnxNetwork(small, engine="openvino-bf16").run,
        }
    return found


def distances(variants: dict[str, Call], inputs: NDArray[np.float32], case: str) -> list[Row]:
    """1 - cosine to eager float32, over the pictures: 20th, 50th and 80th percentile."""
    expected = variants[BASELINE](inputs).astype(np.float64)
    rows = []
    for variant, run in variants.items():
        got = run(inputs).astype(np.float64)
        lengths = np.linalg.norm(got, axis=1) * np.linalg.norm(expected, axis=1)
        apart = np.maximum(1 - (got * expected).sum(axis=1) / lengths, 0)
        if variant.endswith("float32"):
            assert apart.max() < 1e-6, (case, variant, apart.max())
        low, middle, high = (float(f"{each:.3g}") for each in np.percentile(apart, (20, 50, 80)))
        stamp = machine_stamp()
        rows.append(
            Row(
                name="engines",
                variant=variant,
                mode="forward",
                axis="network",
                value=case,
                metric="distance",
                unit="1-cos",
                p20=low,
                p50=middle,
                p80=high,
                **stamp,
            )
        )
    return rows


def throughput(rows: list[Row], *, images: int) -> list[Row]:
    """Images per CPU second; the slowest time is the lowest rate."""
    made = []
    for row in rows:
        if row.metric == "cpu_time":
            low, middle, high = (float(f"{images / s:.4g}") for s in (row.p80, row.p50, row.p20))
            rate = replace(row, metric="throughput_cpu", unit="images/cpu-s")
            made.append(replace(rate, p20=low, p50=middle, p80=high))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS / "engines_cpu_202611.csv")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in arguments.networks:
        rows = []
        with tempfile.TemporaryDirectory() as folder:
            variants = variants_of(name, Path(folder))
            for batch in BATCHES:
                case = f"{name} batch {batch}"
                contract = ModelContract(architecture=name, dim=DIM, input_size=(SIZE, SIZE))
                ready = TorchNetwork(torch.nn.Identity(), contract).ready
                inputs = ready(faces_of(batch, seed=2))
                found = distances(variants, inputs, case)
                calls = {variant: partial(run, inputs) for variant, run in variants.items()}
                samples = measure(calls, repeats=arguments.repeats)
                timed = rows_of(samples, name="engines", mode="forward", axis="network", value=case)
                rows += [*timed, *throughput(timed, images=batch), *found]
        show(rows)
        replace_rows(arguments.out, rows)


if __name__ == "__main__":
    main()
