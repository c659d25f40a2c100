"""What a sentence-transformers folder says beside its encoder: how a text becomes one vector, read without torch.

Its modules are in `modules.json`, the pooling in a folder that this names, such as `1_Pooling`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_space.config_reader import CheckpointError

MODULES = "modules.json"
# The key under which a checkpoint's configuration keeps what is read here.
POOLING = "winnow_sentence_pooling"
# sentence-transformers' switches -> ways of pooling.
MODES = {
    "pooling_mode_cls_token": "first",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
}
# The same as newer files write them, as one word.
WORDS = {"cls": "first", "mean": "mean", "max": "max", "lasttoken": "last"}


@dataclass(frozen=True, slots=True)
class Pooling:
    """How a text's tokens become one vector.

    Attributes:
        mode: `first` token, `mean` or `max` over the tokens, or `last` token.
        unit: whether the vector is divided by its length.
    """

    mode: str
    unit: bool

    @classmethod
    def read(cls, given: Any) -> Pooling | None:
        """From what `sentence_pooling` put into a configuration; None: nothing.

        Raises:
            CheckpointError: it is none.
        """
        if given is None:
            return None
        mode = given.get("mode") if isinstance(given, Mapping) else None
        if mode not in MODES.values():
            raise CheckpointError(f"{POOLING} must name a mode of {', '.join(MODES.values())}; got {given!r}.")
        return cls(str(mode), bool(given.get("unit")))


def sentence_pooling(folder: Path) -> dict[str, Any] | None:
    """What a folder's modules do to the encoder's output; None where it is not one of sentence-transformers.

    Raises:
        CheckpointError: a file is damaged or missing, or a module is not supported.
    """
    if not (folder / MODULES).is_file():
        return None
    modules = _json(folder / MODULES)
    if not isinstance(modules, list) or not all(isinstance(each, Mapping) for each in modules):
        raise CheckpointError(f"{folder / MODULES} must list modules; save the model again.")
    kinds = [str(each.get("type", "")).rpartition(".")[2] for each in modules]
    strange = [kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize")]
    if strange or kinds[:2] != ["Transformer", "Pooling"]:
        raise CheckpointError(
            f"{folder / MODULES} has the modules {', '.join(kinds)}; supported are Transformer, Pooling and perhaps "
            f"Normalize{f', and {strange[0]} is none of these' if strange else ''}."
        )
    pooling = _json(folder / str(modules[1].get("path", "")) / "config.json")
    word = pooling.get("pooling_mode") if isinstance(pooling, Mapping) else None
    chosen = [WORDS[word]] if word in WORDS else []
    if not chosen and isinstance(pooling, Mapping):
        chosen = [mode for key, mode in MODES.items() if pooling.get(key)]
        unknown = [key for key, on in pooling.items() if key.startswith("pooling_mode") and on and key not in MODES]
        if unknown:
            raise CheckpointError(f"{folder} pools by {unknown[0]}, which is not supported.")
    if len(chosen) != 1:
        raise CheckpointError(f"{folder} pools in {len(chosen)} ways ({', '.join(chosen)}); one is supported.")
    return {"mode": chosen[0], "unit": "Normalize" in kinds}


def sentence_files(pooling: Pooling, embed: int, length: int) -> dict[str, Any]:
    """Path in a folder -> JSON, of what sentence-transformers reads beside the encoder.

    Args:
        embed: numbers in a vector.
        length: tokens of the longest text.
    """
    kinds = ["Transformer", "Pooling", *(["Normalize"] if pooling.unit else [])]
    modules = [
        {
            "idx": number,
            "name": str(number),
            "path": f"{number}_{kind}" if number else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for number, kind in enumerate(kinds)
    ]
    modes = {key: mode == pooling.mode for key, mode in MODES.items()}
    return {
        MODULES: modules,
        "1_Pooling/config.json": {"word_embedding_dimension": embed, **modes},
        "sentence_bert_config.json": {"max_seq_length": length, "do_lower_case": False},
    }


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path} is not readable JSON: {error}.") from None
