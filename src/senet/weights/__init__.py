"""Released checkpoints: key maps from other packages, and the preprocessing that belongs to a checkpoint."""
