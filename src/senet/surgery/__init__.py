"""Models somebody else built: senet's fused kernels put into them."""
