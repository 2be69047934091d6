"""A frozen spec for each network, its assembly, and the table of names."""
