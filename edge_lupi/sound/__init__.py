"""Sound files, pipes and headers of any kind -> 16 kHz mono."""
