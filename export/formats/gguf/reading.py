# A reader of our own, which a process without Winnow runs: GGUF files of llama, deci, qwen2 and qwen3, in plain torch.


def reload(folder, part):  # type: ignore[no-untyped-def]
    import os

    import gguf
    import numpy
    import torch

    if part.endswith(" in llama.cpp"):
        return engine(f"{folder}/model-{part.removesuffix(' in llama.cpp')}.gguf")  # noqa: F821, which `engine.py` defines
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    reader = gguf.GGUFReader(f"{folder}/model-{part}.gguf")
    arch = reader.fields["general.architecture"].contents()
    weights = {}
    for tensor in reader.tensors:
        plain = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        weights[tensor.name] = torch.from_numpy(numpy.array(plain, dtype=numpy.float32))

    def fact(name, default=None):
        field = reader.fields.get(f"{arch}.{name}")
        return default if field is None else field.contents()

    count, width, eps = fact("block_count"), fact("attention.key_length"), fact("attention.layer_norm_rms_epsilon")

    def each(name):
        value = fact(name)
        return list(value) if isinstance(value, list) else [value] * count

    heads, groups = each("attention.head_count"), each("attention.head_count_kv")
    frequencies = fact("rope.freq_base") ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
    if "rope_freqs.weight" in weights:
        frequencies = frequencies / weights["rope_freqs.weight"].double()
    scaling, factor, magnitude = fact("rope.scaling.type"), fact("rope.scaling.factor", 1.0), 1.0
    if scaling == "linear":
        frequencies = frequencies / factor
    if scaling == "yarn":
        original, base = fact("rope.scaling.original_context_length"), fact("rope.freq_base")
        edges = [
            width * numpy.log(original / (turns * 2 * numpy.pi)) / (2 * numpy.log(base))
            for turns in (fact("rope.scaling.yarn_beta_fast"), fact("rope.scaling.yarn_beta_slow"))
        ]
        low, high = max(0.0, numpy.floor(edges[0])), min(width - 1.0, numpy.ceil(edges[1]))
        ramp = ((torch.arange(width // 2).double() - low) / max(0.001, high - low)).clamp(0, 1)
        frequencies = frequencies / factor * ramp + frequencies * (1 - ramp)
        magnitude = 1 + 0.1 * numpy.log(factor)

    def norm(x, name):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weights[name]

    def linear(x, name):
        return torch.nn.functional.linear(x, weights[name + ".weight"], weights.get(name + ".bias"))

    def turned(x):
        angles = torch.arange(x.shape[2]).double()[:, None] * frequencies
        cos, sin = (angles.cos() * magnitude).float(), (angles.sin() * magnitude).float()
        if arch in ("llama", "deci"):  # neighbours are turned
            first, second = x[..., ::2], x[..., 1::2]
            return torch.stack((first * cos - second * sin, first * sin + second * cos), -1).flatten(-2)
        first, second = x.chunk(2, -1)
        return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)

    def logits(ids):
        x = weights["token_embd.weight"][ids]
        for n in range(count):
            at = f"blk.{n}."
            given = norm(x, at + "attn_norm.weight")
            q, k, v = (linear(given, at + "attn_" + one).unflatten(-1, (-1, width)) for one in "qkv")
            if at + "attn_q_norm.weight" in weights:
                q, k = norm(q, at + "attn_q_norm.weight"), norm(k, at + "attn_k_norm.weight")
            q, k, v = (one.transpose(1, 2) for one in (q, k, v))
            k, v = (one.repeat_interleave(heads[n] // groups[n], 1) for one in (turned(k), v))
            out = torch.nn.functional.scaled_dot_product_attention(turned(q), k, v, is_causal=True)
            x = x + linear(out.transpose(1, 2).flatten(2), at + "attn_output")
            given = norm(x, at + "ffn_norm.weight")
            gate = torch.nn.functional.silu(linear(given, at + "ffn_gate"))
            x = x + linear(gate * linear(given, at + "ffn_up"), at + "ffn_down")
        head = weights.get("output.weight", weights["token_embd.weight"])
        return norm(x, "output_norm.weight") @ head.T

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
