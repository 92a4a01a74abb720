"""Smaller graphs: their numbers by hand, their limits, and when they ship."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from data_prep.command import UserError
from export.agreement import Cell, Evidence, balanced, find_evidence, find_table
from export.bundle import export_release
from export.graph import embedding_dimension, save_graph
from export.parity import check_finite, measure_parity, open_session
from export.quantise import embeddings_fit_four_bits, layers, to_float16, to_int8
from export.settings import AgreementSettings, ExportSettings
from export.variants import write_variants
from tests.conftest import tiny_export
from train.labels import MASKED
from train.policy import HeadPolicy, LanguagePolicy, Policy
from train.run import Run, load_run


@pytest.fixture(scope="module")
def run(tiny_workspace: Path) -> Run:
    return load_run(tiny_workspace / "runs" / "tiny" / "latest")


@pytest.fixture(scope="module")
def graph(tiny_workspace: Path) -> onnx.ModelProto:
    """The run's graph, as its release has it."""
    return onnx.load(tiny_workspace / "releases" / "tiny" / "artifact" / "model.onnx")


def one_layer(weight: np.ndarray, gelu: bool = False, bias: float | None = None) -> onnx.ModelProto:
    """x (batch, sequence, width), perhaps through a GELU, times a weight, perhaps with a bias."""
    nodes = [helper.make_node("Gelu", ["x"], ["y"], name="gelu")] if gelu else []
    nodes.append(helper.make_node("MatMul", ["y" if gelu else "x", "w"], ["out" if bias is None else "product"], name="layer"))
    if bias is not None:
        nodes.append(helper.make_node("Add", ["product", "b"], ["out"], name="bias"))
    made = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", "s", weight.shape[0]])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["b", "s", weight.shape[1]])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.full(weight.shape[1], bias or 0, np.float32), "b")],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def lookup(table: np.ndarray) -> onnx.ModelProto:
    """The rows of a table by their ids (batch, sequence)."""
    made = helper.make_graph(
        [helper.make_node("Gather", ["t", "ids"], ["out"], name="lookup")],
        "lookup",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["b", "s"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["b", "s", table.shape[1]])],
        [numpy_helper.from_array(table, "t")],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def outputs(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return np.asarray(onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0])


def test_every_token_has_its_own_scale() -> None:
    """Weights of 0 and ±1 are exact in 8 bits; a token of 1,000s must not coarsen its neighbour of hundredths."""
    weight = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], (16, 16)).astype(np.float32)
    weight[0] = 1  # 1 is a whole number of steps: 63, or 126 where no other of its sign is near
    x = np.stack([np.full(16, 1000.0), np.linspace(-0.0127, 0.0127, 16), np.zeros(16)])[None].astype(np.float32)
    exact = x @ weight
    got = outputs(to_int8(one_layer(weight)), x)
    step = np.array([1000.0, 0.0127, 0])[None, :, None] / 127
    # each of 16 products is off by half a step of its token at most
    assert (np.abs(got - exact) <= 8 * step + 1e-5 * np.abs(exact) + 1e-6).all()
    assert np.abs(got[0, 0] - exact[0, 0]).max() < 1e-2, "1,000 is a whole number of steps"


@pytest.mark.parametrize("bias", [None, 2.0])
def test_what_comes_out_of_a_gelu_uses_all_steps_and_keeps_its_sum(bias: float | None) -> None:
    weight = np.ones((16, 16), np.float32)
    x = np.random.default_rng(1).normal(0, 2, (2, 5, 16)).astype(np.float32)
    model = one_layer(weight, gelu=True, bias=bias)
    small = to_int8(model)
    exact, got = outputs(model, x), outputs(small, x)
    largest = 0.17 + x.max()  # GELU(x) is at most x
    assert np.abs(got - exact).max() <= 8 * largest / 255 + 1e-3
    assert [node.op_type for node in small.graph.node].count("Add") == 1, "a bias takes the shift's share with it"


def test_tokens_are_rows_between_the_products(graph: onnx.ModelProto) -> None:
    """One way there and one back, however many products; a scale is reshaped too, and what attention gives back."""
    quantised = {node.input[0] for node in graph.graph.node if node.name in layers(graph)}
    attended = sum(node.op_type == "Reshape" and node.output[0] in quantised for node in graph.graph.node)
    before, after = (Counter(node.op_type for node in model.graph.node) for model in (graph, to_int8(graph)))
    assert after["Reshape"] - before["Reshape"] == len(quantised) + attended + 2
    assert after["Shape"] - before["Shape"] == 2, "how many texts and tokens, and how many rows"


