"""Connection to the archive: server, token, timeouts and retries. The token is never logged, shown or written."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from lyot.errors import ConfigError

if TYPE_CHECKING:
    import requests

MAST: Final = "https://mast.stsci.edu"
"""The archive's own server."""

TOKEN_VARIABLE: Final = "MAST_API_TOKEN"
"""Environment variable with the token for data under exclusive access."""

SERVER_VARIABLE: Final = "LYOT_MAST_SERVER"
"""Environment variable that names another server with the archive's interface, such as a mirror."""

BUSY: Final = (429, 500, 502, 503, 504)
"""HTTP states after which it is worth trying again."""

_LONGEST_PAUSE = 60.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Connection:
    """Server, token, timeouts and retries.

    Attributes
    ----------
    server : str
        Address without a trailing slash.
    token : str or None
        For data under exclusive access; not part of the printed form.
    timeout : float
        Longest wait for the next bytes, s.
    tries : int
        How often a request is tried in all.
    pause : float
        Wait before the second try, s; doubles with each further one.
    """

    server: str = MAST
    token: str | None = field(default=None, repr=False)
    timeout: float = 60.0
    tries: int = 4
    pause: float = 1.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.server)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                f"The address of the archive, {self.server!r}, is not an http or https address; correct "
                f"{SERVER_VARIABLE}."
            )
        if parts.scheme == "http" and self.token and parts.hostname not in _LOOPBACK:
            raise ConfigError(f"The token is not sent to {self.server} unencrypted; use an https address.")

    def wait(self, attempt: int) -> float:
        """Pause before the next try.

        Parameters
        ----------
        attempt : int
            Number of the try that failed, from 1.

        Returns
        -------
        float
            `pause`, doubled with each try, at most 60 s.

        Examples
        --------
        >>> [Connection(pause=1.0).wait(attempt) for attempt in (1, 2, 3, 10)]
        [1.0, 2.0, 4.0, 60.0]
        """
        return float(min(self.pause * 2 ** (attempt - 1), _LONGEST_PAUSE))


def connection_from_environment(**changes: Any) -> Connection:
    """The connection that MAST_API_TOKEN and LYOT_MAST_SERVER describe.

    Parameters
    ----------
    **changes
        Attributes of `Connection` that go before the environment.

    Returns
    -------
    Connection

    Examples
    --------
    >>> from lyot.archive import connection_from_environment
    >>> connection_from_environment(server="https://mast.example.org", tries=2).tries
    2
    """
    settings: dict[str, Any] = {
        "server": (os.environ.get(SERVER_VARIABLE) or MAST).rstrip("/"),
        "token": os.environ.get(TOKEN_VARIABLE, "").strip() or None,
    }
    return Connection(**{**settings, **changes})


def new_session(connection: Connection, *, with_token: bool = False) -> requests.Session:
    """Open a session with the timeouts of the connection.

    Parameters
    ----------
    connection : Connection
    with_token : bool, optional
        Send the token. It is in the header that is dropped when the server refers to another host.
    """
    import requests

    session = requests.Session()
    session.headers["User-Agent"] = "lyot"
    limit_waiting(session, connection)
    if with_token and connection.token:
        session.headers["Authorization"] = f"token {connection.token}"
    return session


def limit_waiting(session: requests.Session, connection: Connection) -> None:
    """Apply the timeout of the connection to all requests of a session that have none."""
    from requests.adapters import HTTPAdapter

    class Patient(HTTPAdapter):
        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            if kwargs.get("timeout") is None:
                kwargs["timeout"] = connection.timeout
            return super().send(request, *args, **kwargs)

    session.mount("https://", Patient())
    session.mount("http://", Patient())


def pause_before_retry(connection: Connection, attempt: int, answer: requests.Response | None = None) -> float:
    """How long to wait after a failed try: longer each time, or as long as the server asks for, at most a minute.

    Parameters
    ----------
    connection : Connection
    attempt : int
        Number of the failed try, from 1.
    answer : requests.Response, optional
        What the server said.

    Returns
    -------
    float
        Seconds.
    """
    asked = answer.headers.get("Retry-After", "") if answer is not None else ""
    return min(float(asked), _LONGEST_PAUSE) if asked.isdigit() else connection.wait(attempt)
