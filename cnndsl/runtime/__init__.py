"""From graph to program: kernels, lowering, memory, execution."""
