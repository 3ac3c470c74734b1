"""The GPU engine: kernels of CUDA C written for their shapes, and the library cuDNN.

An operation becomes a recipe, which is data; a device executes it. So the same kernels are compiled
and run on a GPU, executed thread by thread in a simulator, or only compiled and planned.
"""
