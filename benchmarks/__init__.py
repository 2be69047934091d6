"""The speed that senet claims, measured beside its peers; each script writes rows to `results/`."""
