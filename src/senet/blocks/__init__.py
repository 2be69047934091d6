"""What a block computes: squeeze-and-excitation and the units it is put into."""
