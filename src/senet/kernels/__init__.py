"""How the costly passes run. `reference.py` is plain PyTorch and the truth."""
