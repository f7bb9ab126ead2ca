"""Wyoming: a speech-to-text service that stands before another one and adds who spoke."""
