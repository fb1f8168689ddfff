"""Speed and memory, measured: kilonet beside PyTorch, JAX and the machine itself."""
