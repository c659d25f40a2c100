# A reader of our own, which a process without Winnow runs: `block_configs` as engines read it, in plain torch.


def reload(folder):  # type: ignore[no-untyped-def]
    import glob
    import json
    import os

    import torch
    from safetensors.torch import load_file
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    with open(folder + "/config.json") as file:
        config = json.load(file)
    weights = {}
    for file in glob.glob(folder + "/*.safetensors"):
        weights |= {name: tensor.float() for name, tensor in load_file(file).items()}
    hidden, heads, eps = config["hidden_size"], config["num_attention_heads"], config["rms_norm_eps"]
    width = hidden // heads
    known = ("rope_parameters", "rope_theta", "rope_scaling", "max_position_embeddings")
    given = {key: config[key] for key in known if config.get(key) is not None}
    rotary = LlamaRotaryEmbedding(LlamaConfig(hidden_size=hidden, num_attention_heads=heads, **given))

    def linear(x, name):
        return torch.nn.functional.linear(x, weights[name + ".weight"], weights.get(name + ".bias"))

    def norm(x, name):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weights[name + ".weight"]

    def turned(x, cos, sin):
        first, second = x.chunk(2, -1)
        return x * cos + torch.cat((-second, first), -1) * sin

    def attention(x, at, each, cos, sin):
        assert weights[at + "self_attn.k_proj.weight"].shape == (heads // each * width, hidden)
        given = norm(x, at + "input_layernorm")
        q, k, v = (
            linear(given, f"{at}self_attn.{one}_proj").unflatten(-1, (-1, width)).transpose(1, 2) for one in "qkv"
        )
        k, v = (one.repeat_interleave(each, 1) for one in (turned(k, cos, sin), v))
        out = torch.nn.functional.scaled_dot_product_attention(turned(q, cos, sin), k, v, is_causal=True)
        return linear(out.transpose(1, 2).flatten(2), at + "self_attn.o_proj")

    def feed_forward(x, at, multiplier):
        ffn = -(-int(2 * multiplier * hidden / 3) // 256) * 256
        assert weights[at + "mlp.up_proj.weight"].shape == (ffn, hidden)
        given = norm(x, at + "post_attention_layernorm")
        gate = torch.nn.functional.silu(linear(given, at + "mlp.gate_proj"))
        return linear(gate * linear(given, at + "mlp.up_proj"), at + "mlp.down_proj")

    def logits(ids):
        x = weights["model.embed_tokens.weight"][ids]
        cos, sin = rotary(x, torch.arange(ids.shape[1])[None])
        for number, block in enumerate(config["block_configs"]):
            at, each = f"model.layers.{number}.", block["attention"]["n_heads_in_group"]
            if not block["attention"]["no_op"]:
                x = x + attention(x, at, each, cos, sin)
            if not block["ffn"]["no_op"]:
                x = x + feed_forward(x, at, block["ffn"]["ffn_mult"])
        head = weights.get("lm_head.weight", weights["model.embed_tokens.weight"])
        return norm(x, "model.norm") @ head.T

    def run(ids, mask=None):
        with torch.no_grad():
            return logits(torch.from_numpy(ids)).numpy()

    def generate(prompts, count):
        text = torch.from_numpy(prompts)
        with torch.no_grad():
            for _ in range(count):
                text = torch.cat((text, logits(text)[:, -1].argmax(-1)[:, None]), 1)
        return text[:, prompts.shape[1] :].numpy()

    run.generate = generate
    return run
