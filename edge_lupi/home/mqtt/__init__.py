"""MQTT: who speaks, as retained messages of a broker, with Home Assistant's discovery."""
