"""A language model as runtimes run it: with keys and values of the tokens before, padding and places as inputs.

It calls the modules of a network's own decoder layers, so it has the network's weights and no others. Attention is
written out in products and sums that every exporter knows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from supernet.blocks.decoder_layer import layer_config, model_class


class Turns(nn.Module):
    """Cosines and sines of the rotary embedding at any places, as transformers computes them.

    `dynamic` scaling grows with texts that are longer than the network takes; up to there it is the plain one.
    `longrope` has other frequencies for texts beyond the original length.
    """

    def __init__(self, config: str) -> None:
        super().__init__()
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

        with torch.device("cpu"):
            made = layer_config(config)
            rotary = model_class(made, "RotaryEmbedding")(made)
        self.scaling, self.original = float(rotary.attention_scaling), 0
        self.register_buffer("inv_freq", rotary.inv_freq.detach().clone().float())
        if rotary.rope_type == "longrope":
            self.original = int(made.rope_parameters["original_max_position_embeddings"])
            long, _ = ROPE_INIT_FUNCTIONS["longrope"](made, torch.device("cpu"), seq_len=self.original + 1)
            self.register_buffer("long_inv_freq", long.detach().clone().float())

    def forward(self, places_NT: Tensor) -> tuple[Tensor, Tensor]:
        """`cos_N1TC` and `sin_N1TC`."""
        inv_freq: Any = self.inv_freq
        if self.original:
            long: Any = self.long_inv_freq
            inv_freq = torch.where(places_NT.max() + 1 > self.original, long, inv_freq)
        angles_NTC = places_NT[..., None].float() * inv_freq
        angles_N1TC = torch.cat((angles_NTC, angles_NTC), dim=-1)[:, None]
        return angles_N1TC.cos() * self.scaling, angles_N1TC.sin() * self.scaling


def is_decoder(network: nn.Module) -> bool:
    """Whether a network is an embedding, decoder layers and a language head, and has anything to keep in a cache."""
    return any(_attends(block) for block in network.children())


def _attends(block: nn.Module) -> bool:
    """Whether a block is a decoder layer with attention."""
    return type(block).__name__ == "DecoderLayer" and bool(block.has_attention)


class CachedDecoder(nn.Module):
    """`input_ids_NT`, `attention_mask_NS` (1 where a token stands), `position_ids_NT` and the cache, to `logits_NTV`
    and the cache with these tokens.

    The cache is flat: keys and values of the first layer that has attention, of the second, and so on, each of shape
    (N, groups, tokens before, width of a head). S is the number of tokens before and T together.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        layers = [block for block in network.children() if _attends(block)]
        first: Any = layers[0]
        self.turns = Turns(first.config)
        # (groups, width of a head) of each layer's cache.
        self.caches: list[tuple[int, int]] = [_cache_shape(layer) for layer in layers]

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, *past: Tensor
    ) -> tuple[Tensor, ...]:
        turns = self.turns(position_ids)
        hidden: Any = input_ids
        present: list[Tensor] = []
        number = 0
        for block in self.network.children():
            if not _attends(block):
                hidden = block(hidden)
                continue
            hidden, keys, values = _layer(block, hidden, attention_mask, turns, past[number], past[number + 1])
            present += [keys, values]
            number += 2
        return (hidden, *present)

    def empty_cache(self, batch: int) -> list[Tensor]:
        """The cache before the first token."""
        return [torch.zeros(batch, groups, 0, width) for groups, width in self.caches for _ in range(2)]


def _cache_shape(block: Any) -> tuple[int, int]:
    attention = block.layer.self_attn
    width = int(attention.head_dim)
    return attention.k_proj.out_features // width, width


def _layer(
    block: Any, hidden: Tensor, attention_mask: Tensor, turns: tuple[Tensor, Tensor], past_keys: Tensor, past: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One decoder layer; its output, and keys and values of all tokens so far."""
    layer, attention = block.layer, block.layer.self_attn
    width = int(attention.head_dim)
    given = layer.input_layernorm(hidden)
    query, keys, values = (
        linear(given).unflatten(-1, (-1, width)) for linear in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    if hasattr(attention, "q_norm"):
        query, keys = attention.q_norm(query), attention.k_norm(keys)
    query, keys, values = (each.transpose(1, 2) for each in (query, keys, values))
    query, keys = _turned(query, turns), _turned(keys, turns)
    keys, values = torch.cat((past_keys, keys), dim=2), torch.cat((past, values), dim=2)
    shared = query.shape[1] // keys.shape[1]
    scores = query @ _repeated(keys, shared).transpose(2, 3) * width**-0.5
    scores = scores + _unseen(attention_mask, query.shape[2], keys.shape[2], block.window)
    out = scores.softmax(-1) @ _repeated(values, shared)
    hidden = hidden + attention.o_proj(out.transpose(1, 2).flatten(2))
    if not block.has_ffn:
        return hidden, keys, values
    return hidden + layer.mlp(layer.post_attention_layernorm(hidden)), keys, values


def _turned(x_NHTC: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    first, second = x_NHTC.chunk(2, dim=-1)
    return x_NHTC * turns[0] + torch.cat((-second, first), dim=-1) * turns[1]


def _repeated(x_NHSC: Tensor, times: int) -> Tensor:
    """Every group once for each of its query heads."""
    return x_NHSC if times == 1 else x_NHSC.repeat_interleave(times, dim=1)


def _unseen(attention_mask_NS: Tensor, tokens: int, seen: int, window: int) -> Tensor:
    """What is added to scores: 0 where a query sees a key, the lowest number where it does not."""
    keys_S = torch.arange(seen, device=attention_mask_NS.device)
    queries_T1 = (torch.arange(tokens, device=attention_mask_NS.device) + (seen - tokens))[:, None]
    sees_TS = keys_S <= queries_T1
    if window:
        sees_TS = sees_TS & (keys_S > queries_T1 - window)
    sees_N1TS = sees_TS[None, None] & (attention_mask_NS[:, None, None, :] > 0)
    return torch.where(sees_N1TS, 0.0, torch.finfo(torch.float32).min)
