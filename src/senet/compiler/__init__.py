"""``torch.compile(model, backend="senet")``: what in a graph becomes one fused operator."""
