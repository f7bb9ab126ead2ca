"""The listening side: microphone -> ring -> speech gate -> segments -> encoder -> aggregator -> events. No torch."""
