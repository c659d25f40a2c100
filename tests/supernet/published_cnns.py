"""ResNets and mobile networks as torchvision and timm define them, written from their sources by hand.

torchvision and timm do not install beside this torch. What is here is theirs: names of tensors, paddings, epsilons,
places of activations and gates.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

CLASSES = 7

# kernel, inside, outside, squeeze and excite, activation, stride (1905.02244, tables 1 and 2).
V3_SMALL = [
    (3, 16, 16, True, nn.ReLU, 2),
    (3, 72, 24, False, nn.ReLU, 2),
    (3, 88, 24, False, nn.ReLU, 1),
    (5, 96, 40, True, nn.Hardswish, 2),
    (5, 240, 40, True, nn.Hardswish, 1),
    (5, 240, 40, True, nn.Hardswish, 1),
    (5, 120, 48, True, nn.Hardswish, 1),
    (5, 144, 48, True, nn.Hardswish, 1),
    (5, 288, 96, True, nn.Hardswish, 2),
    (5, 576, 96, True, nn.Hardswish, 1),
    (5, 576, 96, True, nn.Hardswish, 1),
]
V3_LARGE = [
    (3, 16, 16, False, nn.ReLU, 1),
    (3, 64, 24, False, nn.ReLU, 2),
    (3, 72, 24, False, nn.ReLU, 1),
    (5, 72, 40, True, nn.ReLU, 2),
    (5, 120, 40, True, nn.ReLU, 1),
    (5, 120, 40, True, nn.ReLU, 1),
    (3, 240, 80, False, nn.Hardswish, 2),
    (3, 200, 80, False, nn.Hardswish, 1),
    (3, 184, 80, False, nn.Hardswish, 1),
    (3, 184, 80, False, nn.Hardswish, 1),
    (3, 480, 112, True, nn.Hardswish, 1),
    (3, 672, 112, True, nn.Hardswish, 1),
    (5, 672, 160, True, nn.Hardswish, 2),
    (5, 960, 160, True, nn.Hardswish, 1),
    (5, 960, 160, True, nn.Hardswish, 1),
]
# kernel, expansion, outside, stride, blocks.
V2 = [(3, 1, 16, 1, 1), (3, 6, 24, 2, 2), (3, 6, 32, 2, 3), (3, 6, 64, 2, 4)]
V2 += [(3, 6, 96, 1, 3), (3, 6, 160, 2, 3), (3, 6, 320, 1, 1)]
B0 = [(3, 1, 16, 1, 1), (3, 6, 24, 2, 2), (5, 6, 40, 2, 2), (3, 6, 80, 2, 3)]
B0 += [(5, 6, 112, 1, 3), (5, 6, 192, 2, 4), (3, 6, 320, 1, 1)]


def blocks(name: str) -> list[tuple[int, int, int, int, int, type[nn.Module], int]]:
    """Of each block: kernel, channels before, inside, behind and of squeeze and excite, activation, stride."""
    rows, before = [], 16 if "v3" in name else 32
    if "v3" in name:
        for kernel, inside, outside, squeeze, act, stride in V3_LARGE if "large" in name else V3_SMALL:
            quarter = max(8, (inside // 4 + 4) // 8 * 8)
            quarter += 8 if quarter < 0.9 * (inside // 4) else 0
            rows.append((kernel, before, inside, outside, quarter if squeeze else 0, act, stride))
            before = outside
        return rows
    efficient = name.startswith("efficientnet")
    for kernel, expansion, outside, stride, repeats in B0 if efficient else V2:
        for i in range(repeats):
            act = nn.SiLU if efficient else nn.ReLU6
            gate = max(1, before // 4) if efficient else 0
            rows.append((kernel, before, before * expansion, outside, gate, act, stride if i == 0 else 1))
            before = outside
    return rows


def last(name: str) -> tuple[int, int, type[nn.Module]]:
    """Channels of the last convolution, outputs of the mixing layer (0: none), and their activation."""
    if "v3" in name:
        return (960, 1280, nn.Hardswish) if "large" in name else (576, 1024, nn.Hardswish)
    return 1280, 0, nn.SiLU if name.startswith("efficientnet") else nn.ReLU6


# --- torchvision ----------------------------------------------------------------------------------------


class Conv2dNormActivation(nn.Sequential):
    def __init__(self, before, after, kernel, stride=1, groups=1, act=None, eps=1e-5):
        conv = nn.Conv2d(before, after, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(after, eps), *([act()] if act else []))


class SqueezeExcitation(nn.Module):
    def __init__(self, channels, squeeze, act, gate):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, squeeze, 1), nn.Conv2d(squeeze, channels, 1)
        self.act, self.gate = act(), gate()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.fc2(self.act(self.fc1(F.adaptive_avg_pool2d(x, 1)))))


class TorchvisionBlock(nn.Module):
    def __init__(self, name, kernel, before, inside, outside, squeeze, act, stride):
        super().__init__()
        v3, v2 = "v3" in name, "v2" in name
        made = partial(Conv2dNormActivation, eps=1e-3 if v3 else 1e-5)
        layers = [made(before, inside, 1, act=act)] if inside != before else []
        layers.append(made(inside, inside, kernel, stride, inside, act))
        if squeeze:
            functions = (nn.ReLU, nn.Hardsigmoid) if v3 else (nn.SiLU, nn.Sigmoid)
            layers.append(SqueezeExcitation(inside, squeeze, *functions))
        project = made(inside, outside, 1)
        setattr(self, "conv" if v2 else "block", nn.Sequential(*layers, *(project if v2 else [project])))
        self.adds = stride == 1 and before == outside

    def forward(self, x: Tensor) -> Tensor:
        out = next(self.children())(x)
        return out + x if self.adds else out


class TorchvisionMobile(nn.Module):
    def __init__(self, name: str, classes: int = CLASSES) -> None:
        super().__init__()
        rows, (width, mix, act) = blocks(name), last(name)
        made = partial(Conv2dNormActivation, act=act, eps=1e-3 if "v3" in name else 1e-5)
        body = [TorchvisionBlock(name, *row) for row in rows]
        if name.startswith("efficientnet"):
            stages, start = [], 0
            for *_, repeats in B0:
                stages.append(nn.Sequential(*body[start : start + repeats]))
                start += repeats
            body = stages
        self.features = nn.Sequential(made(3, rows[0][1], 3, 2), *body, made(rows[-1][3], width, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(width, classes))
        if mix:
            self.classifier = nn.Sequential(nn.Linear(width, mix), act(), nn.Dropout(0.2), nn.Linear(mix, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


# --- timm -----------------------------------------------------------------------------------------------


class SqueezeExcite(nn.Module):
    def __init__(self, channels, squeeze, act, gate):
        super().__init__()
        self.conv_reduce, self.conv_expand = nn.Conv2d(channels, squeeze, 1), nn.Conv2d(squeeze, channels, 1)
        self.act, self.gate = act(), gate()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.conv_expand(self.act(self.conv_reduce(x.mean((2, 3), keepdim=True)))))


class TimmBlock(nn.Module):
    """DepthwiseSeparableConv where nothing expands, else InvertedResidual."""

    def __init__(self, name, kernel, before, inside, outside, squeeze, act, stride):
        super().__init__()
        self.expands, self.act = inside != before, act()
        norms = iter(range(1, 4))
        if self.expands:
            self.conv_pw = nn.Conv2d(before, inside, 1, bias=False)
            self.add_module(f"bn{next(norms)}", nn.BatchNorm2d(inside))
        self.conv_dw = nn.Conv2d(inside, inside, kernel, stride, kernel // 2, groups=inside, bias=False)
        self.add_module(f"bn{next(norms)}", nn.BatchNorm2d(inside))
        functions = (nn.ReLU, nn.Hardsigmoid) if "v3" in name else (nn.SiLU, nn.Sigmoid)
        self.se = SqueezeExcite(inside, squeeze, *functions) if squeeze else nn.Identity()
        self.add_module("conv_pwl" if self.expands else "conv_pw", nn.Conv2d(inside, outside, 1, bias=False))
        self.add_module(f"bn{next(norms)}", nn.BatchNorm2d(outside))
        self.adds = stride == 1 and before == outside

    def forward(self, x: Tensor) -> Tensor:
        if self.expands:
            out = self.act(self.bn1(self.conv_pw(x)))
            out = self.se(self.act(self.bn2(self.conv_dw(out))))
            out = self.bn3(self.conv_pwl(out))
        else:
            out = self.bn2(self.conv_pw(self.se(self.act(self.bn1(self.conv_dw(x))))))
        return out + x if self.adds else out


class ConvBnAct(nn.Module):
    def __init__(self, before, after, act):
        super().__init__()
        self.conv, self.bn1, self.act = nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after), act()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn1(self.conv(x)))


class TimmMobile(nn.Module):
    def __init__(self, name: str, classes: int = CLASSES) -> None:
        super().__init__()
        rows, (width, mix, act) = blocks(name), last(name)
        self.act, self.mixes = act(), mix > 0
        self.conv_stem, self.bn1 = nn.Conv2d(3, rows[0][1], 3, 2, 1, bias=False), nn.BatchNorm2d(rows[0][1])
        counts = [1, 2, 3, 4, 2, 3] if "large" in name else [1, 2, 3, 2, 3]
        if not self.mixes:
            counts = [row[-1] for row in (B0 if name.startswith("efficientnet") else V2)]
        body = iter(TimmBlock(name, *row) for row in rows)
        stages = [nn.Sequential(*(next(body) for _ in range(count))) for count in counts]
        if self.mixes:
            stages.append(nn.Sequential(ConvBnAct(rows[-1][3], width, act)))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = nn.Conv2d(width, mix, 1) if mix else nn.Conv2d(rows[-1][3], width, 1, bias=False)
        if not mix:
            self.bn2 = nn.BatchNorm2d(width)
        self.classifier = nn.Linear(mix or width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.act(self.bn1(self.conv_stem(x))))
        if self.mixes:
            x = self.act(self.conv_head(x.mean((2, 3), keepdim=True)))
        else:
            x = self.act(self.bn2(self.conv_head(x))).mean((2, 3), keepdim=True)
        return self.classifier(x.flatten(1))


# --- ResNet, which both write alike ---------------------------------------------------------------------

RESNETS = {"resnet18": (1, [2, 2, 2, 2]), "resnet50": (4, [3, 4, 6, 3])}


class ResidualBlock(nn.Module):
    """BasicBlock, or Bottleneck where outputs are four times the planes."""

    def __init__(self, before, planes, ratio, stride):
        super().__init__()
        sizes = [(before, planes, 1, 1), (planes, planes, 3, stride), (planes, planes * ratio, 1, 1)]
        if ratio == 1:
            sizes = [(before, planes, 3, stride), (planes, planes, 3, 1)]
        self.count = len(sizes)
        for i, (inputs, outputs, kernel, step) in enumerate(sizes, 1):
            self.add_module(f"conv{i}", nn.Conv2d(inputs, outputs, kernel, step, kernel // 2, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(outputs))
        self.downsample = None
        if stride > 1 or before != planes * ratio:
            conv = nn.Conv2d(before, planes * ratio, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(planes * ratio))

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for i in range(1, self.count + 1):
            out = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(out))
            out = F.relu(out) if i < self.count else out
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, name: str, classes: int = CLASSES) -> None:
        super().__init__()
        ratio, depths = RESNETS[name]
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        before = 64
        for stage, depth in enumerate(depths, 1):
            planes, layers = 32 * 2**stage, []
            for i in range(depth):
                layers.append(ResidualBlock(before, planes, ratio, 2 if i == 0 and stage > 1 else 1))
                before = planes * ratio
            self.add_module(f"layer{stage}", nn.Sequential(*layers))
        self.fc = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return self.fc(x.mean((2, 3)))


# --- folders --------------------------------------------------------------------------------------------

# (whose, architecture) -> class and our word for it
WRITTEN = {
    ("torchvision", "resnet18"): (ResNet, "resnet18"),
    ("torchvision", "resnet50"): (ResNet, "resnet50"),
    ("torchvision", "mobilenet_v2"): (TorchvisionMobile, "mobilenet_v2"),
    ("torchvision", "mobilenet_v3_small"): (TorchvisionMobile, "mobilenet_v3_small"),
    ("torchvision", "mobilenet_v3_large"): (TorchvisionMobile, "mobilenet_v3_large"),
    ("torchvision", "efficientnet_b0"): (TorchvisionMobile, "efficientnet_b0"),
    ("timm", "mobilenetv2_100"): (TimmMobile, "mobilenet_v2"),
    ("timm", "mobilenetv3_small_100"): (TimmMobile, "mobilenet_v3_small"),
    ("timm", "mobilenetv3_large_100"): (TimmMobile, "mobilenet_v3_large"),
    ("timm", "efficientnet_b0"): (TimmMobile, "efficientnet_b0"),
}


def written(whose: str, named: str, folder: Path, side: int = 64, **said: object) -> nn.Module:
    """Write a random network none of whose numbers is one or zero by construction; return it.

    Args:
        said: what config.json says besides, or instead.
    """
    kind, name = WRITTEN[whose, named]
    torch.manual_seed(0)
    model: nn.Module = kind(name).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.mul_(0.5)
    facts = {"input_size": [3, side, side], "mean": [0.5] * 3, "std": [0.25] * 3, "crop_pct": 0.5}
    tag = ".some_data" if whose == "timm" else ""
    config = {"architecture": named + tag, "num_classes": CLASSES, "pretrained_cfg": facts, **said}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(model.state_dict(), folder / "model.safetensors")
    return model
