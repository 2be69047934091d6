"""The `senet` command: one short file per command."""
