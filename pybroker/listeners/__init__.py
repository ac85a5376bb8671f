"""The MQTT listeners: opened from the configuration, closed, restarted, and their certificates read again."""
