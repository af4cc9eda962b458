"""Real networks: batch-normalised perceptrons as ensembles, trained by SGD with weight decay, every norm recorded."""

from sdetheory.networks.data import Data, digits, labelled
from sdetheory.networks.groups import Group
from sdetheory.networks.layers import BatchNorm, Dense, Linear, Relu, Tanh
from sdetheory.networks.network import Network, mlp
from sdetheory.networks.record import TrainingRecord
from sdetheory.networks.training import train

__all__ = [
    "BatchNorm", "Data", "Dense", "Group", "Linear", "Network", "Relu", "Tanh", "TrainingRecord",
    "digits", "labelled", "mlp", "train",
]  # fmt: skip
