"""A web service that is asked about clients: the request from its templates, the connections, and the answer's fields.

Logins and access control ask in the same way and differ in what they know and in what an answer means; both live in
their own modules. A service that does not answer is a value here, never an exception.
"""

import ssl
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol
from urllib.parse import parse_qsl, quote, urlencode

import httpx
import msgspec
import structlog

from pybroker.config.sections.access import HttpSslOptions
from pybroker.config.units import Duration
from pybroker.variform.contexts import Context
from pybroker.variform.template import Template, TemplateValues

logger = structlog.get_logger(__name__)

MAX_ANSWER_BYTES = 1 << 20

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


class WebServiceSettings(Protocol):
    """Keys that a login service and a source of rules have in common."""

    @property
    def method(self) -> str: ...  # noqa: D102 - as the configuration says
    @property
    def url(self) -> str: ...  # noqa: D102
    @property
    def headers(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def body(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def pool_size(self) -> int: ...  # noqa: D102
    @property
    def connect_timeout(self) -> Duration: ...  # noqa: D102
    @property
    def request_timeout(self) -> Duration: ...  # noqa: D102
    @property
    def ssl(self) -> HttpSslOptions: ...  # noqa: D102


class Question(NamedTuple):
    """One request, rendered; equal questions have equal answers.

    Args:
        target: path and query.
        headers: name and value.
        body: empty for `get`.
    """

    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""


class Answer(NamedTuple):
    """What came back.

    Args:
        status: of HTTP.
        fields: of the body, JSON or form; `None`: it has another form.
    """

    status: int
    fields: Mapping[str, object] | None


class WebService:
    """One service.

    Args:
        settings: its part of the configuration.
        context: placeholders that its templates may have.
        transport: carries the requests; `None`: the network.

    Raises:
        ValueError: the settings cannot be; the text begins with the key.
    """

    def __init__(
        self, settings: WebServiceSettings, context: Context, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        base, target = _split(settings)
        path, _, query = target.partition("?")
        self._is_post = settings.method == "post"
        self._path = Template(path, context)
        self._query = [(name, Template(value, context)) for name, value in parse_qsl(query, keep_blank_values=True)]
        fields = [(name, Template(value, context)) for name, value in settings.body.items()]
        self._fields = fields if self._is_post else []
        if not self._is_post:
            self._query += fields
        self._headers = [(name.lower(), Template(value, context)) for name, value in settings.headers.items()]
        self._media_type = _media_type(settings)
        self._extensions = sent_with(settings.ssl)
        self._is_closing, self._pending = False, 0
        self.is_connected = True
        self._client = httpx.AsyncClient(
            base_url=base,
            timeout=httpx.Timeout(
                settings.request_timeout / 1_000,
                connect=min(settings.connect_timeout, settings.request_timeout) / 1_000,
            ),
            limits=httpx.Limits(max_connections=settings.pool_size, max_keepalive_connections=settings.pool_size),
            verify=tls_context(settings.ssl),
            transport=transport,
            trust_env=False,
        )

    def question(self, values: Mapping[str, str | None], attributes: Mapping[str, str]) -> Question | None:
        """Return the request for one client; `None`: a header of it would hold a line break.

        A value that is missing is the empty text.
        """
        plain = _renderer(values, attributes, lambda text: text)
        path = _renderer(values, attributes, lambda text: quote(text, safe=""))(self._path)
        query = urlencode([(name, plain(template)) for name, template in self._query], quote_via=quote)
        headers = [(name, plain(template)) for name, template in self._headers]
        if any(not {"\r", "\n", "\0"}.isdisjoint(value) for _, value in headers):
            return None
        body = b""
        if self._is_post:
            fields = {name: plain(template) for name, template in self._fields}
            body = msgspec.json.encode(fields) if self._media_type == JSON else urlencode(fields).encode()
            if all(name != "content-type" for name, _ in headers):
                headers.append(("content-type", self._media_type))
        return Question(f"{path}?{query}" if query else path, tuple(headers), body)

    async def ask(self, question: Question) -> Answer | None:
        """Send a request and return the answer; `None`: there is none, or it cannot be used."""
        self._pending += 1
        try:
            reply = await self._client.request(
                "POST" if self._is_post else "GET",
                question.target,
                headers=[(name.encode(), value.encode()) for name, value in question.headers],
                content=question.body or None,
                extensions=self._extensions,
            )
            self.is_connected = True
            return Answer(reply.status_code, _fields_of(reply))
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
            self.is_connected = False
            logger.warning("web_service_failed", url=str(self._client.base_url), reason=type(error).__name__)
            return None
        finally:
            self._pending -= 1
            if self._is_closing and not self._pending:
                await self._client.aclose()

    async def aclose(self) -> None:
        """Close the connections once requests under way are answered."""
        self._is_closing = True
        if not self._pending:
            await self._client.aclose()


def tls_context(options: HttpSslOptions) -> ssl.SSLContext | bool:
    """Return how a server is verified; blocks for the files.

    Raises:
        ValueError: a file cannot be read.
    """
    if not options.enable:
        return False
    try:
        context = ssl.create_default_context(cafile=options.cacertfile or None)
        if options.certfile:
            context.load_cert_chain(options.certfile, options.keyfile or None)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"ssl: certificates cannot be read: {error}") from None
    if options.verify == "verify_none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def sent_with(options: HttpSslOptions) -> dict[str, str]:
    """Return the extensions of every request: the name that TLS asks for and verifies, if it is not the host."""
    name = options.server_name_indication
    return {"sni_hostname": name} if options.enable and name else {}


def _split(settings: WebServiceSettings) -> tuple[str, str]:
    """Return scheme with authority, and path with query."""
    scheme, separator, rest = settings.url.partition("://")
    if not separator or scheme not in ("http", "https"):
        raise ValueError("url: must begin with http:// or https://")
    if scheme == "https" and not settings.ssl.enable:
        raise ValueError("url: https needs ssl.enable = true")
    cut = min((rest.find(mark) for mark in "/?" if mark in rest), default=len(rest))
    authority, target = rest[:cut], rest[cut:]
    if not authority or "${" in authority:
        raise ValueError("url: must name a host; placeholders may stand behind it")
    return f"{scheme}://{authority}", target if target.startswith("/") else f"/{target}"


def _media_type(settings: WebServiceSettings) -> str:
    given = next((value for name, value in settings.headers.items() if name.lower() == "content-type"), None)
    if settings.method == "get":
        if given is not None:
            raise ValueError("headers: content-type is not allowed with method get")
        return ""
    media_type = (given or JSON).partition(";")[0].strip().lower()
    if media_type not in (JSON, FORM):
        raise ValueError(f"headers: content-type must be {JSON} or {FORM}")
    return media_type


def _renderer(
    values: Mapping[str, str | None], attributes: Mapping[str, str], escape: Callable[[str], str]
) -> Callable[[Template], str]:
    """Return what renders a template with every value escaped."""

    def render(template: Template) -> str:
        if template.is_constant:
            return template.render(TemplateValues({}, {}))
        known: dict[str, str | None] = {}
        shown: dict[str, str] = {}
        for name in template.names:
            head, _, attribute = name.partition("client_attrs.")
            if attribute and not head:
                shown[attribute] = escape(attributes.get(attribute, ""))
            else:
                known[name] = escape(values.get(name) or "")
        return template.render(TemplateValues(known, shown))

    return render


def _fields_of(reply: httpx.Response) -> Mapping[str, object] | None:
    media_type = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    if len(reply.content) > MAX_ANSWER_BYTES:
        return None
    try:
        if media_type == JSON:
            fields = msgspec.json.decode(reply.content)
            return fields if isinstance(fields, dict) else None
        if media_type == FORM:
            return dict(parse_qsl(reply.text, keep_blank_values=True, strict_parsing=True))
    except (ValueError, RecursionError):
        return None
    return None
