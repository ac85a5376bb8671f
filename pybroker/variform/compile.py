"""From the text of an expression to something that runs: parsed once, compiled to closures.

All that can be known without variables is checked here: syntax, functions, numbers of arguments, names of variables
that the place of the expression does not have. Any text is accepted or refused in time linear in its length; there is
no `eval`, and nothing is looked up by name outside the tables of `functions.py`.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from importlib import resources

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from pybroker.clock import Clock
from pybroker.variform import closures
from pybroker.variform.closures import Node, Run
from pybroker.variform.contexts import Context
from pybroker.variform.errors import (
    CompileReason,
    EvaluationError,
    ExpressionError,
    Failure,
    Mistake,
    Notice,
    Position,
)
from pybroker.variform.functions import COALESCE, FORBIDDEN_MODULES, IIF, IS_EMPTY, Function, make_tables
from pybroker.variform.patterns import PatternCall
from pybroker.variform.surroundings import Surroundings
from pybroker.variform.values import Bindings, to_result

MAX_EXPRESSION_BYTES = 16_384
"""Longest text of an expression; one of this size compiles in about a tenth of a second."""

MAX_DEPTH = 64
"""Calls and arrays that may stand inside each other; keeps evaluation far from the interpreter's own limit."""

MAX_DIGITS = 1_000
"""Longest literal number, far below what the interpreter refuses to convert."""


class Expression:
    """A compiled expression; immutable, and good for any number of evaluations.

    Args:
        text: as it was written.
        notices: what is allowed but hardly meant, in the order of the text.
        root: the compiled form.
        clock: measures evaluations.
    """

    __slots__ = ("_clock", "_root", "notices", "text")

    def __init__(self, text: str, notices: tuple[Notice, ...], root: Node, clock: Clock) -> None:
        self.text = text
        self.notices = notices
        self._root = root
        self._clock = clock

    def evaluate(self, bindings: Bindings) -> str | Failure:
        """Return the result, or why there is none; never raises.

        Takes little more than 10 ms of processor time and 1 MiB at most: what would take more is a failure.
        """
        try:
            return to_result(self._root(Run(bindings, self._clock)))
        except EvaluationError as error:
            return Failure(error.reason, error.detail)
        except Mistake as mistake:
            return Failure(mistake.reason, mistake.detail)
        except (ArithmeticError, ValueError, RecursionError):
            return Failure("exception", "")


