"""``POST /api/graphql``: real GraphQL over the world, with GitLab's errors and its limit on complexity.

Needs the package ``graphql-core``; the site loads this module with the first such request.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from graphql import (
    ASTValidationRule,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValidationRule,
    VariableNode,
    build_schema,
    execute_sync,
    get_named_type,
    get_operation_ast,
    parse,
    specified_rules,
    validate,
)

from collectors._standin.asking import Answer, Refusal
from collectors.gitlab.standin.graph import Graph
from collectors.gitlab.standin.graph_schema import SDL
from collectors.gitlab.standin.world import World

Json = dict[str, Any]
LIMIT = 250
_LONGEST = 10_000
_PAGE_SIZE = 100


class GraphqlApi:
    """Executes queries on *world*, in a schema without what ``Options.graphql_missing`` names."""

    def __init__(self, world: World, missing: Iterable[str]) -> None:
        self._graph = Graph(world)
        self._schema = build_schema(SDL)
        for name in missing:
            _take_out(self._schema, name)

    def answer(self, body: bytes) -> Answer:
        """The answer to a query, or to a list of them; mistakes in a query are answered with 200, too."""
        try:
            given = json.loads(body)
        except ValueError:
            raise Refusal(400, _errors("There was a problem in the JSON you submitted")) from None
        queries = given if isinstance(given, list) else [given]
        if not all(isinstance(query, dict) for query in queries):
            raise Refusal(400, _errors("Unexpected end of document"))
        if sum(len(str(query.get("query") or "")) for query in queries) > _LONGEST:
            raise Refusal(422, _errors("Query too large"))
        results = [self._execute(query) for query in queries]
        return Answer(results if isinstance(given, list) else results[0])

    def _execute(self, given: Json) -> Json:
        variables, name = given.get("variables") or {}, given.get("operationName")
        if not given.get("query"):
            return _errors("No query string was present")
        try:
            document = parse(str(given["query"]))
        except GraphQLError as error:
            return {"errors": [error.formatted]}
        mistakes = validate(self._schema, document, _RULES)
        if mistakes:
            return {"errors": [error.formatted for error in mistakes]}
        score = _Estimate(self._schema, document, variables).of(name)
        if score > LIMIT:
            return _errors(f"Query has complexity of {score}, which exceeds max complexity of {LIMIT}")
        result = execute_sync(
            self._schema,
            document,
            self._graph.root({"score": score, "limit": LIMIT}),
            context_value=set(),
            variable_values=variables,
            operation_name=name,
        )
        return dict(result.formatted)


def _errors(message: str) -> Json:
    return {"errors": [{"message": message}]}


def _take_out(schema: GraphQLSchema, name: str) -> None:
    """Remove ``Type.field`` or ``Type.field.argument``.

    Raises:
        ValueError: the schema does not hold it.
    """
    kind, _, rest = name.partition(".")
    field, _, argument = rest.partition(".")
    known = schema.type_map.get(kind)
    if not isinstance(known, GraphQLObjectType) or field not in known.fields:
        raise ValueError(f"no {name} in the schema")
    if not argument:
        del known.fields[field]
    elif known.fields[field].args.pop(argument, None) is None:
        raise ValueError(f"no {name} in the schema")


class _KnownFields(ValidationRule):
    """Tells an unknown field or argument as GitLab does, where clients look for it."""

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        parent, field = self.context.get_parent_type(), self.context.get_field_def()
        name = node.name.value
        if field is None and parent is not None:
            self._report(
                node,
                f"Field '{name}' doesn't exist on type '{parent.name}'",
                {"code": "undefinedField", "typeName": parent.name, "fieldName": name},
            )
        for given in (node.arguments or ()) if field else ():
            argument = given.name.value
            if field and argument not in field.args:
                self._report(
                    node,
                    f"Field '{name}' doesn't accept argument '{argument}'",
                    {
                        "code": "argumentNotAccepted",
                        "name": name,
                        "typeName": "Field",
                        "argumentName": argument,
                    },
                )

    def _report(self, node: FieldNode, message: str, more: Json) -> None:
        self.context.report_error(GraphQLError(message, node, extensions=more))


_OWN_WORDS = ("FieldsOnCorrectTypeRule", "KnownArgumentNamesRule")
_RULES: list[type[ASTValidationRule]] = [
    _KnownFields,
    *(rule for rule in specified_rules if rule.__name__ not in _OWN_WORDS),
]


class _Estimate:
    """How complex a query is, by GitLab's rule: 1 per field, a list costs 1 % more per row asked for.

    Source: GitLab, app/graphql/types/base_field.rb and app/graphql/resolvers/base_resolver.rb.
    """

    def __init__(self, schema: GraphQLSchema, document: DocumentNode, variables: Mapping[str, Any]) -> None:
        self._schema, self._document, self._variables = schema, document, variables
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }

    def of(self, name: str | None) -> int:
        """The score of the operation called *name*, or of the only one."""
        operation = get_operation_ast(self._document, name)
        if not isinstance(operation, OperationDefinitionNode):
            return 0
        return self._selections(operation.selection_set, self._schema.query_type)

    def _selections(self, chosen: SelectionSetNode | None, kind: GraphQLNamedType | None) -> int:
        total = 0
        for node in chosen.selections if chosen else ():
            if isinstance(node, FieldNode):
                total += self._field(node, kind)
            elif isinstance(node, FragmentSpreadNode):
                total += self._selections(self._fragments[node.name.value].selection_set, kind)
            elif isinstance(node, InlineFragmentNode):
                total += self._selections(node.selection_set, kind)
        return total

    def _field(self, node: FieldNode, kind: GraphQLNamedType | None) -> int:
        field = kind.fields.get(node.name.value) if isinstance(kind, GraphQLObjectType) else None
        if field is None:
            return 0
        inner = get_named_type(field.type)
        cost = 1 + self._selections(node.selection_set, inner)
        if inner.name.endswith("Connection"):
            cost += int(cost * self._rows(node) * 0.01)
        return cost

    def _rows(self, node: FieldNode) -> int:
        value = next((given.value for given in node.arguments or () if given.name.value == "first"), None)
        if isinstance(value, IntValueNode):
            return min(_PAGE_SIZE, int(value.value))
        if isinstance(value, VariableNode):
            asked = self._variables.get(value.name.value)
            return min(_PAGE_SIZE, asked) if isinstance(asked, int) else _PAGE_SIZE
        return _PAGE_SIZE
