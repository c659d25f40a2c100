"""Small networks of published architectures for which nobody wrote a family, as transformers builds them."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

CLASSES, SIDE = 10, 32


def _made(name: str, **options: object) -> nn.Module:
    import transformers

    config = getattr(transformers, f"{name}Config")(num_labels=CLASSES, **options)
    module: nn.Module = getattr(transformers, f"{name}ForImageClassification")(config)
    return module


def regnet() -> nn.Module:
    """Groups of channels, squeeze and excitation (2003.13678)."""
    return _made("RegNet", embedding_size=8, hidden_sizes=[16, 32], depths=[1, 3], groups_width=8, layer_type="y")


def mobilenet_v1() -> nn.Module:
    """Depthwise and pointwise convolutions, no shortcut (1704.04861)."""
    return _made("MobileNetV1", depth_multiplier=0.25, image_size=SIDE, min_depth=8)


def poolformer() -> nn.Module:
    """Average pooling in place of attention (2111.11418)."""
    return _made(
        "PoolFormer",
        hidden_sizes=[8, 16],
        depths=[2, 2],
        num_encoder_blocks=2,
        patch_sizes=[7, 3],
        strides=[4, 2],
        padding=[2, 1],
        mlp_ratio=2.0,
    )


def swin() -> nn.Module:
    """Attention in windows that shift, patches that are merged (2103.14030)."""
    return _made(
        "Swin",
        image_size=SIDE,
        patch_size=2,
        embed_dim=16,
        depths=[2, 4],
        num_heads=[2, 4],
        window_size=4,
        mlp_ratio=2.0,
    )


def cvt() -> nn.Module:
    """Convolutional projections of queries, keys and values (2103.15808)."""
    return _made(
        "Cvt",
        embed_dim=[8, 16, 32],
        num_heads=[1, 2, 4],
        depth=[1, 2, 3],
        mlp_ratio=[2.0, 2.0, 2.0],
        drop_rate=[0.0, 0.0, 0.0],
        attention_drop_rate=[0.0, 0.0, 0.0],
        drop_path_rate=[0.0, 0.0, 0.0],
    )


def data2vec_vision() -> nn.Module:
    """A vision transformer with relative positions and scales of layers (2202.03555)."""
    return _made(
        "Data2VecVision",
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=SIDE,
        patch_size=8,
        layer_scale_init_value=0.1,
        use_relative_position_bias=True,
    )


def segformer() -> nn.Module:
    """Attention whose keys are fewer, a depthwise convolution in the MLP (2105.15203)."""
    return _made(
        "Segformer",
        hidden_sizes=[8, 16],
        depths=[2, 2],
        num_encoder_blocks=2,
        num_attention_heads=[1, 2],
        sr_ratios=[2, 1],
        patch_sizes=[7, 3],
        strides=[4, 2],
        mlp_ratios=[2, 2],
    )


def pvt() -> nn.Module:
    """A pyramid of vision transformers (2102.12122)."""
    return _made(
        "Pvt",
        image_size=SIDE,
        num_encoder_blocks=2,
        depths=[2, 2],
        sequence_reduction_ratios=[2, 1],
        hidden_sizes=[8, 16],
        patch_sizes=[4, 2],
        strides=[4, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
    )


def focalnet() -> nn.Module:
    """Gates of several ranges in place of attention (2203.11926)."""
    return _made(
        "FocalNet",
        image_size=SIDE,
        patch_size=4,
        embed_dim=16,
        depths=[2, 2],
        focal_levels=[2, 2],
        focal_windows=[3, 3],
        mlp_ratio=2.0,
    )


def hgnet_v2() -> nn.Module:
    """Maps of many layers, concatenated."""
    return _made(
        "HGNetV2",
        embedding_size=8,
        depths=[1, 1],
        hidden_sizes=[16, 32],
        stem_channels=[3, 8, 8],
        stage_in_channels=[8, 16],
        stage_mid_channels=[8, 8],
        stage_out_channels=[16, 32],
        stage_num_blocks=[1, 2],
        stage_downsample=[False, True],
        stage_light_block=[False, True],
        stage_kernel_size=[3, 5],
        stage_numb_of_layers=[3, 3],
    )


def swiftformer() -> nn.Module:
    """Additive attention, linear in the tokens (2303.15446)."""
    return _made("SwiftFormer", image_size=64, embed_dims=[8, 16, 24, 32], depths=[2, 2, 2, 2], mlp_ratio=2)


# Which side their images have, where it is not `SIDE`.
SIDES = {"swiftformer": 64}
MODULES: dict[str, Callable[[], nn.Module]] = {
    made.__name__: made
    for made in (
        regnet,
        mobilenet_v1,
        poolformer,
        swin,
        cvt,
        data2vec_vision,
        segformer,
        pvt,
        focalnet,
        hgnet_v2,
        swiftformer,
    )
}
