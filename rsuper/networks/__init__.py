"""Networks: a name and a size become a module; weights are safetensors with JSON inside."""

from rsuper.networks.build import Network, NetworkConfig, build_network
from rsuper.networks.device import require_device
from rsuper.networks.inference import predict_probabilities
from rsuper.networks.weights import load_into, load_weights, own_tensors, save_weights

__all__ = [
    "Network",
    "NetworkConfig",
    "build_network",
    "load_into",
    "load_weights",
    "own_tensors",
    "predict_probabilities",
    "require_device",
    "save_weights",
]
