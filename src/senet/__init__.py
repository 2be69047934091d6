"""Squeeze-and-Excitation networks for PyTorch (Hu et al., arXiv:1709.01507)."""

__version__ = "0.1.0"
