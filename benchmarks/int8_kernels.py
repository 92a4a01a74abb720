"""What a matrix product costs in float32 and in 8 bits on this processor, and whether it cuts off sums of 8-bit products.

python benchmarks/int8_kernels.py [--tokens 1024] [--threads 1] [--quick]

Times onnxruntime's products with the packaged encoder's matrices: float32, and unsigned activations with signed weights (what
`export.quantise` writes) and with unsigned ones. Then the largest 8-bit products there are, and those that `train.rounding`
allows, are compared with whole numbers: processors that have AVX2 or AVX-512 but no VNNI are wrong in the first. The last
line is JSON.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

MATRICES = ((384, 384), (384, 1536), (1536, 384))
KINDS = {"float32": None, "signed": np.int8, "unsigned": np.uint8}  # of the weights


def product(weights: np.ndarray[Any, Any], threads: int) -> Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    """x -> x @ weights: in float32, or uint8 rows around 128 times signed or unsigned bytes."""
    inputs, outputs = weights.shape
    constants = {"w": weights}
    if weights.dtype == np.float32:
        node, kind = helper.make_node("MatMul", ["x", "w"], ["y"]), TensorProto.FLOAT
    else:
        middle = np.array(128 if weights.dtype == np.uint8 else 0, weights.dtype)
        constants |= {"one": np.array(1, np.float32), "scale": np.ones(outputs, np.float32)}
        constants |= {"middle": np.array(128, np.uint8), "w_middle": middle}
        node = helper.make_node("MatMulIntegerToFloat", ["x", "w", "one", "scale", "middle", "w_middle"], ["y"], domain="com.microsoft")
        kind = TensorProto.UINT8
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("x", kind, ["tokens", inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["tokens", outputs])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString(), options)
    return lambda x: np.asarray(session.run(None, {"x": x})[0])


def weights_of(kind: str, whole: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Whole numbers from -127 to 127 as the weights of a kind."""
    dtype = KINDS[kind]
    return whole.astype(np.float32) if dtype is None else (whole + (128 if dtype is np.uint8 else 0)).astype(dtype)


def cuts_off(kind: str, weight: int) -> bool:
    """Whether products of the largest activations with a weight everywhere come out wrong."""
    rows = np.full((4, 64), 255, np.uint8)
    found = product(weights_of(kind, np.full((64, 16), weight)), 1)(rows)
    return bool((found != 64 * 127 * weight).any())


def main() -> None:
    """Time, check and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few rounds")
    arguments = parser.parse_args()
    generator = np.random.default_rng(0)
    milliseconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    print(f"{'':12}" + "".join(f"{kind:>12}" for kind in KINDS) + "   milliseconds")
    for shape in MATRICES:
        whole = generator.integers(-63, 64, shape)
        rows = generator.integers(0, 256, (arguments.tokens, shape[0])).astype(np.uint8)
        runs = {kind: (product(weights_of(kind, whole), arguments.threads), rows) for kind in KINDS}
        runs["float32"] = (runs["float32"][0], rows.astype(np.float32) - 128)
        best = dict.fromkeys(KINDS, float("inf"))
        for _ in range(5 if arguments.quick else 50):
            for kind, (multiply, x) in runs.items():
                started = time.perf_counter()
                multiply(x)
                best[kind] = min(best[kind], 1000 * (time.perf_counter() - started))
        for kind, value in best.items():
            milliseconds[kind].append(value)
        print(f"{shape[0]:5} x {shape[1]:4}" + "".join(f"{value:12.2f}" for value in best.values()))
    wrong = {"signed, 8 bits": cuts_off("signed", 127), "signed, rounded": cuts_off("signed", 63), "unsigned": cuts_off("unsigned", 127)}
    for kind, is_wrong in wrong.items():
        print(f"{kind:16} {'sums are cut off' if is_wrong else 'exact'}")
    total = {kind: sum(values) for kind, values in milliseconds.items()}
    summary = {
        "signed_vs_float32": round(total["float32"] / total["signed"], 2),
        "signed_vs_unsigned": round(total["unsigned"] / total["signed"], 2),
        "cut_off": wrong,
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
