"""A client of the balancer's HTTP, which sends what the test says and nothing else."""

import http.client
import json

from .waiting import DEADLINE


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.fields = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def text(self):
        return self.body.decode()

    @property
    def json(self):
        assert self.fields["content-type"] == "application/json", self.text
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status}: {self.text}"


class HttpClient:
    """Asks the balancer at an address; each time by a connection of its own unless it is kept."""

    def __init__(self, address, token=None):
        self.address = address
        self.token = token

    def connection(self):
        return http.client.HTTPConnection(*self.address, timeout=DEADLINE)

    def ask(self, method, path, *, body=None, fields=None, connection=None):
        fields = dict(fields or {})
        if self.token:
            fields.setdefault("Authorization", f"Bearer {self.token}")
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            fields.setdefault("Content-Type", "application/json")
        link = connection or self.connection()
        try:
            link.request(method, path, body=body, headers=fields)
            return Answer(link.getresponse())
        finally:
            if connection is None:
                link.close()

    def get(self, path, **options):
        return self.ask("GET", path, **options)

    def post(self, path, body, **options):
        return self.ask("POST", path, body=body, **options)
