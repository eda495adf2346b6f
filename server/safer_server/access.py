"""Who may do what: the key of a request, its scope, its rate and its place, checked before the body is read."""

from collections.abc import AsyncIterator

from fastapi import Request
from fastapi.params import Depends

from safer_server.errors import InvalidKeyError, RateLimitError, ScopeError
from safer_server.keys import KeyEntry, Keys, Scope
from safer_server.quotas import Quotas


class Access:
    """The keys and what is left to them."""

    def __init__(self, keys: Keys, quotas: Quotas) -> None:
        self._keys = keys
        self._quotas = quotas

    def require(self, scope: Scope) -> Depends:
        """Open a router to keys of this scope alone, or to everybody where there are no keys."""
        return Depends(Permit(scope, self._keys, self._quotas))


class Permit:
    """Lets a request pass, and holds its place until the whole response has been sent or the client is gone."""

    def __init__(self, scope: Scope, keys: Keys, quotas: Quotas) -> None:
        self.scope = scope
        self._keys = keys
        self._quotas = quotas

    async def __call__(self, request: Request) -> AsyncIterator[None]:
        """Check a request; the name of its key is then in `request.state.caller`, None on an open server."""
        request.state.caller = None
        if self._keys.is_open:
            yield
            return
        key = self._key_of(request)
        request.state.caller = key.name
        if self.scope not in key.scopes:
            raise ScopeError(f"This key does not have the scope {self.scope}.")
        window = await self._quotas.count(key)
        if window is not None:
            request.state.response_headers.update(window.headers)
            if not window.allowed:
                message = f"This key has no more than {key.rate} requests, and none of them is left."
                raise RateLimitError(message, window.reset_seconds)
        async with self._quotas.place(key):
            yield

    def _key_of(self, request: Request) -> KeyEntry:
        """Find the key; `Authorization` goes before `x-api-key`."""
        kind, _, credentials = request.headers.get("authorization", "").partition(" ")
        given = credentials.strip() if kind.lower() == "bearer" else request.headers.get("x-api-key")
        key = self._keys.find(given) if given else None
        if key is None:
            raise InvalidKeyError("This server asks for an API key that it knows: Authorization: Bearer KEY.")
        return key
