"""Layer specs: what one layer is, in numbers. The only description of a layer in the code base.

Costs, latency tables, the supernet's blocks and the exporters all read these specs. A spec is the
layer of one slot: a convolution, an inverted residual block, a classifier. It lists its `parts`, the
elementary operations, from which every count follows.

Counting rules: one multiply-accumulate is one MAC; MACs are for one sample; normalisation and
activations count no MACs; parameters include normalisation scale and shift but not running statistics.
Activations are counted as an inference runtime keeps them: normalisation and activation functions work
in place, and what a layer has read is freed when nothing needs it any more.
"""

from search_space.layers.base import LayerSpec, Part, attention_part, conv_part, linear_part, norm_part
from search_space.layers.convolutions import (
    ConvNextLayerSpec,
    InvertedResidualSpec,
    MapHeadSpec,
    MixedHeadSpec,
    PaddedConvSpec,
    PatchConvSpec,
)
from search_space.layers.image import ClassifierSpec, ConvSpec, HeadSpec, MaxPoolSpec, ResizeSpec
from search_space.layers.mbconv import MBConvSpec
from search_space.layers.mixing import MixingSpec
from search_space.layers.multiway import AnswerHeadSpec, JointSequenceSpec, MultiwayLayerSpec
from search_space.layers.precision import SCHEMES, Policy, Precision, Scheme
from search_space.layers.residual import BasicSpec, BottleneckSpec
from search_space.layers.stack import (
    ImageEmbeddingSpec,
    ImageHeadSpec,
    LayerForm,
    PooledHeadSpec,
    TransformerLayerSpec,
    VocabularyHeadSpec,
    WordEmbeddingSpec,
)
from search_space.layers.stitching import StitchSpec
from search_space.layers.towers import ImageTowerSpec, PairHeadSpec, TextTowerSpec, TowerHeadSpec
from search_space.layers.transformer import (
    DecoderLayerSpec,
    EncoderLayerSpec,
    LanguageHeadSpec,
    PatchEmbeddingSpec,
    PatchHeadSpec,
    TextEmbeddingSpec,
    TextHeadSpec,
    TokenEmbeddingSpec,
    without_a_half,
)

__all__ = [
    "SCHEMES",
    "AnswerHeadSpec",
    "BasicSpec",
    "BottleneckSpec",
    "ClassifierSpec",
    "ConvNextLayerSpec",
    "ConvSpec",
    "DecoderLayerSpec",
    "EncoderLayerSpec",
    "HeadSpec",
    "ImageEmbeddingSpec",
    "ImageHeadSpec",
    "ImageTowerSpec",
    "InvertedResidualSpec",
    "JointSequenceSpec",
    "LanguageHeadSpec",
    "LayerForm",
    "LayerSpec",
    "MBConvSpec",
    "MapHeadSpec",
    "MaxPoolSpec",
    "MixedHeadSpec",
    "MixingSpec",
    "MultiwayLayerSpec",
    "PaddedConvSpec",
    "PairHeadSpec",
    "Part",
    "PatchConvSpec",
    "PatchEmbeddingSpec",
    "PatchHeadSpec",
    "Policy",
    "PooledHeadSpec",
    "Precision",
    "ResizeSpec",
    "Scheme",
    "StitchSpec",
    "TextEmbeddingSpec",
    "TextHeadSpec",
    "TextTowerSpec",
    "TokenEmbeddingSpec",
    "TowerHeadSpec",
    "TransformerLayerSpec",
    "VocabularyHeadSpec",
    "WordEmbeddingSpec",
    "attention_part",
    "conv_part",
    "linear_part",
    "norm_part",
    "without_a_half",
]