def test_the_embeddings_normalisation_stays_apart(graph: onnx.ModelProto, tmp_path: Path) -> None:
    """onnxruntime fuses an addition and the normalisation after it into an operator that is slower than both."""
    for model, fused in ((graph, 1), (to_int8(graph), 0)):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
        onnxruntime.InferenceSession(model.SerializeToString(), options)
        operators = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
        assert operators.count("SkipLayerNormalization") == fused


def test_what_comes_out_has_the_shape_that_it_had() -> None:
    x = np.random.default_rng(2).normal(0, 1, (2, 5, 16)).astype(np.float32)
    for model in (one_layer(np.eye(16, dtype=np.float32)), one_layer(np.eye(16, dtype=np.float32), gelu=True, bias=1.0)):
        assert outputs(to_int8(model), x).shape == outputs(model, x).shape == (2, 5, 16)


def test_four_bits_hold_a_table_that_was_made_of_them() -> None:
    rng = np.random.default_rng(4)
    numbers = rng.integers(-8, 8, (2000, 2, 32))
    numbers[:, :, 5] = -8  # the largest of each block, from which its scale is found
    scales = rng.choice([-1, 1], (2000, 2, 1)) * rng.uniform(0.001, 0.1, (2000, 2, 1)).astype(np.float16)
    table = (numbers.astype(np.float32) * scales.astype(np.float16).astype(np.float32)).reshape(2000, 64)
    model = lookup(table)
    assert embeddings_fit_four_bits(model)
    session = onnxruntime.InferenceSession(to_int8(model, embedding_bits=4).SerializeToString())
    ids = np.arange(2000)[None]
    np.testing.assert_allclose(session.run(None, {"ids": ids})[0][0], table, rtol=2**-11)  # which comes out in float16
    table[7, 3] *= 1.01
    assert not embeddings_fit_four_bits(lookup(table))


def test_a_run_s_int8_weights_are_its_float32_ones(graph: onnx.ModelProto) -> None:
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    small = {tensor.name: numpy_helper.to_array(tensor) for tensor in to_int8(graph).graph.initializer}
    names = [node.input[1] for node in graph.graph.node if node.name in layers(graph)]
    assert len(names) == len(layers(graph)) > 0
    for name in names:
        np.testing.assert_allclose(small[f"{name}_int8"] * small[f"{name}_scale"], weights[name], rtol=1e-6)


def test_no_sum_is_cut_off() -> None:
    """Some processors add two products in 16 bits: what the graph's bytes can make there, whichever of four inputs stand together."""
    weight = np.random.default_rng(3).normal(0, 1, (64, 16)).astype(np.float32)
    weight[:, 0], weight[:, 1] = 1, -1
    x = np.stack([np.full(64, 1.0), np.full(64, -1.0)])[None].astype(np.float32)
    np.testing.assert_allclose(outputs(to_int8(one_layer(weight)), x)[:, :, :2], (x @ weight)[:, :, :2], rtol=1e-5)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in to_int8(one_layer(weight)).graph.initializer}
    whole = constants["w_int8"]
    assert whole.dtype == np.int8, "unsigned bytes are added in 32 bits, and slowly where there is VNNI"
    groups = np.sort(whole.astype(int).reshape(16, 4, 16), axis=1)
    assert 255 * groups[:, 2:].clip(min=0).sum(axis=1).max() <= 2**15 - 1
    assert 255 * groups[:, :2].clip(max=0).sum(axis=1).min() >= -(2**15)


@pytest.mark.parametrize("bits", [4, 8])
def test_embedding_tables_lose_at_most_half_a_step(bits: int) -> None:
    table = np.random.default_rng(2).normal(0, 1, (2000, 64)).astype(np.float32)
    model = to_int8(lookup(table), embedding_bits=bits)
    ids = np.arange(2000).reshape(40, 50)
    got = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"ids": ids})[0].reshape(2000, 64)
    if bits == 8:
        step = np.abs(table).max(axis=1, keepdims=True) / 127
        assert (np.abs(got - table) <= step / 2 + 1e-6).all()
    else:
        blocks = table.reshape(-1, 32)
        largest = np.abs(blocks).max(axis=1, keepdims=True)
        # half a step, or a whole one at the end that 4 bits around 8 lack (+8); float16 scales add a thousandth
        assert (np.abs(got.reshape(-1, 32) - blocks) <= largest / 8 * 1.01).all()
        assert np.abs(got.reshape(-1, 32) - blocks).mean() < largest.mean() / 8 / 3
        assert len(model.SerializeToString()) < 0.6 * table.size + 2000


