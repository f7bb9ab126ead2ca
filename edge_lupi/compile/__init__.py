"""From a trained student to a bundle: graphs, one quantisation grid for every target, the gate."""
