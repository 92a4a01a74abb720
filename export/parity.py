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
    """Largest absolute differences over all shapes, and how many decisions at the global thresholds differ."""

    rows: int
    max_logit_difference: float
    max_embedding_difference: float
    decision_flips: int


@torch.inference_mode()
def measure_parity(model: MultiHeadClassifier, policy: Policy, onnx_path: Path, max_length: int) -> Parity:
    """Run both on random ids of several batch and length shapes, with padding of random length."""
    session = open_session(onnx_path)
    rng = np.random.default_rng(0)
    heads = list(model.config.heads)
    logit_difference = embedding_difference = 0.0
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
        logits, embedding = session.run(["logits", "sentence_embedding"], {"input_ids": ids, "attention_mask": mask})
        reference = ours.logits.numpy()
        logit_difference = max(logit_difference, float(np.abs(reference - logits).max()))
        embedding_difference = max(embedding_difference, float(np.abs(ours.sentence_embedding.numpy() - embedding).max()))
        for column, head in enumerate(heads):
            decide = policy.heads[head]
            before = decide.probability(reference[:, column]) >= decide.threshold
            after = decide.probability(logits[:, column]) >= decide.threshold
            flips += int((before != after).sum())
        rows += batch
    return Parity(rows, logit_difference, embedding_difference, flips)


def check_parity(parity: Parity, max_difference: float) -> None:
    """Refuse a graph that differs from its checkpoint.

    Raises
    ------
    UserError
        If an output differs by more than `max_difference` or a decision flips.
    """
    worst = max(parity.max_logit_difference, parity.max_embedding_difference)
    if not worst <= max_difference or parity.decision_flips:
        raise UserError(
            f"the ONNX graph differs from the checkpoint by {worst:.1e} (allowed {max_difference:.0e}) and flips "
            f"{parity.decision_flips} decisions, so it was not published: export with the pinned versions of requirements.lock"
        )


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """An onnxruntime session on the processor (or CUDA where this onnxruntime has it)."""
    available = onnxruntime.get_available_providers()
    providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]
    return onnxruntime.InferenceSession(str(path), providers=providers)
