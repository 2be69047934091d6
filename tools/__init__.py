"""Scripts for those who work on senet."""
