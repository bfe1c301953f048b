"""What comes into a build: config language, PyTorch models and their export, checkpoints."""
