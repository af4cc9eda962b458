"""Real networks: ensembles of batch-normalised perceptrons and convolutional nets under SGD, all norms kept."""

from sdetheory.networks.activations import Gelu, Linear, Relu, Sigmoid, Tanh
from sdetheory.networks.builders import conv_net, mlp
from sdetheory.networks.chain import Residual
from sdetheory.networks.convolution import Conv, Flat, Images, MaxPool, MeanPool
from sdetheory.networks.data import Data, digits, labelled
from sdetheory.networks.evaluation import evaluate, predict
from sdetheory.networks.groups import Group
from sdetheory.networks.image_files import cifar10, from_npz, mnist
from sdetheory.networks.instruments import Angle, Instrument, Norms, Step
from sdetheory.networks.layers import BatchNorm, Dense, Layer, Leaf
from sdetheory.networks.leak import radial_leak
from sdetheory.networks.network import Network
from sdetheory.networks.noise import (
    NoiseEstimate,
    SignalAndNoise,
    batch_gradients,
    noise_estimate,
    per_sample_gradients,
    signal_and_noise,
)
from sdetheory.networks.noise_ratios import InputSpan, eigen_noise_ratio, noise_ratio, patches, signal_to_noise
from sdetheory.networks.norm_law import NormLaw
from sdetheory.networks.pieces import train_in_pieces
from sdetheory.networks.record import TrainingRecord
from sdetheory.networks.regularity import BestIterate, Regularity, replayed
from sdetheory.networks.replay import ReplayedRate
from sdetheory.networks.rescaling import WeightRescaling
from sdetheory.networks.spans import Span, clusters, embedded, input_span, random_span, shifted
from sdetheory.networks.sphere import SphereRecord, train_on_sphere
from sdetheory.networks.state import TrainingState
from sdetheory.networks.training import train

__all__ = [
    "Angle", "BatchNorm", "BestIterate", "Conv", "Data", "Dense", "Flat", "Gelu", "Group", "Images",
    "InputSpan", "Instrument", "Layer", "Leaf", "Linear", "MaxPool", "MeanPool", "Network", "NoiseEstimate",
    "NormLaw", "Norms", "Regularity", "Relu", "ReplayedRate", "Residual", "Sigmoid", "SignalAndNoise", "Span",
    "SphereRecord", "Step", "Tanh", "TrainingRecord", "TrainingState", "WeightRescaling", "batch_gradients",
    "cifar10", "clusters", "conv_net", "digits", "eigen_noise_ratio", "embedded", "evaluate", "from_npz",
    "input_span", "labelled", "mlp", "mnist", "noise_estimate", "noise_ratio", "patches",
    "per_sample_gradients", "predict", "radial_leak", "random_span", "replayed", "shifted", "signal_and_noise",
    "signal_to_noise", "train", "train_in_pieces", "train_on_sphere",
]  # fmt: skip