def test_every_precision_is_near_and_finite_on_padding(run: Run, graph: onnx.ModelProto, tmp_path: Path) -> None:
    for name, model, allowed in (("fp32", graph, 1e-4), ("fp16", to_float16(graph), 0.02), ("int8", to_int8(graph), 0.2)):
        save_graph(model, tmp_path / name)
        parity = measure_parity(run.model, run.policy, tmp_path / name, 64)
        assert parity.max_logit_difference < allowed, name
        check_finite(tmp_path / name, 64)


def test_a_graph_that_divides_by_the_padding_is_refused(graph: onnx.ModelProto, tmp_path: Path) -> None:
    """The same model without its guard against rows of padding."""
    broken = onnx.ModelProto()
    broken.CopyFrom(graph)
    for tensor in broken.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype == np.float32 and value.size == 1 and float(value.reshape(-1)[0]) in (1.0, np.float32(1e-12)):
            tensor.CopyFrom(numpy_helper.from_array(np.zeros_like(value), tensor.name))
    save_graph(broken, tmp_path / "broken.onnx")
    with pytest.raises(UserError, match="no number for a row of padding"):
        check_finite(tmp_path / "broken.onnx", 64)


def test_kept_layers_stay_exact(graph: onnx.ModelProto) -> None:
    names = layers(graph)
    assert len(names) == 2 * 6  # two encoder layers of query, key, value, output and two feed-forward products
    kept = to_int8(graph, keep=names)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in kept.graph.initializer}
    for node in graph.graph.node:
        if node.name in names:
            weight = node.input[1]
            exact = next(numpy_helper.to_array(tensor) for tensor in graph.graph.initializer if tensor.name == weight)
            np.testing.assert_allclose(weights[f"{weight}_int8"] * weights[f"{weight}_scale"], exact, rtol=1e-6)
            assert weight not in weights, "8 bits hold it, so 32 need not be shipped"
    operators = [node.op_type for node in kept.graph.node]
    assert "MatMulIntegerToFloat" not in operators
    assert operators.count("MatMul") == [node.op_type for node in graph.graph.node].count("MatMul")
    assert [node.op_type for node in to_int8(graph).graph.node].count("MatMulIntegerToFloat") == len(names)
    assert {node.name for node in graph.graph.node} >= set(names), "the graph given is left as it was"


def test_a_kept_layer_that_8_bits_do_not_hold_keeps_its_weights() -> None:
    weight = np.random.default_rng(5).normal(0, 1, (32, 16)).astype(np.float32)
    x = np.random.default_rng(6).normal(0, 1, (2, 3, 32)).astype(np.float32)
    np.testing.assert_allclose(outputs(to_int8(one_layer(weight), keep=["layer"]), x), x @ weight, rtol=1e-5, atol=1e-5)


def test_large_graphs_keep_their_weights_beside_them(run: Run, graph: onnx.ModelProto, tmp_path: Path) -> None:
    written = save_graph(graph, tmp_path / "model.onnx", external_above=10_000)
    assert [path.name for path in written] == ["model.onnx", "model.onnx.data"]
    assert written[0].stat().st_size < 200_000 < written[1].stat().st_size
    assert measure_parity(run.model, run.policy, written[0], 64).max_logit_difference < 1e-4
    assert graph.graph.initializer[0].raw_data, "the graph given keeps its weights"


def test_a_release_of_large_graphs_is_whole(tiny_workspace: Path, tmp_path: Path) -> None:
    artifact = export_release(tiny_export(tiny_workspace, release="large", releases_dir=str(tmp_path), external_above=10_000))
    assert (artifact / "model.onnx.data").is_file()
    assert (artifact / "triton" / "classifier_fp32" / "1" / "model.onnx.data").is_file()
    open_session(artifact / "triton" / "classifier_fp32" / "1" / "model.onnx")
    assert "model.onnx.data" in (artifact / "contract.json").read_text(encoding="utf-8")


def test_embedding_dimension_is_read_from_the_graph(run: Run, graph: onnx.ModelProto) -> None:
    assert embedding_dimension(graph) == run.model.config.hidden_size == 32


@pytest.fixture
def evidence(run: Run, tiny_workspace: Path) -> Evidence:
    table = find_table(run, None)
    assert not isinstance(table, str)
    return find_evidence(run, table, AgreementSettings())


