"""A layer of the transformers that people bring: what differs from type to type are facts in its form."""

import importlib
import json
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CONFIG_MAPPING
from transformers.activations import ACT2FN


class RootMeanSquare(nn.Module):
    """Root-mean-square normalisation, computed in 32 bits; `plus_one`: its weight counts from 1 (Gemma)."""

    def __init__(self, features: int, eps: float, plus_one: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(features) if plus_one else torch.ones(features))
        self.eps, self.plus_one = eps, plus_one

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        if self.plus_one:
            return (wide * (1.0 + self.weight.float())).type_as(x)
        return self.weight * wide.to(x.dtype)


def norm_of(kind: str, features: int, eps: float) -> nn.Module:
    """The normalisation of that name."""
    if kind in ("layer", "unbiased"):
        return nn.LayerNorm(features, eps, bias=kind == "layer")
    return RootMeanSquare(features, eps, kind == "rms_plus_one")


@lru_cache(maxsize=64)
def turns_of(rotary: str, length: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions as transformers computes them, each of shape (length, turned numbers)."""
    facts = json.loads(rotary)
    kind = facts.pop("layer_type", None)
    with torch.inference_mode(False), torch.no_grad(), torch.device("cpu"):
        config = CONFIG_MAPPING[facts["model_type"]].from_dict(facts)
        module: Any = importlib.import_module(type(config).__module__.replace(".configuration_", ".modeling_"))
        stem = type(config).__name__.removesuffix("Config").removesuffix("Text")
        made = getattr(module, f"{stem}RotaryEmbedding")(config)
        place_1T = torch.arange(length)[None]
        given = (torch.zeros(1, dtype=dtype), place_1T)
        cos, sin = made(*given) if kind is None else made(*given, kind)
    return cos[0].to(device, dtype), sin[0].to(device, dtype)


def turned(x_NHTC: Tensor, cos_TR: Tensor, sin_TR: Tensor) -> Tensor:
    """The first numbers of each head turned in pairs, the others as they are."""
    width = cos_TR.shape[-1]
    turn, rest = x_NHTC[..., :width], x_NHTC[..., width:]
    first, second = turn[..., : width // 2], turn[..., width // 2 :]
    turn = turn * cos_TR + torch.cat((-second, first), dim=-1) * sin_TR
    return torch.cat((turn, rest), dim=-1) if rest.shape[-1] else turn


def fed(network: Any, hidden: Tensor, gated: bool) -> Tensor:
    """What the modules of a feed-forward network make of its input."""
    inner = network.ffn_in(hidden)
    inner = network.activation(network.ffn_gate(hidden)) * inner if gated else network.activation(inner)
    normed = getattr(network, "ffn_inner_norm", None)
    inner = inner if normed is None else normed(inner)
    out: Tensor = network.ffn_out(inner)
    return out


class FeedForward(nn.Module):
    """`ffn_out(act(ffn_in))`, or with a gate `ffn_out(act(ffn_gate) * ffn_in)`."""

    def __init__(self, embed: int, ffn: int, gated: bool, bias: bool, activation: str) -> None:
        super().__init__()
        if gated:
            self.ffn_gate = nn.Linear(embed, ffn, bias)
        self.ffn_in = nn.Linear(embed, ffn, bias)
        self.ffn_out = nn.Linear(ffn, embed, bias)
        self.activation, self.gated = ACT2FN[activation], gated

    def forward(self, hidden: Tensor) -> Tensor:
        return fed(self, hidden, self.gated)


class TransformerLayer(nn.Module):
    """`hidden_NTD` to `hidden_NTD`. `mask_NT`, for layers that see both sides, is False where a position is padding."""

    def __init__(
        self,
        form: str,
        embed: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        ffn: int,
        tokens: int,
        window: int = 0,
        experts: int = 0,
        top_k: int = 0,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        f = self.f = SimpleNamespace(**json.loads(form))
        self.heads, self.kv_heads, self.window, self.top_k = heads, kv_heads, window, top_k
        self.takes_mask = not f.causal
        # Whether every expert sees every position: for whoever wants to know each one's activations.
        self.everywhere = False
        before, after = f.placing != "after", f.placing in ("after", "around")
        query, key = heads * head_dim, kv_heads * head_dim
        self.attention_norm = norm_of(f.norm, embed, f.eps) if before and f.first_norm else None
        self.query = nn.Linear(embed, query, f.qkv_bias)
        self.key = nn.Linear(embed, key, f.key_bias)
        self.value = nn.Linear(embed, key, f.qkv_bias)
        self.whole = f.qk_norm == "all"
        self.query_norm = norm_of(f.norm, query if self.whole else head_dim, f.eps) if f.qk_norm else None
        self.key_norm = norm_of(f.norm, key if self.whole else head_dim, f.eps) if f.qk_norm else None
        # Parameters that no weight decay pulls at (see `supernet.optimizers.undecayed`).
        self.undecayed = ("bias_table",) if f.grid else ()
        self.bias_table = nn.Parameter(torch.zeros((2 * f.grid - 1) ** 2 + 3, heads)) if f.grid else None
        inner = getattr(f, "inner_norms", False)
        self.attention_inner_norm = norm_of(f.norm, query, f.eps) if inner else None
        self.ffn_inner_norm = norm_of(f.norm, ffn, f.eps) if inner else None
        self.output = nn.Linear(query, embed, f.output_bias)
        self.attention_out_norm = norm_of(f.norm, embed, f.eps) if after else None
        self.ffn_norm = norm_of(f.norm, embed, f.eps) if before else None
        shape = (embed, ffn, f.gated, f.ffn_bias, f.activation)
        self.experts = nn.ModuleList(FeedForward(*shape) for _ in range(experts)) if experts else None
        self.router = nn.Linear(embed, experts, bias=False) if experts else None
        if not experts:
            # Its modules are the layer's own, so that parts and parameters have plain names.
            for name, module in FeedForward(*shape).named_children():
                setattr(self, name, module)
        self.ffn_out_norm = norm_of(f.norm, embed, f.eps) if after else None
        self.attention_scale = nn.Parameter(torch.ones(embed)) if f.layer_scale else None
        self.ffn_scale = nn.Parameter(torch.ones(embed)) if f.layer_scale else None
        self.dropout, self.attention_dropout = nn.Dropout(dropout), attention_dropout
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.part_modules = {
            f"expert{e}_{part}": f"experts.{e}.ffn_{part}" for e in range(experts) for part in ("gate", "in", "out")
        }
        self.axes = self._axes(experts)

    def _axes(self, experts: int) -> tuple[Any, ...]:
        """Axes that may be permuted without changing what the layer computes (`supernet.importance`)."""
        rows = [f"{name}.{part}" for name in ("query", "key", "value") for part in ("weight", "bias")]
        rows += [f"{name}_norm.{part}" for name in ("query", "key") for part in ("weight", "bias")] * self.whole
        rows += [f"attention_inner_norm.{part}" for part in ("weight", "bias")]
        members = (*((name, 0) for name in rows), ("output.weight", 1), ("bias_table", 1))
        found: list[Any] = [("kv_heads", "output", members)]
        for prefix in [f"experts.{e}." for e in range(experts)] or [""]:
            rows = [f"{prefix}{name}.{part}" for name in ("ffn_gate", "ffn_in") for part in ("weight", "bias")]
            rows += [f"ffn_inner_norm.{part}" for part in ("weight", "bias")]
            out = f"{prefix}ffn_out"
            found.append(("ffn", out, (*((name, 0) for name in rows), (f"{out}.weight", 1))))
        return tuple(found)

    def forward(self, hidden_NTD: Tensor, mask_NT: Tensor | None = None) -> Tensor:
        return self._both(hidden_NTD, self._half(hidden_NTD, "attention", mask_NT))

    def _both(self, hidden_NTD: Tensor, attended_NTD: Tensor) -> Tensor:
        """Add what attention gave, then what the feed-forward network makes of the sum, or of the input itself."""
        if self.f.placing == "parallel":
            return hidden_NTD + attended_NTD + self._half(hidden_NTD, "ffn", None)
        hidden_NTD = hidden_NTD + attended_NTD
        return hidden_NTD + self._half(hidden_NTD, "ffn", None)

    def step(self, hidden_NTD: Tensor, start: int, room: Any, place: int) -> Tensor:
        """The same for positions from `start` on, with keys and values of those before them in `room`.

        Args:
            room: whose `update` takes new keys and values of layer `place`, and gives all up to their end.
        """
        return self._both(hidden_NTD, self._half(hidden_NTD, "attention", None, (start, room, place)))

    def _half(self, hidden_NTD: Tensor, name: str, mask_NT: Tensor | None, earlier: Any = None) -> Tensor:
        """What one half adds; `earlier`: see `step`."""
        before, after, scale = (getattr(self, name + part) for part in ("_norm", "_out_norm", "_scale"))
        if before is not None:
            hidden_NTD = before(hidden_NTD)
        attends = name == "attention"
        hidden_NTD = self._attend(hidden_NTD, mask_NT, earlier) if attends else self._feed(hidden_NTD)
        if after is not None:
            hidden_NTD = after(hidden_NTD)
        hidden_NTD = self.dropout(hidden_NTD)
        if scale is not None:
            hidden_NTD = scale * hidden_NTD
        return hidden_NTD if self.f.residual == 1 else hidden_NTD * self.f.residual

    # --- attention ------------------------------------------------------------------------------

    def _attend(self, hidden_NTD: Tensor, mask_NT: Tensor | None, earlier: Any) -> Tensor:
        start, room, place = earlier or (0, None, 0)
        q_NHTC, k_NHTC, v_NHTC = self.projected(hidden_NTD, start)
        if room is not None:
            k_NHTC, v_NHTC = room.update(k_NHTC, v_NHTC, place)
        seen = self.seen(start, start + hidden_NTD.shape[1], hidden_NTD.device)
        if mask_NT is not None:
            seen = mask_NT[:, None, None, :] if seen is None else seen & mask_NT[:, None, None, :]
        return self.attended(q_NHTC, k_NHTC, v_NHTC, seen)

    def projected(self, hidden_NTD: Tensor, start: int) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of positions from `start` on, normalised and turned."""
        q_NTD, k_NTD, v_NTD = self.query(hidden_NTD), self.key(hidden_NTD), self.value(hidden_NTD)
        if self.query_norm is not None and self.key_norm is not None and self.whole:
            q_NTD, k_NTD = self.query_norm(q_NTD), self.key_norm(k_NTD)
        q_NHTC = q_NTD.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k_NHTC = k_NTD.unflatten(-1, (self.kv_heads, -1)).transpose(1, 2)
        v_NHTC = v_NTD.unflatten(-1, (self.kv_heads, -1)).transpose(1, 2)
        if self.query_norm is not None and self.key_norm is not None and not self.whole:
            q_NHTC, k_NHTC = self.query_norm(q_NHTC), self.key_norm(k_NHTC)
        if self.f.rotary:
            end = start + hidden_NTD.shape[1]
            cos, sin = turns_of(self.f.rotary, end, hidden_NTD.device, q_NHTC.dtype)
            q_NHTC, k_NHTC = (turned(x, cos[start:], sin[start:]) for x in (q_NHTC, k_NHTC))
        return q_NHTC, k_NHTC, v_NHTC

    def seen(self, start: int, end: int, device: torch.device) -> Tensor | None:
        """Which of `end` positions those from `start` on see; None: all of them, or by causality alone all before."""
        causal, window = self.f.causal, self.window
        # torch's own causal attention needs no mask; caps, keys of earlier passes and ONNX's exporter do.
        spelled = causal and end - start > 1 and (self.f.softcap or start or torch.onnx.is_in_onnx_export())
        if not (window and end > window) and not spelled:
            return None
        back_TT = torch.arange(start, end, device=device)[:, None] - torch.arange(end, device=device)[None, :]
        if not causal:
            return (back_TT.abs() <= window)[None, None]
        return ((back_TT >= 0) & (back_TT < window) if window else back_TT >= 0)[None, None]

    def attended(self, q_NHTC: Tensor, k_NHTC: Tensor, v_NHTC: Tensor, seen: Tensor | None) -> Tensor:
        """The output of attention, of shape (N, T, D)."""
        f, groups = self.f, self.heads // self.kv_heads
        if groups > 1:
            # As transformers repeats them: each group's queries lie together.
            k_NHTC, v_NHTC = (x[:, :, None].expand(-1, -1, groups, -1, -1).flatten(1, 2) for x in (k_NHTC, v_NHTC))
        dropout = self.attention_dropout if self.training else 0.0
        if f.softcap:
            scores = f.softcap * torch.tanh(q_NHTC @ k_NHTC.transpose(2, 3) * f.scale / f.softcap)
            if seen is not None:
                scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
            shares = scores.softmax(-1, dtype=torch.float32).to(q_NHTC.dtype)
            out_NHTC = F.dropout(shares, dropout) @ v_NHTC
        else:
            mask = seen
            if self.bias_table is not None:
                mask = self._bias(q_NHTC.shape[2])
                if seen is not None:
                    mask = mask.masked_fill(~seen, float("-inf"))
            causal = f.causal and mask is None and q_NHTC.shape[2] > 1
            out_NHTC = F.scaled_dot_product_attention(
                q_NHTC, k_NHTC, v_NHTC, mask, dropout, is_causal=causal, scale=f.scale
            )
        attended_NTD = out_NHTC.transpose(1, 2).flatten(2)
        if self.attention_inner_norm is not None:
            attended_NTD = self.attention_inner_norm(attended_NTD)
        out_NTD: Tensor = self.output(attended_NTD)
        return out_NTD

    def _bias(self, tokens: int) -> Tensor:
        """`bias_1HTT` by the distance of two patches; three rows are for pairs with the class token (BEiT)."""
        assert self.bias_table is not None
        side, rows = self.f.grid, self.bias_table.shape[0]
        place = torch.arange(side * side, device=self.bias_table.device)
        down, across = place // side, place % side
        index = (down[:, None] - down[None] + side - 1) * (2 * side - 1) + across[:, None] - across[None] + side - 1
        index = F.pad(index, (1, 0, 1, 0), value=rows - 3)
        index[1:, 0], index[0, 0] = rows - 2, rows - 1
        bias_TTH: Tensor = self.bias_table[index.flatten()].unflatten(0, (tokens, tokens))
        return bias_TTH.permute(2, 0, 1)[None]

    # --- feed-forward network -------------------------------------------------------------------

    def _feed(self, hidden_NTD: Tensor) -> Tensor:
        if self.experts is not None:
            return self._routed(hidden_NTD)
        return fed(self, hidden_NTD, self.f.gated)

    def _routed(self, hidden_NTD: Tensor) -> Tensor:
        """The sum of the best experts' outputs, weighted by the router's shares."""
        assert self.router is not None
        assert self.experts is not None
        flat_PD = hidden_NTD.flatten(0, 1)
        shares_PE = self.router(flat_PD).softmax(-1, dtype=torch.float32)
        best_PK, chosen_PK = shares_PE.topk(self.top_k, dim=-1)
        if self.f.norm_experts:
            best_PK = best_PK / best_PK.sum(-1, keepdim=True)
        weights_PE = torch.zeros_like(shares_PE).scatter(1, chosen_PK, best_PK).to(hidden_NTD.dtype)
        out_PD = torch.zeros_like(flat_PD)
        # A trace cannot choose rows by what they hold, so there every expert sees every position.
        tracing = torch.jit.is_tracing() or torch.compiler.is_exporting()  # type: ignore[attr-defined, no-untyped-call]
        everywhere = self.everywhere or tracing or flat_PD.is_meta
        for e, expert in enumerate(self.experts):
            if everywhere:
                out_PD = out_PD + weights_PE[:, e : e + 1] * expert(flat_PD)
                continue
            rows = (chosen_PK == e).any(-1).nonzero()[:, 0]
            if len(rows):
                out_PD = out_PD.index_add(0, rows, (weights_PE[rows, e, None] * expert(flat_PD[rows])).to(out_PD.dtype))
        out_NTD: Tensor = out_PD.unflatten(0, hidden_NTD.shape[:2])
        return out_NTD


BLOCK = TransformerLayer
