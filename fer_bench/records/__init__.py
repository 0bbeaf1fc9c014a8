"""What is written down: plans, results, units, the store; imports neither networks nor PyTorch."""
