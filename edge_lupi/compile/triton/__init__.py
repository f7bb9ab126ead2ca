"""Triton: a bundle as a model repository of NVIDIA's inference server, for many microphones on one machine."""
