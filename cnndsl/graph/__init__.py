"""The graph of a network: types, operations, gradients, and what it costs."""
