"""Voice activity detection: by energy, and by Silero VAD."""
