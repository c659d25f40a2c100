"""BEiT-3's image encoder from timm's folders: the same numbers as its definition, whole and sliced."""

import json

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from export.formats.huggingface import options as huggingface
from job.formats import Subject
from predictors import cost
from search_space.checkpoint import CheckpointError, read_checkpoint
from search_space.companions import image_preprocessing
from search_space.plugins import family_of, load_family
from supernet.importance import order_by_importance
from supernet.network import extract
from supernet.weights import pretrained_supernet

EMBED, LAYERS, HEADS, SIDE, PATCH, CLASSES = 24, 3, 4, 16, 4, 5
ARGUMENTS = {"embed_dim": EMBED, "depth": LAYERS, "num_heads": HEADS, "img_size": SIDE, "patch_size": PATCH}


class Layer(nn.Module):
    """x += proj(LN(attention(LN(x)))); x += fc2(LN(GELU(fc1(LN(x))))), as torchscale computes it."""

    def __init__(self, heads=HEADS, ffn=4 * EMBED):
        super().__init__()
        width = heads * EMBED // HEADS
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(EMBED, 1e-5), nn.LayerNorm(EMBED, 1e-5)
        self.attn, self.mlp = nn.Module(), nn.Module()
        self.attn.qkv, self.attn.norm = nn.Linear(EMBED, 3 * width), nn.LayerNorm(width, 1e-5)
        self.attn.proj = nn.Linear(width, EMBED)
        self.mlp.fc1, self.mlp.norm, self.mlp.fc2 = (
            nn.Linear(EMBED, ffn),
            nn.LayerNorm(ffn, 1e-5),
            nn.Linear(ffn, EMBED),
        )

    def forward(self, x):
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.attn.qkv(self.norm1(x)).chunk(3, -1)
        )
        scores = (q @ k.transpose(2, 3) / (EMBED // HEADS) ** 0.5).softmax(-1)
        x = x + self.attn.proj(self.attn.norm((scores @ v).transpose(1, 2).flatten(2)))
        return x + self.mlp.fc2(self.mlp.norm(F.gelu(self.mlp.fc1(self.norm2(x)))))


class Encoder(nn.Module):
    """timm's names."""

    def __init__(self):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, EMBED))
        self.pos_embed = nn.Parameter(torch.zeros(1, (SIDE // PATCH) ** 2 + 1, EMBED))
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, EMBED, PATCH, PATCH)
        self.blocks = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.fc_norm, self.head = nn.LayerNorm(EMBED, 1e-5), nn.Linear(EMBED, CLASSES)

    def forward(self, x):
        x = self.patch_embed.proj(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.fc_norm(x[:, 1:].mean(1)))


def encoder():
    torch.manual_seed(0)
    made = Encoder().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return made


def saved(folder, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"input_size": [3, SIDE, SIDE], "mean": [0.5] * 3, "std": [0.25] * 3, "crop_pct": 0.5}
    config = {"architecture": "beit3_base_patch16_224", "num_classes": CLASSES, "global_pool": "avg"}
    config |= {"pretrained_cfg": {**facts, "interpolation": "bicubic"}, "model_args": ARGUMENTS, **changes}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(encoder().state_dict(), folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def supernet(tmp_path_factory):
    made, loaded = pretrained_supernet(saved(tmp_path_factory.mktemp("beit3")))
    assert (loaded.fresh, loaded.dropped) == ((), ())
    return made.eval()


def test_the_whole_network_is_timms(supernet):
    x = torch.randn(3, 3, SIDE, SIDE)
    with torch.no_grad():
        torch.testing.assert_close(supernet(x, supernet.space.largest()), encoder()(x), atol=1e-5, rtol=1e-5)
    assert cost.params(supernet.space, supernet.space.largest()) == sum(p.numel() for p in encoder().parameters())


def test_a_part_of_it_is_timms_with_norms_of_that_width(supernet):
    space = supernet.space
    values = space.smallest().values | {"depth": LAYERS, "layer2_heads": HEADS}
    values |= {name: options[0] for name, options in ((c.name, c.options) for c in space.choices) if name not in values}
    architecture = space.architecture(**values)
    model = encoder()
    for i, block in enumerate(model.blocks, 1):
        heads, ffn = int(values[f"layer{i}_heads"]), int(values[f"layer{i}_ffn"])
        width, own = heads * EMBED // HEADS, Layer(heads, ffn)
        with torch.no_grad():
            for name, target in own.named_parameters():
                source = block.get_parameter(name)
                if "qkv" in name:
                    target.copy_(torch.cat([rows[:width] for rows in source.chunk(3)]))
                else:
                    target.copy_(source[tuple(slice(size) for size in target.shape)])
        model.blocks[i - 1] = own
    x = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        torch.testing.assert_close(supernet(x, architecture), model.eval()(x), atol=1e-5, rtol=1e-5)
        assert torch.equal(extract(supernet, architecture).eval()(x), supernet(x, architecture))
    spec = space.layers(architecture)["layer1"]
    assert spec.norms_across == {"heads", "kv_heads", "ffn"}


def test_ordering_goes_with_the_inner_norms(tmp_path):
    made, _ = pretrained_supernet(saved(tmp_path))
    x = torch.randn(4, 3, SIDE, SIDE)
    before = made.eval()(x, made.space.largest())
    orders = order_by_importance(made, [x])
    assert any(order != sorted(order) for order in orders.values())
    torch.testing.assert_close(made(x, made.space.largest()), before, atol=1e-5, rtol=1e-5)


# Of torchscale's modules, which have a mask token and two rows of positions that no image uses; timm leaves them out.
@pytest.mark.parametrize(("name", "params", "width"), [("base", 86_662_120, 768), ("large", 304_575_464, 1024)])
def test_published_encoders_are_counted_to_the_unit(name, params, width, tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"architecture": f"beit3_{name}_patch16_224", "num_classes": 1000})
    )
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    config = read_checkpoint(tmp_path).config
    space = load_family(family_of(config), None, None, config)
    assert cost.params(space, space.largest()) == params - 3 * width


def test_macs_are_those_of_a_vit(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "beit3_base_patch16_224", "num_classes": 1000}))
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    config = read_checkpoint(tmp_path).config
    space = load_family("vit", None, None, config)
    vit = load_family("vit", "vit_base")
    assert cost.costs(space, space.largest())["macs"] == cost.costs(vit, vit.largest())["macs"]


