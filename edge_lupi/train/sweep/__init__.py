"""Arms x folds x seeds: what is run, and what was gained."""
