"""Operations on batches of images, each image with a strength of its own: what augmentation policies are made of.

Images are `x_NCHW` in [0, 1], and so are results. Strengths are `(N,)` and mean what AutoAugment's paper means (arXiv
1805.09501, appendix).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

Operation: TypeAlias = Callable[[Tensor, Tensor], Tensor]

# Weights of red, green and blue in grey (ITU-R BT.601), as Pillow has them.
GREY = (0.299, 0.587, 0.114)
# Levels of a pixel, for operations that count them.
LEVELS = 256


def per_image(values_N: Tensor) -> Tensor:
    """A number an image, to be multiplied with `x_NCHW`."""
    return values_N.view(-1, 1, 1, 1)


def blended(base_NCHW: Tensor, x_NCHW: Tensor, factor_N: Tensor) -> Tensor:
    """`base + factor (x - base)`: 0 is the base, 1 the image, more exaggerates it."""
    return torch.lerp(base_NCHW, x_NCHW, per_image(factor_N)).clamp_(0, 1)


def grey(x_NCHW: Tensor) -> Tensor:
    """Grey images of one channel; of images that are not of three, the mean of their channels."""
    if x_NCHW.shape[1] != len(GREY):
        return x_NCHW.mean(1, keepdim=True)
    return (x_NCHW * torch.tensor(GREY, device=x_NCHW.device).view(1, -1, 1, 1)).sum(1, keepdim=True)


def brightness(x_NCHW: Tensor, factor_N: Tensor) -> Tensor:
    """Towards black, or brighter."""
    return blended(torch.zeros_like(x_NCHW), x_NCHW, factor_N)


def colour(x_NCHW: Tensor, factor_N: Tensor) -> Tensor:
    """Towards grey, or more colourful."""
    return blended(grey(x_NCHW).expand_as(x_NCHW), x_NCHW, factor_N)


def contrast(x_NCHW: Tensor, factor_N: Tensor) -> Tensor:
    """Towards the mean of the grey image, or away from it."""
    return blended(grey(x_NCHW).mean((1, 2, 3), keepdim=True).expand_as(x_NCHW), x_NCHW, factor_N)


def sharpness(x_NCHW: Tensor, factor_N: Tensor) -> Tensor:
    """Towards a blurred image, or away from it; the outermost pixels stay."""
    channels = x_NCHW.shape[1]
    if min(x_NCHW.shape[2:]) < 3:
        return x_NCHW
    kernel = torch.ones(3, 3, device=x_NCHW.device)
    kernel[1, 1] = 5
    smooth = x_NCHW.clone()
    smooth[:, :, 1:-1, 1:-1] = F.conv2d(x_NCHW, (kernel / 13).expand(channels, 1, 3, 3), groups=channels)
    return blended(smooth, x_NCHW, factor_N)


def posterize(x_NCHW: Tensor, bits_N: Tensor) -> Tensor:
    """Pixels of so many bits of eight."""
    step = per_image(2 ** (8 - bits_N.round()))
    return (_levels(x_NCHW) / step).floor_() * step / (LEVELS - 1)


def solarize(x_NCHW: Tensor, threshold_N: Tensor) -> Tensor:
    """Pixels from the threshold on are inverted."""
    return torch.where(x_NCHW >= per_image(threshold_N), 1 - x_NCHW, x_NCHW)


def invert(x_NCHW: Tensor, _strength_N: Tensor) -> Tensor:
    """The negative."""
    return 1 - x_NCHW


def auto_contrast(x_NCHW: Tensor, _strength_N: Tensor) -> Tensor:
    """Every channel stretched to the whole range; one that is constant stays."""
    low, high = x_NCHW.amin((2, 3), keepdim=True), x_NCHW.amax((2, 3), keepdim=True)
    spread = high - low
    return torch.where(spread > 0, (x_NCHW - low) / spread.clamp_min(torch.finfo(spread.dtype).eps), x_NCHW)


def equalize(x_NCHW: Tensor, _strength_N: Tensor) -> Tensor:
    """Every channel's histogram made flat, as Pillow does it; a channel with few levels stays."""
    level_MP = _levels(x_NCHW).long().flatten(0, 1).flatten(1)
    count_ML = torch.zeros(len(level_MP), LEVELS, dtype=torch.long, device=x_NCHW.device)
    count_ML.scatter_add_(1, level_MP, torch.ones_like(level_MP))
    last_M1 = count_ML.gather(1, level_MP.amax(1, keepdim=True))
    step_M1 = (level_MP.shape[1] - last_M1) // (LEVELS - 1)
    before_ML = count_ML.cumsum(1) - count_ML
    table_ML = ((before_ML + step_M1 // 2) // step_M1.clamp_min(1)).clamp_(0, LEVELS - 1)
    flat = (table_ML.gather(1, level_MP).to(x_NCHW.dtype) / (LEVELS - 1)).view_as(x_NCHW)
    return torch.where(step_M1.view(*x_NCHW.shape[:2], 1, 1) > 0, flat, x_NCHW)


def _levels(x_NCHW: Tensor) -> Tensor:
    return (x_NCHW * (LEVELS - 1)).round().clamp_(0, LEVELS - 1)


# --- geometry ---------------------------------------------------------------------------------------


def identity(x_NCHW: Tensor, _strength_N: Tensor) -> Tensor:
    """The image."""
    return x_NCHW


def shear_x(x_NCHW: Tensor, share_N: Tensor) -> Tensor:
    """Rows moved in proportion to their distance from the middle."""
    return _moved(x_NCHW, **{"01": share_N})


def shear_y(x_NCHW: Tensor, share_N: Tensor) -> Tensor:
    """Columns moved in proportion to their distance from the middle."""
    return _moved(x_NCHW, **{"10": share_N})


def translate_x(x_NCHW: Tensor, share_N: Tensor) -> Tensor:
    """Moved by a share of the width, rounded to pixels."""
    width = x_NCHW.shape[3]
    return _moved(x_NCHW, **{"02": 2 * (share_N * width).round() / width})


def translate_y(x_NCHW: Tensor, share_N: Tensor) -> Tensor:
    """Moved by a share of the height, rounded to pixels."""
    height = x_NCHW.shape[2]
    return _moved(x_NCHW, **{"12": 2 * (share_N * height).round() / height})


def rotate(x_NCHW: Tensor, degrees_N: Tensor) -> Tensor:
    """Turned about the middle."""
    angle = degrees_N.deg2rad()
    aspect = x_NCHW.shape[2] / x_NCHW.shape[3]
    cos, sin = angle.cos(), angle.sin()
    return _moved(x_NCHW, **{"00": cos - 1, "11": cos - 1, "01": -sin * aspect, "10": sin / aspect})


def _moved(x_NCHW: Tensor, **entries_N: Tensor) -> Tensor:
    """Pixels taken from where an affine map points, the nearest ones; black where that is outside.

    Args:
        entries_N: by row and column, what the map has beyond the identity, in units of half an image.
    """
    map_N23 = torch.eye(2, 3, device=x_NCHW.device).repeat(len(x_NCHW), 1, 1)
    for place, values_N in entries_N.items():
        map_N23[:, int(place[0]), int(place[1])] += values_N
    grid = F.affine_grid(map_N23, list(x_NCHW.shape), align_corners=False)
    return F.grid_sample(x_NCHW, grid, "nearest", "zeros", align_corners=False)


def cut_out(x_NCHW: Tensor, top_N: Tensor, left_N: Tensor, height_N: Tensor, width_N: Tensor) -> Tensor:
    """A part of every image at the size of the whole (bilinear); all in pixels."""
    high, wide = x_NCHW.shape[2:]
    map_N23 = torch.zeros(len(x_NCHW), 2, 3, device=x_NCHW.device)
    map_N23[:, 0, 0], map_N23[:, 1, 1] = width_N / wide, height_N / high
    map_N23[:, 0, 2] = (2 * left_N + width_N) / wide - 1
    map_N23[:, 1, 2] = (2 * top_N + height_N) / high - 1
    grid = F.affine_grid(map_N23, list(x_NCHW.shape), align_corners=False)
    return F.grid_sample(x_NCHW, grid, "bilinear", "border", align_corners=False)


def shifted(x_NCHW: Tensor, top_N: Tensor, left_N: Tensor, padding: int) -> Tensor:
    """Crops of the images with a black border of `padding` pixels, at the size that they had."""
    high, wide = x_NCHW.shape[2:]
    padded = F.pad(x_NCHW, (padding,) * 4)
    rows_NH = top_N[:, None] + torch.arange(high, device=x_NCHW.device)
    columns_NW = left_N[:, None] + torch.arange(wide, device=x_NCHW.device)
    image_N = torch.arange(len(x_NCHW), device=x_NCHW.device)
    return padded[image_N[:, None, None], :, rows_NH[:, :, None], columns_NW[:, None, :]].permute(0, 3, 1, 2)


def inside(shape: torch.Size, top_N: Tensor, left_N: Tensor, bottom_N: Tensor, right_N: Tensor) -> Tensor:
    """`(N, 1, H, W)`: whether a pixel is in its image's rectangle, whose bottom and right are outside."""
    row_H = torch.arange(shape[2], device=top_N.device)
    column_W = torch.arange(shape[3], device=top_N.device)
    rows_NH = (row_H >= top_N[:, None]) & (row_H < bottom_N[:, None])
    columns_NW = (column_W >= left_N[:, None]) & (column_W < right_N[:, None])
    return (rows_NH[:, :, None] & columns_NW[:, None, :])[:, None]


OPERATIONS: dict[str, Operation] = {
    "auto_contrast": auto_contrast,
    "brightness": brightness,
    "colour": colour,
    "contrast": contrast,
    "equalize": equalize,
    "identity": identity,
    "invert": invert,
    "posterize": posterize,
    "rotate": rotate,
    "sharpness": sharpness,
    "shear_x": shear_x,
    "shear_y": shear_y,
    "solarize": solarize,
    "translate_x": translate_x,
    "translate_y": translate_y,
}
