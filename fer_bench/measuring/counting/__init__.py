"""Count parameters, MACs, activations and layers on meta tensors."""
