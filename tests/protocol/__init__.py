"""Bytes against a listener: each numbered behaviour of `tests.support.spec_rows` has its test here."""
