"""Parts that tests share: wire client, broker process, cutting proxy, clock, certificates, statement table."""
