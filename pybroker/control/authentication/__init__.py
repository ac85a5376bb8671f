"""Authentication of MQTT clients as operators see it: authenticators, and the users of the broker's own database."""
