"""config.json of BEiT-3's image-text weights (arXiv 2208.10442), in words of the families `two_tower` and `multiway`.

The released files have no configuration: {"architecture": "beit3_base_patch16_384_coco_retrieval"} beside them is one.
Every layer is there twice, `A` for images and `B` for texts. Which form it is, the tensors of its head say: two vectors
that are compared (`two_tower`), or answers to questions, for which image and text are one sequence (`multiway`). Sizes
are those of the tensors; how many heads there are no tensor says, so that follows from the name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt
from typing import Any, Protocol

from search_space.config_reader import CheckpointError
from search_space.timm_configs import SIZES

RETRIEVAL, RETRIEVAL_TASK = "beit3_retrieval", "Beit3ForRetrieval"
VQA, VQA_TASK = "beit3_vqa", "Beit3ForVisualQuestionAnswering"
# The released files of these forms: after the contrastive training, tuned for retrieval, and tuned for VQAv2.
RELEASED = re.compile(
    r"beit3_(base|large)(_itc)?(?:_indomain)?_patch(\d+)_(\d+)((?:_coco|_f30k)?_retrieval|_vqa(?:v2)?)?"
)
PREFIX = "beit3."
LAYER = re.compile(r"beit3\.encoder\.layers\.(\d+)\..*\.([AB])\.")
# The halves, and tensors that say what is in a file.
HALVES = {"A": "image", "B": "text"}
HEADS = ("vision_head.weight", "language_head.weight", "logit_scale")
ANSWERS, ANSWER = "pooler.", "head.3.weight"
# A name of a file of each form.
EXAMPLES = {RETRIEVAL: "beit3_base_patch16_384_coco_retrieval", VQA: "beit3_base_patch16_480_vqa"}
# Beginnings of the heads of other tasks, and what those do.
OTHER_TASKS = {
    "head.dense1.": "judges two images and a sentence (NLVR2)",
    "mlm_head.": "writes captions or fills in words",
    "fc_norm.": "classifies images",
}
# Rows of positions that nothing uses: fairseq's positions begin behind them.
UNUSED = 2
ARGUMENTS = ("num_heads", "img_size")


class Shaped(Protocol):
    """What is read of a tensor."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""


def of_beit3(config: Mapping[str, Any], tensors: Mapping[str, Shaped]) -> dict[str, Any]:
    """What a configuration and the tensors beside it say in the words of a family; nothing of any other weights.

    Raises:
        CheckpointError: weights of another form, a half that is missing, sizes that contradict one another or the name.
    """
    if "model_type" in config:
        return {}
    name = _name(config)
    multiway = any(LAYER.match(tensor) for tensor in tensors)
    if not multiway and not _is_released(name):
        return {}
    if not multiway:
        raise CheckpointError(
            f"config.json has architecture {name!r}, whose layers are tensors such as "
            "'beit3.encoder.layers.0.self_attn.q_proj.A.weight'; the folder has none. Save what the released file "
            "holds under 'model', with its own names."
        )
    form = _form(tensors)
    if not _is_released(name):
        said = f"architecture {name!r}" if name else "no architecture"
        raise CheckpointError(
            f"The folder holds BEiT-3's image-text weights, and config.json has {said}, which does not say how many "
            f'heads they have and how their images are prepared. Write {{"architecture": "{EXAMPLES[form]}"}}, or the '
            "name of the file that you have."
        )
    read = _Read(name, _arguments(config), tensors)
    return read.two_towers() if form == RETRIEVAL else read.one_sequence(config)


