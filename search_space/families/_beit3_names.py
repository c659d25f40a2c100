"""What BEiT-3's released files call the tensors of their halves, `A` for images and `B` for texts."""

from __future__ import annotations

from search_space.beit3_configs import UNUSED
from search_space.checkpoint import Piece, Place
from search_space.families._names import Shapes, Table, places, prefixed

PATCHES: Table = {
    "beit3.vision_embed.proj": ("patches",),
    "beit3.vision_embed.cls_token": ("class_token",),
    "beit3.encoder.embed_positions.A.weight": ("positions",),
}
WORDS: Table = {"beit3.text_embed": ("tokens",), "beit3.encoder.embed_positions.B": ("positions",)}
# What nothing reads where it is not pretrained.
DROPPABLE = ("beit3.vision_embed.mask_token",)
_ATTENTION: Table = {
    "self_attn_layer_norm": ("attention_norm",),
    "self_attn.q_proj": ("query",),
    "self_attn.k_proj": ("key",),
    "self_attn.v_proj": ("value",),
    "self_attn.inner_attn_ln": ("attention_inner_norm",),
    "self_attn.out_proj": ("output",),
    "final_layer_norm": ("ffn_norm",),
}
_FED: Table = {"fc1": ("ffn_in",), "ffn_layernorm": ("ffn_inner_norm",), "fc2": ("ffn_out",)}


def layer_of(half: str) -> Table:
    """Names of one half of a layer, with `{i}` for its number from 0."""
    named = {f"{name}.{half}": own for name, own in _ATTENTION.items()}
    return prefixed("beit3.encoder.layers.{i}.", {**named, **prefixed(f"ffn.{half}.", _FED)})


def first_places(slot: str, shapes: Shapes, table: Table) -> dict[str, Place]:
    """Places of an embedding, whose stored positions begin with rows that nothing uses."""
    return {disk: _behind(place) for disk, place in places(slot, shapes, table).items()}


def _behind(place: Place) -> Place:
    if not place.parameter.startswith("positions"):
        return place
    rows, *rest = place.shape
    piece = Piece(place.slot, place.parameter, cuts=((0, UNUSED, rows),))
    return Place("", "", (rows + UNUSED, *rest), split=(piece,))
