"""Recipe, loop and checkpoint for one network."""
