"""PyTorch modules to the IR, by torch.export."""
