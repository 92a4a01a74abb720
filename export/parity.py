"""Does the ONNX graph say what the checkpoint says? Measured at several shapes, not only the traced one."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from data_prep.command import UserError
from train.encoder import BOS, EOS, PAD
from train.model import MultiHeadClassifier
from train.policy import Policy

SHAPES = ((1, 2), (1, 7), (3, 16), (5, 33), (2, 64), (8, 48))


@dataclass(frozen=True)
class Parity:
    """Largest absolute differences over all shapes, and how many decisions at the global thresholds differ.

    Probabilities are compared with the policy's, under the heads' own calibrations.
    """

    rows: int
    max_logit_difference: float
    max_probability_difference: float
    max_embedding_difference: float
    decision_flips: int


@torch.inference_mode()
def measure_parity(model: MultiHeadClassifier, policy: Policy, onnx_path: Path, max_length: int) -> Parity:
    """Run both on random ids of several batch and length shapes, with padding of random length."""
    session = open_session(onnx_path)
    rng = np.random.default_rng(0)
    heads = list(model.config.heads)
    logit_difference = probability_difference = embedding_difference = 0.0
    flips = rows = 0
    for batch, length in (*SHAPES, (2, max_length)):
        ids = rng.integers(EOS + 2, model.config.vocab_size, (batch, length))
        lengths = rng.integers(2, length + 1, batch)
        lengths[0] = length
        mask = (np.arange(length) < lengths[:, None]).astype(np.int64)
        ids[:, 0] = BOS
        ids[np.arange(batch), lengths - 1] = EOS
        ids = np.where(mask == 1, ids, PAD)
        ours = model(torch.from_numpy(ids), torch.from_numpy(mask))
        outputs = ["logits", "probabilities", "sentence_embedding"]
        logits, probabilities, embedding = session.run(outputs, {"input_ids": ids, "attention_mask": mask})
        reference = ours.logits.numpy()
        # numpy's maximum: Python's would take the number where the graph gives none
        logit_difference = float(np.maximum(logit_difference, np.abs(reference - logits).max()))
        embedding_difference = float(np.maximum(embedding_difference, np.abs(ours.sentence_embedding.numpy() - embedding).max()))
        for column, head in enumerate(heads):
            decide = policy.heads[head]
            calibrated = decide.probability(reference[:, column])
            probability_difference = float(np.maximum(probability_difference, np.abs(calibrated - probabilities[:, column]).max()))
            before = calibrated >= decide.threshold
            after = decide.probability(logits[:, column]) >= decide.threshold
            flips += int((before != after).sum())
        rows += batch
    return Parity(rows, logit_difference, probability_difference, embedding_difference, flips)


def check_parity(parity: Parity, max_difference: float) -> None:
    """Refuse a graph that differs from its checkpoint.

    Raises
    ------
    UserError
        If an output differs by more than `max_difference` or a decision flips.
    """
    worst = float(np.max([parity.max_logit_difference, parity.max_probability_difference, parity.max_embedding_difference]))
    if not worst <= max_difference or parity.decision_flips:
        raise UserError(
            f"the ONNX graph differs from the checkpoint by {worst:.1e} (allowed {max_difference:.0e}) and flips "
            f"{parity.decision_flips} decisions, so it was not published: export with the pinned versions of requirements.lock"
        )


def check_finite(path: Path, max_length: int) -> None:
    """Refuse a graph that gives anything but numbers for rows that are padding only.

    Raises
    ------
    UserError
        If an output is infinite or not a number.
    """
    session = open_session(path)
    for batch, length in ((1, 2), (4, max_length)):
        ids = np.full((batch, length), PAD, dtype=np.int64)
        outputs = session.run(None, {"input_ids": ids, "attention_mask": np.zeros_like(ids)})
        if not all(np.isfinite(output).all() for output in outputs):
            raise UserError(f"{path.name} gives no number for a row of padding: export with the pinned versions of requirements.lock")


def open_session(path: Path, threads: int = 0) -> onnxruntime.InferenceSession:
    """An onnxruntime session on the processor (or CUDA where this onnxruntime has it); 0 threads are as many as there are cores."""
    available = onnxruntime.get_available_providers()
    cuda = ("CUDAExecutionProvider", {"use_tf32": 0})  # whose 10 bits of 23 are no float32
    providers = [cuda, "CPUExecutionProvider"] if cuda[0] in available else ["CPUExecutionProvider"]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=providers)