def test_pictures_are_prepared_as_timm_says(tmp_path):
    found = image_preprocessing(saved(tmp_path), SIDE, 3)
    assert (found.mean, found.std, found.edge, found.crop, found.resample) == (
        (0.5,) * 3,
        (0.25,) * 3,
        32,
        SIDE,
        "bicubic",
    )


def test_a_folder_for_transformers_is_refused(supernet, tmp_path):
    space = supernet.space
    facts = {"checkpoint": read_checkpoint(saved(tmp_path)).config}
    subject = Subject(space.name, space.layers(space.smallest()), facts=facts)
    assert "no class of BEiT-3's image encoder" in str(huggingface.refusal(subject))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"global_pool": "token"}, "global_pool 'token'; BEiT-3 averages"),
        ({"model_args": {**ARGUMENTS, "qk_norm": True}}, "model_args 'qk_norm'"),
        ({"architecture": "beit3_giant_patch14_224"}, "architecture 'beit3_giant_patch14_224'; supported of timm's"),
    ],
)
def test_what_is_not_computed_is_refused(changes, said, tmp_path):
    folder = saved(tmp_path, **changes)
    with pytest.raises(ValueError, match=said):
        family_of(read_checkpoint(folder).config)


def test_layers_that_stood_before_are_written_as_they_were():
    from search_space.layers import LayerForm

    assert "inner_norms" not in LayerForm().written()
    assert "inner_norms" in LayerForm(inner_norms=True).written()


def test_a_tensor_that_lacks_is_named(tmp_path):
    folder = saved(tmp_path)
    tensors = encoder().state_dict()
    del tensors["blocks.1.mlp.norm.weight"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"blocks\.1\.mlp\.norm\.weight"):
        pretrained_supernet(folder)