def test_agreement_and_loss_by_hand() -> None:
    """Four rows of `en` at threshold 0.5, two of `ur` at 0.9: one `en` decision flips; only `en` has a positive to lose."""
    policy = Policy({"a": HeadPolicy(1.0, 0.0, 0.5, 0.0, {"ur": LanguagePolicy(1.0, 0.0, 0.9, 1, 1)})})
    labels = np.array([[1], [0], [0], [MASKED], [0], [0]], dtype=np.int8)
    spoken = ["en"] * 4 + ["ur"] * 2
    rows = Evidence([np.zeros(2, np.int32)] * 6, labels, spoken, ["a"], policy)
    before = np.array([[2.0], [1.0], [-1.0], [3.0], [0.5], [1.0]], dtype=np.float32)
    after = np.array([[2.0], [2.5], [-1.0], [-3.0], [1.5], [1.0]], dtype=np.float32)
    settings = AgreementSettings(min_rows=2, min_positives=1)
    english, urdu = rows.compare(before, after, settings)
    assert english == Cell("en", "a", 4, 0.75, 0.5)  # the positive fell from first to second place: 1 -> 1/2
    assert urdu == Cell("ur", "a", 2, 1.0, None)
    assert not english.passes(settings)
    assert urdu.passes(settings)
    assert [cell.language for cell in rows.compare(before, after, AgreementSettings(min_rows=3, min_positives=1))] == ["en"]


@pytest.mark.parametrize(("rows", "flips", "ships"), [(89, 0, True), (89, 1, True), (89, 2, False), (500, 5, True), (500, 6, False)])
def test_one_flip_is_forgiven_and_else_a_hundredth(rows: int, flips: int, ships: bool) -> None:
    assert Cell("ur", "a", rows, 1 - flips / rows, None).passes(AgreementSettings()) == ships


def test_rows_are_balanced_over_languages() -> None:
    chosen = balanced(["en"] * 100 + ["ur"] * 3, 5)
    assert [index for index in chosen if index >= 100] == [100, 101, 102]
    assert chosen[:5] == [0, 25, 50, 74, 99]


def settings_with(**changes: Any) -> ExportSettings:
    return ExportSettings(run="-", release="-", variants=["int8"], agreement=AgreementSettings(min_rows=10, min_positives=5, **changes))


def test_int8_ships_with_its_evidence(graph: onnx.ModelProto, evidence: Evidence, tmp_path: Path) -> None:
    save_graph(graph, tmp_path / "model.onnx")
    (variant,) = write_variants(graph, tmp_path, evidence, settings_with(min_agreement=0.5, max_auprc_loss=1.0))
    assert variant.ships
    assert {cell.language for cell in variant.cells} == {"en", "ur-Latn"}
    assert (tmp_path / "model.int8.onnx").is_file()


def test_layers_are_kept_until_it_passes_and_else_it_is_withheld(graph: onnx.ModelProto, evidence: Evidence, tmp_path: Path) -> None:
    """A bound nobody can meet: every candidate is tried, the note says so, and no file is left."""
    save_graph(graph, tmp_path / "model.onnx")
    (variant,) = write_variants(graph, tmp_path, evidence, settings_with(max_auprc_loss=-2))
    assert not variant.ships
    assert variant.note.count("not enough") == 5  # 4 and 8 bits, then 2, 4 and 8 of the 12 layers
    assert len(variant.kept) == 8
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_without_data_int8_is_withheld_and_says_why(run: Run, graph: onnx.ModelProto, tmp_path: Path) -> None:
    missing = find_table(run, str(tmp_path / "nowhere"))
    assert isinstance(missing, str)
    save_graph(graph, tmp_path / "model.onnx")
    fp16, int8 = write_variants(graph, tmp_path, missing, ExportSettings(run="-", release="-"))
    assert fp16.ships
    assert not int8.ships
    assert "nowhere/mine holds no prepared data: give data_dir=" in int8.note


def test_where_no_language_has_the_rows_to_judge_by_int8_is_not_even_built(
    graph: onnx.ModelProto, evidence: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.variants.to_int8", lambda *_: pytest.fail("minutes, for a large graph"))
    save_graph(graph, tmp_path / "model.onnx")
    agreement = AgreementSettings(min_rows=len(evidence.ids) + 1)
    (variant,) = write_variants(graph, tmp_path, evidence, ExportSettings(run="-", release="-", variants=["int8"], agreement=agreement))
    assert not variant.ships
    assert "no language has" in variant.note
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_data_prepared_anew_are_no_evidence(run: Run, tiny_workspace: Path) -> None:
    changed = Run(run.folder, run.model, run.tokenizer, run.policy, {**run.record})
    changed.record["data_manifest"] = {**run.record["data_manifest"], "table_sha256": "0" * 64}
    assert "prepared anew since training" in str(find_table(changed, None))


def test_an_unknown_variant_is_a_mistake(tiny_workspace: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="variants names int4"):
        export_release(tiny_export(tiny_workspace, release="x", releases_dir=str(tmp_path), variants=["int4"]))
