"""Every stable error code: its HTTP status and what it means. Clients match on the codes; none is ever renamed."""

from typing import NamedTuple


class Code(NamedTuple):
    """Status and meaning of one code.

    Args:
        status: HTTP status unless a route says otherwise.
        description: for people.
        is_listed: whether the catalogue of the API shows it, as EMQX's does.
    """

    status: int
    description: str
    is_listed: bool = True


CODES: dict[str, Code] = {
    "ALREADY_EXISTS": Code(409, "Resource already exists"),
    "API_KEY_NOT_ALLOW": Code(401, "API keys cannot use this path", False),
    "AUTHORIZATION_HEADER_ERROR": Code(401, "Authorization header is missing or cannot be read", False),
    "BAD_API_KEY_OR_SECRET": Code(401, "Bad API key or secret"),
    "BAD_CONFIG_SCHEMA": Code(400, "Configuration does not fit its schema"),
    "BAD_LISTENER_ID": Code(400, "Bad listener id"),
    "BAD_MFA_TOKEN": Code(401, "Code of the second factor is missing or wrong", False),
    "BAD_NODE_NAME": Code(400, "Bad node name"),
    "BAD_REQUEST": Code(400, "Request is invalid"),
    "BAD_RPC": Code(500, "Another node did not answer"),
    "BAD_TOKEN": Code(401, "Unknown token", False),
    "BAD_TOPIC": Code(400, "Topic is invalid"),
    "BAD_USERNAME_OR_PWD": Code(401, "Bad username or password"),
    "CLIENTID_NOT_FOUND": Code(404, "Client id not found"),
    "CLIENT_NOT_FOUND": Code(404, "Client not found, or not an MQTT client"),
    "CLIENT_NOT_RESPONSE": Code(500, "Client does not respond"),
    "CONFLICT": Code(409, "Conflicting request"),
    "DEPENDENCY_EXISTS": Code(400, "Resource is used by another one"),
    "DUPLICATE_CONDITION": Code(409, "The same is traced already", False),
    "ERROR_PWD_NOT_MATCH": Code(400, "Old password does not match", False),
    "EXCEED_LIMIT": Code(400, "Limit is exceeded"),
    "FORBIDDEN": Code(403, "Forbidden"),
    "INTERNAL_ERROR": Code(500, "Server internal error"),
    "INVALID_ACCEPT": Code(400, "Media type cannot be given", False),
    "INVALID_ID": Code(400, "Bad id"),
    "INVALID_PARAMETER": Code(400, "Invalid parameter"),
    "INVALID_PARAMS": Code(400, "Invalid parameters of a trace", False),
    "INVALID_PARAMTER": Code(400, "Invalid topic filter; spelt as clients expect it", False),
    "LOGIN_LOCKED": Code(401, "Account is locked for a while", False),
    "MESSAGE_ID_NOT_FOUND": Code(404, "Message id does not exist"),
    "MESSAGE_ID_SCHEMA_ERROR": Code(400, "Message id cannot be read"),
    "MFA_LOCKED": Code(403, "Second factor is required by an administrator", False),
    "MFA_MGMT_REQUIRED": Code(403, "Scope mfa_management is required", False),
    "MFA_SELF_ONLY": Code(403, "Only the own second factor may be changed", False),
    "NODE_DOWN": Code(500, "No such node is running", False),
    "NOT_ALLOWED": Code(400, "Account is protected", False),
    "NOT_FOUND": Code(404, "Resource was not found"),
    "NOT_MATCH": Code(400, "Conditions do not match"),
    "NO_DEFAULT_VALUE": Code(400, "There is no default value"),
    "PAYLOAD_TOO_LARGE": Code(413, "Request body is too large", False),
    "REQUEST_TIMEOUT": Code(408, "Request body did not arrive in time", False),
    "RESET_FAILED": Code(400, "Reset failed"),
    "RESOURCE_NOT_FOUND": Code(404, "Resource not found"),
    "SERVICE_UNAVAILABLE": Code(503, "Service unavailable"),
    "SOURCE_ERROR": Code(400, "Source error"),
    "STALE_CURSOR": Code(400, "Position is one of a file that is gone", False),
    "TOKEN_TIME_OUT": Code(401, "Token has expired", False),
    "TOO_MANY_REQUESTS": Code(429, "Too many attempts, try again later", False),
    "TOPIC_NOT_FOUND": Code(404, "Topic not found"),
    "UNAUTHORIZED_ROLE": Code(403, "Role or scope does not permit", False),
    "UNSUPPORTED_MEDIA_TYPE": Code(415, "Unsupported media type"),
    "UPDATE_FAILED": Code(400, "Update failed"),
    "USER_NOT_FOUND": Code(404, "User not found"),
    "WRONG_TOKEN_OR_USERNAME": Code(401, "Token belongs to another user", False),
}
