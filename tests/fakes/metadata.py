"""The metadata server of a Google machine: where Google's clients find their credentials."""

import base64
import json
import time
from typing import Any

from tests.local_server import Answer, LocalServer, Request, json_answer

ACCOUNTS = "/computeMetadata/v1/instance/service-accounts/"
FLAVOR = {"Metadata-Flavor": "Google"}
TOKEN_SECONDS = 3600


class FakeMetadata(LocalServer):
    """Gives a project, an account, access tokens and OIDC identity tokens."""

    def __init__(
        self, port: int = 0, *, project: str = "test-project", email: str = "runner@test-project.example.com"
    ) -> None:
        """Prepare the server; the e-mail must not end in `.gserviceaccount.com`, or tokens are refused."""
        super().__init__(port)
        self.project = project
        self.email = email
        self.access_token = "fake-access-token"

    def answer(self, request: Request) -> Answer:
        """Answer one look-up."""
        path = request.path.rstrip("/")
        texts = {
            "": "computeMetadata/",
            "/computeMetadata/v1/project/project-id": self.project,
            "/computeMetadata/v1/universe/universe-domain": "googleapis.com",
        }
        if path in texts:
            return _text(texts[path])
        account, _, question = path.removeprefix(ACCOUNTS).partition("/")
        if not path.startswith(ACCOUNTS) or account not in {"default", self.email}:
            return _text("Not found", 404)
        return self._about_account(question, request.query.get("audience"))

    def _about_account(self, question: str, audience: str | None) -> Answer:
        if question == "":
            scopes = ["https://www.googleapis.com/auth/cloud-platform"]
            value = {"email": self.email, "aliases": ["default"], "scopes": scopes}
            return json_answer(value, headers=FLAVOR)
        if question == "email":
            return _text(self.email)
        if question == "token":
            token = {"access_token": self.access_token, "expires_in": TOKEN_SECONDS, "token_type": "Bearer"}
            return json_answer(token, headers=FLAVOR)
        if question == "identity":
            return _text("audience is required", 400) if not audience else _text(self.identity_token(audience))
        return _text("Not found", 404)

    def identity_token(self, audience: str) -> str:
        """Give an OIDC token of the account, unsigned."""
        now = int(time.time())
        claims = {
            "iss": "https://accounts.google.com",
            "aud": audience,
            "email": self.email,
            "email_verified": True,
            "iat": now,
            "exp": now + TOKEN_SECONDS,
        }
        return f"{_encoded({'alg': 'RS256', 'typ': 'JWT'})}.{_encoded(claims)}.bm90LXNpZ25lZA"


def _text(text: str, status: int = 200) -> Answer:
    return Answer(status, text.encode(), {"Content-Type": "application/text", **FLAVOR})


def _encoded(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