class Compiler:
    """Parses and compiles expressions; one is enough for a process, because it holds the parser's tables.

    Args:
        clock: for the limit of processor time and the functions that tell the time.
        environ: the environment that `getenv` reads, as it is now.
        entropy: source of random bytes.
    """

    def __init__(
        self,
        clock: Clock,
        environ: Mapping[str, str] = os.environ,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        grammar = resources.files(__package__).joinpath("grammar.lark").read_text(encoding="utf-8")
        self._parser = Lark(grammar, parser="lalr", lexer="basic", propagate_positions=True)
        self._tables = make_tables(Surroundings(clock, environ, entropy))
        self._clock = clock

    def compile(self, text: str, context: Context | None = None) -> Expression:
        """Compile an expression; cost linear in its length.

        Args:
            context: the names that will be bound; a variable outside of them earns a notice. `None`: not known.

        Raises:
            ExpressionError: syntax, an unknown function or module, or a wrong number of arguments, with its position.
        """
        self._check_text(text)
        try:
            tree = self._parser.parse(text)
        except UnexpectedInput as error:
            raise _explain(text, error) from None
        builder = _Builder(text, self._tables, context)
        root = builder.build(tree.children[0], 0)
        return Expression(text, tuple(builder.notices), root, self._clock)

    def _check_text(self, text: str) -> None:
        try:
            length = len(text.encode())
        except UnicodeEncodeError as error:
            message = "character is not valid in UTF-8"
            raise ExpressionError("syntax_error", message, Position.of(text, error.start)) from None
        if length > MAX_EXPRESSION_BYTES:
            message = f"expression must have at most {MAX_EXPRESSION_BYTES} bytes"
            raise ExpressionError("syntax_error", message, Position.of(text, 0))


def _explain(text: str, error: UnexpectedInput) -> ExpressionError:
    if isinstance(error, UnexpectedCharacters):
        at = _find_offset(text, error.line, error.column)
        message = "text has no end" if text[at] in "'\"" else f"unexpected character: {text[at]!r}"
    elif isinstance(error, UnexpectedToken) and error.token.type != "$END":
        at = error.token.start_pos or 0
        message = f"unexpected {str(error.token)!r}"
    else:
        at = len(text)
        message = "expression ends too early" if text.strip() else "expression is empty"
    return ExpressionError("syntax_error", message, Position.of(text, at))


def _find_offset(text: str, line: int, column: int) -> int:
    before = text.split("\n")[: line - 1]
    return sum(map(len, before)) + len(before) + column - 1


class _Builder:
    """Walks one tree and makes its nodes."""

    def __init__(self, text: str, tables: Mapping[str, Mapping[str, Function]], context: Context | None) -> None:
        self._text = text
        self._tables = tables
        self._context = context
        self.notices: list[Notice] = []

    def build(self, part: Tree[Token] | Token, depth: int) -> Node:
        """Return the node of a literal, variable, array or call."""
        if isinstance(part, Token):
            return self._literal(part)
        start = part.meta.start_pos
        if depth > MAX_DEPTH:
            raise self._error("syntax_error", f"expression is nested deeper than {MAX_DEPTH}", start)
        if part.data == "array":
            return closures.make_array([self.build(item, depth + 1) for item in part.children])
        name = str(part.children[0])
        if part.data == "variable":
            return self._variable(name, start)
        return self._call(name, part.children[1:], start, depth)

    def _error(self, reason: CompileReason, message: str, start: int) -> ExpressionError:
        return ExpressionError(reason, message, Position.of(self._text, start))

    def _notice(self, message: str, start: int) -> None:
        self.notices.append(Notice(message, Position.of(self._text, start)))

    def _literal(self, token: Token) -> Node:
        # A literal boolean is a text from the start.
        if token.type == "BOOLEAN":
            return closures.make_constant(str(token))
        if token.type == "STRING":
            return closures.make_constant(str(token[1:-1]))
        start = token.start_pos or 0
        if len(token) > MAX_DIGITS:
            raise self._error("syntax_error", f"number has more than {MAX_DIGITS} characters", start)
        number = float(token) if token.type == "FLOAT" else int(token)
        if number in {math.inf, -math.inf}:
            raise self._error("syntax_error", "number is too large", start)
        return closures.make_constant(number)

    def _variable(self, name: str, start: int) -> Node:
        if self._context is not None and not self._context.knows(name):
            self._notice(f"variable is not known here: {name!r}", start)
        return closures.make_variable(name)

    def _call(self, name: str, arguments: Sequence[Tree[Token] | Token], start: int, depth: int) -> Node:
        function = self._find(name, start)
        if len(arguments) not in function.arities:
            message = f"function {name!r} does not take this number of arguments: {len(arguments)}"
            raise self._error("unknown_variform_function", message, start)
        if function is COALESCE:
            return self._coalesce(arguments, depth)
        nodes = [self.build(argument, depth + 1) for argument in arguments]
        if function is IIF:
            return closures.make_iif(*nodes)
        if function is IS_EMPTY:
            return closures.make_is_empty(*nodes)
        implementation = function.make()
        if isinstance(implementation, PatternCall):
            self._prepare_pattern(implementation, arguments[1])
        return closures.make_call(name, implementation, nodes)

    def _coalesce(self, arguments: Sequence[Tree[Token] | Token], depth: int) -> Node:
        only = arguments[0] if len(arguments) == 1 else None
        if only is None:
            return closures.make_coalesce([self.build(argument, depth + 1) for argument in arguments])
        if isinstance(only, Tree) and only.data == "array":
            return closures.make_coalesce([self.build(item, depth + 2) for item in only.children])
        return closures.make_coalesce_list(self.build(only, depth + 1))

    def _find(self, name: str, start: int) -> Function:
        """Return the row of a function.

        Raises:
            ExpressionError: there is none.
        """
        if name.count(".") > 1:
            message = f"function may have one module in front: {name!r}"
            raise self._error("invalid_function_reference", message, start)
        module, _, bare = name.rpartition(".")
        table = self._tables.get(module)
        if table is None and module in FORBIDDEN_MODULES:
            raise self._error("unallowed_variform_module", f"module is not allowed: {module!r}", start)
        if table is None:
            raise self._error("unknown_variform_module", f"module does not exist: {module!r}", start)
        if bare not in table:
            raise self._error("unknown_variform_function", f"function does not exist: {name!r}", start)
        return table[bare]

    def _prepare_pattern(self, call: PatternCall, argument: Tree[Token] | Token) -> None:
        """Compile a literal pattern now; a fault is a notice, because EMQX finds it only at run time."""
        if isinstance(argument, Token) and argument.type == "STRING":
            try:
                call.prepare(str(argument[1:-1]))
            except ValueError as error:
                self._notice(str(error), argument.start_pos or 0)