def processor_of_beit3(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """How the released code prepares images: both sides resized, pixels from -1 to 1; None of other configurations."""
    name = _name(config)
    if "model_type" in config or not _is_released(name):
        return None
    side = _arguments(config).get("img_size", _parts(name)[1])
    return {
        "image_processor_type": "beit3",
        "do_resize": True,
        "size": {"height": side, "width": side},
        "resample": 3,
        "do_center_crop": False,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }


def _name(config: Mapping[str, Any]) -> str:
    return str(config.get("architecture") or "")


def _is_released(name: str) -> bool:
    found = RELEASED.fullmatch(name)
    return found is not None and (found.group(2) or found.group(5)) is not None


def _parts(name: str) -> tuple[str, int]:
    """Size and image side of a released name."""
    found = RELEASED.fullmatch(name)
    assert found is not None
    return found.group(1), int(found.group(4))


def _arguments(config: Mapping[str, Any]) -> dict[str, int]:
    given = config.get("model_args") or {}
    if not isinstance(given, Mapping):
        raise CheckpointError(f"config.json must give 'model_args' as a mapping; got {type(given).__name__}.")
    for key, value in given.items():
        if key not in ARGUMENTS:
            raise CheckpointError(
                f"config.json has model_args {key!r}, which is not read: the tensors give the sizes, and "
                f"{' and '.join(ARGUMENTS)} what they do not."
            )
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise CheckpointError(f"config.json must give {key!r} as a whole number of at least 1; got {value!r}.")
    return dict(given)


def _form(tensors: Mapping[str, Shaped]) -> str:
    """The model type.

    Raises:
        CheckpointError: weights that neither have a vector of the image and one of the text nor classify both.
    """
    lacking = [name for name in HEADS if name not in tensors]
    if not lacking:
        return RETRIEVAL
    if len(lacking) == len(HEADS) and any(name.startswith(ANSWERS) for name in tensors):
        return VQA
    does = next((word for start, word in OTHER_TASKS.items() if any(name.startswith(start) for name in tensors)), None)
    if does == OTHER_TASKS["fc_norm."]:
        raise CheckpointError(
            "These weights of BEiT-3 classify images; take timm's safetensors of them, such as those of "
            "beit3_base_patch16_224.in22k_ft_in1k."
        )
    if len(lacking) == len(HEADS):
        this = f"This BEiT-3 {does}" if does else "This BEiT-3 was pretrained and not tuned for retrieval: it"
        raise CheckpointError(
            f"{this}{'' if does is None else ', for which it'} reads image and text as one sequence and has no vector "
            f"of either (no {' and no '.join(HEADS[:2])}). Weights of that form are supported if they "
            f"answer questions, such as {EXAMPLES[VQA]}; weights of the contrastive form are too, such as "
            "beit3_base_itc_patch16_224."
        )
    raise CheckpointError(f"The folder lacks {lacking[0]!r}, which weights of BEiT-3 for retrieval have.")


class _Read:
    """Reads sizes off the tensors."""

    def __init__(self, name: str, arguments: Mapping[str, int], tensors: Mapping[str, Shaped]) -> None:
        self.name, self.tensors, self.arguments = name, tensors, arguments
        self.size, self.side = _parts(name)
        self.side = arguments.get("img_size", self.side)

    def two_towers(self) -> dict[str, Any]:
        """The whole network's, of the form that compares two vectors."""
        seen, read = self.image(), self.text()
        (width, _), (other, _) = (self.of(name, 2) for name in HEADS[:2])
        if width != other:
            raise CheckpointError(
                f"vision_head makes vectors of {width} numbers and language_head of {other}: they cannot be compared."
            )
        return {
            "model_type": RETRIEVAL,
            "architectures": [RETRIEVAL_TASK],
            "projection_dim": width,
            "vision_config": seen,
            "text_config": read,
        }

    def one_sequence(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """The whole network's, of the form that answers questions.

        Args:
            said: config.json.
        """
        seen, read = self.image(), self.text()
        for key, what in (("hidden_size", "width"), ("num_hidden_layers", "number of layers")):
            if seen[key] != read[key]:
                raise CheckpointError(
                    f"The image half has a {what} of {seen[key]} and the text half of {read[key]}: in one sequence "
                    "both have the same."
                )
        classes, _ = self.of(ANSWER, 2)
        names = said.get("id2label")
        if isinstance(names, Mapping) and len(names) != classes:
            raise CheckpointError(
                f"config.json names {len(names)} classes in 'id2label', and {ANSWER} has {classes}. Name every answer "
                "in the order of the outputs, or leave 'id2label' out."
            )
        ffns = {
            "image_intermediate_size": seen.pop("intermediate_size"),
            "text_intermediate_size": read.pop("intermediate_size"),
        }
        return {"model_type": VQA, "architectures": [VQA_TASK], "num_labels": classes, **read, **seen, **ffns}

    def image(self) -> dict[str, int]:
        """The image half's sizes."""
        embed, channels, patch, _ = self.of("beit3.vision_embed.proj.weight", 4)
        places, half = self.places("A"), self.half("A", embed)
        side = patch * isqrt(max(0, places - 1))
        if side < patch or (side // patch) ** 2 + 1 != places or side != self.side:
            raise CheckpointError(
                f"config.json says images of {self.side} pixels a side (architecture {self.name!r}), and the weights "
                f"have positions for {places - 1} patches of {patch}. Name the file that they are of, or give the "
                'side as "model_args": {"img_size": ...}; positions are not resized.'
            )
        return {**half, "num_channels": channels, "patch_size": patch, "image_size": side}

    def text(self) -> dict[str, int]:
        """The text half's sizes."""
        vocab, embed = self.of("beit3.text_embed.weight", 2)
        return {"vocab_size": vocab, "max_position_embeddings": self.places("B"), **self.half("B", embed)}

    def places(self, half: str) -> int:
        """Positions that are used."""
        return self.of(f"beit3.encoder.embed_positions.{half}.weight", 2)[0] - UNUSED

    def of(self, name: str, axes: int) -> tuple[int, ...]:
        """A tensor's shape."""
        if name not in self.tensors:
            raise CheckpointError(f"The folder lacks {name!r}, which BEiT-3's image-text weights have.")
        shape = self.tensors[name].shape
        if len(shape) != axes:
            raise CheckpointError(f"Tensor {name!r} has shape {shape}; BEiT-3's has {axes} axes.")
        return shape

    def half(self, half: str, embed: int) -> dict[str, int]:
        """Sizes of one half's layers."""
        numbers = {int(found.group(1)) for name in self.tensors if (found := LAYER.match(name)) and found[2] == half}
        if not numbers:
            raise CheckpointError(
                f"The folder lacks BEiT-3's {HALVES[half]} half: no layer has tensors whose names contain '.{half}.'."
            )
        heads = self.arguments.get("num_heads")
        if heads is None:
            known, _, heads = SIZES[self.size]
            if embed != known:
                raise CheckpointError(
                    f"config.json has architecture {self.name!r}, whose width is {known}, and the {HALVES[half]} half "
                    f'has {embed}. Name the file that the weights are of, or give "model_args": {{"num_heads": ...}}.'
                )
        return {
            "hidden_size": embed,
            "num_hidden_layers": max(numbers) + 1,
            "num_attention_heads": heads,
            "intermediate_size": self.of(f"beit3.encoder.layers.0.ffn.{half}.fc1.weight", 2)[0],
        }
