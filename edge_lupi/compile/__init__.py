"""From a trained student to a bundle: graphs, int8 ranges written for each target, and the choice of a precision."""
