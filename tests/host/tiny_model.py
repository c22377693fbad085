"""A language model of 300 KB with random weights, in the format that Ollama loads (GGUF 3): it talks nonsense, but it talks.

Written by hand and not with the ``gguf`` package, which would bring numpy for one file. Format: ggml's docs/gguf.md.
"""

import random
import struct
from collections.abc import Sequence

WIDTH, FEED_FORWARD, HEADS, CONTEXT = 64, 128, 4, 2048
ALIGNMENT = 32
# Type numbers of the format; a tensor of 32-bit floats has type 0.
UINT32, INT32, FLOAT32, STRING, ARRAY = 4, 5, 6, 8, 9
# Kinds of token in llama's vocabulary.
UNKNOWN, CONTROL, BYTE = 2, 3, 6


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _value(kind: int, value: object) -> bytes:
    return _string(str(value)) if kind == STRING else struct.pack({UINT32: "<I", INT32: "<i", FLOAT32: "<f"}[kind], value)


def _entry(key: str, kind: int, value: object) -> bytes:
    return _string(key) + struct.pack("<I", kind) + _value(kind, value)


def _list_entry(key: str, kind: int, values: Sequence[object]) -> bytes:
    head = _string(key) + struct.pack("<IIQ", ARRAY, kind, len(values))
    return head + b"".join(_value(kind, value) for value in values)


def tiny_gguf() -> bytes:
    """A llama of one block, 64 wide, whose tokens are the 256 bytes; the same file every time."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{number:02X}>" for number in range(256))]
    metadata = [
        _entry("general.architecture", STRING, "llama"),
        _entry("general.name", STRING, "tiny"),
        _entry("general.file_type", UINT32, 0),
        _entry("llama.block_count", UINT32, 1),
        _entry("llama.context_length", UINT32, CONTEXT),
        _entry("llama.embedding_length", UINT32, WIDTH),
        _entry("llama.feed_forward_length", UINT32, FEED_FORWARD),
        _entry("llama.attention.head_count", UINT32, HEADS),
        _entry("llama.attention.head_count_kv", UINT32, HEADS),
        _entry("llama.attention.layer_norm_rms_epsilon", FLOAT32, 1e-5),
        _entry("llama.rope.dimension_count", UINT32, WIDTH // HEADS),
        _entry("llama.vocab_size", UINT32, len(tokens)),
        _entry("tokenizer.ggml.model", STRING, "llama"),
        _list_entry("tokenizer.ggml.tokens", STRING, tokens),
        _list_entry("tokenizer.ggml.scores", FLOAT32, [0.0] * len(tokens)),
        _list_entry("tokenizer.ggml.token_type", INT32, [UNKNOWN, CONTROL, CONTROL, *([BYTE] * 256)]),
        _entry("tokenizer.ggml.bos_token_id", UINT32, 1),
        _entry("tokenizer.ggml.eos_token_id", UINT32, 2),
        _entry("tokenizer.ggml.unknown_token_id", UINT32, 0),
    ]
    square = (WIDTH, WIDTH)
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (WIDTH, len(tokens)),
        "blk.0.attn_norm.weight": (WIDTH,),
        **{f"blk.0.attn_{part}.weight": square for part in ("q", "k", "v", "output")},
        "blk.0.ffn_norm.weight": (WIDTH,),
        "blk.0.ffn_gate.weight": (WIDTH, FEED_FORWARD),
        "blk.0.ffn_up.weight": (WIDTH, FEED_FORWARD),
        "blk.0.ffn_down.weight": (FEED_FORWARD, WIDTH),
        "output_norm.weight": (WIDTH,),
        "output.weight": (WIDTH, len(tokens)),
    }
    dice = random.Random(1)  # noqa: S311
    descriptions, data = [], b""
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        descriptions.append(_string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, len(data)))
        data += _padded(struct.pack(f"<{count}f", *(dice.gauss(0, 0.1) for _ in range(count))))
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(shapes), len(metadata)) + b"".join(metadata) + b"".join(descriptions)
    return _padded(head) + data


def _padded(content: bytes) -> bytes:
    return content + b"\0" * (-len(content) % ALIGNMENT)
