"""A tokenizer in a GGUF file, from its tokenizer.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NONE = "The file has no tokenizer, because {why}: give llama.cpp token ids, or the tokenizer that you have."
# Of tokens, as llama.cpp numbers them.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


def add_vocabulary(writer: Any, config: Mapping[str, Any], companions: Sequence[Path]) -> list[str]:
    """Add the tokenizer of an export, if it is one that llama.cpp computes; what to tell of it."""
    for key, add in (("bos", "add_bos_token_id"), ("eos", "add_eos_token_id"), ("pad", "add_pad_token_id")):
        value = config.get(f"{key}_token_id")
        value = value[0] if isinstance(value, list) and value else value
        if isinstance(value, int) and 0 <= value < config["vocab_size"]:
            getattr(writer, add)(value)
    file = next((file for file in companions if file.name == "tokenizer.json"), None)
    if file is None:
        writer.add_tokenizer_model("none")
        return [NONE.format(why="the export has none")]
    given = json.loads(file.read_text(encoding="utf-8"))
    model = given["model"]
    if model.get("type") != "BPE":
        writer.add_tokenizer_model("none")
        return [NONE.format(why=f"llama.cpp computes no {model.get('type')} tokenizer of this kind")]
    tokens, kinds = _tokens(given, config["vocab_size"], bytes_too=bool(model.get("byte_fallback")))
    if model.get("byte_fallback"):
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_scores([-float(number) for number in range(len(tokens))])
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("qwen2" if str(config["model_type"]).startswith("qwen") else _pre(len(tokens)))
        writer.add_token_merges([one if isinstance(one, str) else " ".join(one) for one in model["merges"]])
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    return []


def _pre(tokens: int) -> str:
    """How texts are cut before merging: as Llama 3 does, by the size of its vocabulary, or as GPT-2 does."""
    return "llama-bpe" if tokens == 128256 else "gpt-2"


def _tokens(given: Mapping[str, Any], count: int, *, bytes_too: bool) -> tuple[list[str], list[int]]:
    """Every id's token and kind; ids without a token are unused."""
    tokens, kinds = [f"[PAD{number}]" for number in range(count)], [UNUSED] * count
    for token, number in given["model"]["vocab"].items():
        if number < count:
            is_byte = bytes_too and len(token) == 6 and token.startswith("<0x") and token.endswith(">")
            tokens[number], kinds[number] = token, BYTE if is_byte else NORMAL
    for added in given.get("added_tokens", ()):
        if added["id"] < count:
            tokens[added["id"]] = added["content"]
            kinds[added["id"]] = CONTROL if added.get("special") else USER_DEFINED
    unknown = given["model"].get("unk_token")
    if unknown in tokens:
        kinds[tokens.index(unknown)] = UNKNOWN
    return tokens, kinds
