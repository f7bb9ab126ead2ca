"""Graph -> engine of a GPU, built, kept and measured."""
