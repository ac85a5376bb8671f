"""One small adapter for each MQTT client library, so that a scenario is written once."""
