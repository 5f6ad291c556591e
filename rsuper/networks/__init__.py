"""Networks: a name and a size become a module; weights are safetensors with JSON beside them."""

from rsuper.networks.build import Network, NetworkConfig, build_network

__all__ = ["Network", "NetworkConfig", "build_network"]
