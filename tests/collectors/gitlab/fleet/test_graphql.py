"""What GraphQL's ways of saying no mean, and how its pages are turned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from collectors._http import NotThere
from collectors.gitlab.fleet.graphql import GraphQL, NoGraphQL
from exporter.errors import BadAnswer, SourceError

SECRET = "glpat-secret"


def page(*nodes: int, after: str | None = None) -> dict[str, Any]:
    info = {"hasNextPage": after is not None, "endCursor": after}
    return {"data": {"jobs": {"pageInfo": info, "nodes": [{"id": node} for node in nodes]}}}


def refusal(message: str) -> dict[str, Any]:
    return {"data": {"jobs": None}, "errors": [{"message": f"{message} {SECRET}"}]}


def numbers(graphql: GraphQL, operation: str = "jobs") -> list[int]:
    return [node["id"] for nodes in graphql.pages(operation, "query", "jobs") for node in nodes]


class Server:
    """Answers one after the other, and notes what page was asked for."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[int, str | None]] = []

    def __call__(self, _operation: str, question: Mapping[str, Any]) -> Any:
        variables = question["variables"]
        self.asked.append((variables["first"], variables["after"]))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def read(self, per_page: int = 100) -> list[int]:
        return numbers(GraphQL(self, per_page))


def test_pages_are_turned_to_the_last() -> None:
    server = Server(page(1, 2, after="x"), page(after="y"), page(3))
    assert server.read() == [1, 2, 3]
    assert server.asked == [(100, None), (100, "x"), (100, "y")]


@pytest.mark.parametrize("cursor", ["x", None])
def test_a_page_that_comes_twice_is_a_bad_answer(cursor: str | None) -> None:
    again = page(1, after="x")
    again["data"]["jobs"]["pageInfo"]["endCursor"] = cursor
    with pytest.raises(BadAnswer, match="the same page came twice"):
        Server(page(1, after="x"), again).read()


def test_a_page_that_is_too_complex_is_asked_for_in_halves() -> None:
    too_much = {"errors": [{"message": "Query has complexity of 300, which exceeds max complexity of 250"}]}
    server = Server(too_much, too_much, page(1, after="x"), page(2))
    assert server.read() == [1, 2]
    assert server.asked == [(100, None), (50, None), (25, None), (25, "x")]


def test_pages_stay_small_for_that_question_until_they_are_to_be_whole_again() -> None:
    too_much = {"errors": [{"message": "exceeds max complexity"}]}
    server = Server(too_much, page(1), page(2), page(3), page(4))
    graphql = GraphQL(server, 100)
    assert (numbers(graphql), numbers(graphql), numbers(graphql, "others")) == ([1], [2], [3])
    graphql.forget()
    assert numbers(graphql) == [4]
    assert [first for first, _ in server.asked] == [100, 50, 50, 100, 100]


def test_a_question_that_is_too_complex_for_one_runner_is_no_way() -> None:
    with pytest.raises(NoGraphQL):
        Server({"errors": [{"message": "exceeds max complexity"}]}).read(per_page=1)


@pytest.mark.parametrize(
    "answer",
    [
        NotThere("jobs answered 404", 404),
        NotThere("jobs answered 403", 403),
        {"data": {"jobs": None}},
        {"data": None, "errors": [{"message": "?"}]},
        refusal("Field 'jobs' doesn't exist on type 'Query'"),
        refusal("Field 'jobs' doesn't accept argument 'statuses'"),
        refusal("The resource that you are attempting to access does not exist or you don't have permission"),
    ],
)
def test_a_question_that_cannot_be_asked_here_is_left_to_rest(answer: Any) -> None:
    with pytest.raises(NoGraphQL) as told:
        Server(answer).read()
    assert SECRET not in str(told.value)


@pytest.mark.parametrize("message", ["Internal server error", "Request timed out", "Too many requests"])
def test_a_server_that_fails_is_asked_again_at_the_next_poll(message: str) -> None:
    with pytest.raises(SourceError) as told:
        Server(refusal(message)).read()
    assert not isinstance(told.value, NoGraphQL)
    assert SECRET not in str(told.value)


@pytest.mark.parametrize(
    "answer", [None, [], "x", {}, {"data": 1}, {"data": {"jobs": 1}}, {"errors": 1}, {"errors": [1]}]
)
def test_an_answer_of_another_shape_is_bad(answer: Any) -> None:
    with pytest.raises(BadAnswer):
        Server(answer).read()


@pytest.mark.parametrize("errors", [[], [{"message": "Request timed out"}]])
def test_a_page_whose_nodes_are_missing_is_not_an_empty_one(errors: list[dict[str, str]]) -> None:
    answer = page(after="x") | {"errors": errors}
    answer["data"]["jobs"]["nodes"] = None
    with pytest.raises(SourceError) as told:
        Server(answer).read()
    assert not isinstance(told.value, NoGraphQL)


def test_errors_beside_an_answer_do_not_spoil_it() -> None:
    assert Server(page(1) | {"errors": [{"message": "no access to managers"}]}).read() == [1]
