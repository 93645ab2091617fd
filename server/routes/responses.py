"""Answers of the framework's routes: JSON, and every problem in one shape."""

from blacksheep import Content, Response

from server.problems import PROBLEMS
from server.routes.family import json_bytes


def json_response(status: int, body: dict[str, object]) -> Response:
    """Any object."""
    return Response(status, None, Content(b"application/json", json_bytes(body)))


def problem_response(slug: str, detail: str | None = None) -> Response:
    """A problem in the admin family's shape: `{"message", "error"}`."""
    problem = PROBLEMS[slug]
    return json_response(problem.status, {"message": detail or problem.text, "error": problem.slug})
