"""What happens around every request: headers, path, errors, authentication, audit."""
