"""A service: sound comes over WebSockets, events go back; many streams at once, each with its own clock."""
