"""The smart home: events to an MQTT broker, and a Wyoming service that tells who spoke."""
