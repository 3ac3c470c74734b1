"""Finds every mistake of a text that does not parse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lark import Lark, ParseTree, Token, Tree, UnexpectedToken
from lark.parsers.lalr_interactive_parser import InteractiveParser

from cnndsl.diagnostics import Diagnostic, Label, Source, Span
from cnndsl.frontend.brackets import unbalanced
from cnndsl.frontend.build import build
from cnndsl.frontend.explain import explain
from cnndsl.frontend.failure import ITEMS, Failure
from cnndsl.frontend.lexical import bad_words, begins_line, column, indentation, invisible, repaired
from cnndsl.frontend.newlines import CLOSERS, DEEPEST, OPENERS, Newlines, TooDeep


def find(source: Source, lark: Lark, start: str) -> list[Diagnostic]:
    """All mistakes, in the order of the file: those of words, of brackets and of grammar.

    Each item of the file is looked at by itself, so that a mistake in one hides none in another;
    within an item the parser goes on with the next step. A line gets one report of grammar at
    most, and none where a word or a bracket in it is wrong already.
    """
    tokens = _lexed(source, lark)
    found = [*invisible(source), *bad_words(source, tokens)]
    items = [tokens] if start == "expression" else _items(repaired(tokens))
    for item in items:
        found += _in_item(source, lark, start, item, {_line(report) for report in found})
    return sorted(found, key=_start)


def in_tree(tree: ParseTree, source: Source) -> list[Diagnostic]:
    """The mistakes that a parse tree can still hold: depth, and steps after the branches."""
    found: list[Diagnostic] = []
    waiting: list[tuple[ParseTree, int]] = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        deeper = depth + (node.data in _NESTING)
        if deeper > DEEPEST and not found:
            label = Label(Span(source, node.meta.start_pos, node.meta.end_pos))
            message = f"more than {DEEPEST} operators or `else if` stand inside one another"
            help = "name the inner parts with `let`"
            found.append(Diagnostic("E0118", message, label, help=help))
        if node.data == "branch":
            found += _after_branch(node, source)
        elif node.data == "layer":
            found += _after_comma(node, source)
        waiting += [(child, deeper) for child in node.children if isinstance(child, Tree)]
    return sorted(found, key=_start)


def _start(report: Diagnostic) -> int:
    assert report.span is not None
    return report.span.start


def _line(report: Diagnostic) -> int:
    assert report.span is not None
    return report.span.line


_NESTING = frozenset(
    {
        "binary",
        "unary",
        "conditional",
        "index",
        "call",
        "from_to",
        "list_literal",
        "comprehension",
        "choice",
    }
)


def _after_branch(branch: ParseTree, source: Source) -> list[Diagnostic]:
    """A step that begins a line no deeper than the `|` of its branch looks as if it stood outside.

    Only its look is wrong: it would be read as a part of the branch, and nothing is guessed.
    """
    bar = Span(source, branch.meta.start_pos, branch.meta.start_pos + 1)
    if not begins_line(bar):
        return []
    for step in branch.children:
        assert isinstance(step, Tree)
        span = Span(source, step.meta.start_pos, step.meta.end_pos)
        if span.line > bar.line and begins_line(span) and column(span) <= column(bar):
            help = "indent it further than the `|`, or put it after the closing brace"
            seen = Label(bar, "it is read as a part of this branch")
            message = "this step stands as if it came after the branches"
            return [Diagnostic("E0111", message, Label(span), (seen,), help=help)]
    return []


def _after_comma(layer: ParseTree, source: Source) -> list[Diagnostic]:
    """An argument that begins a line no deeper than its step's looks like a step of its own."""
    _, arguments, *_ = layer.children
    if not isinstance(arguments, Tree):
        return []
    head = Span(source, layer.meta.start_pos, layer.meta.start_pos + 1)
    before = head
    for argument in arguments.children:
        assert isinstance(argument, Tree)
        span = Span(source, argument.meta.start_pos, argument.meta.end_pos)
        if span.line > head.line and begins_line(span) and column(span) <= indentation(head):
            place = source.text.index(",", before.end)
            label = Label(Span(source, place, place + 1), "with it the step goes on")
            seen = Label(span, "this stands as if it were a step of its own")
            help = "delete the comma, or indent the next line further"
            message = "nothing follows this comma on its line"
            return [Diagnostic("E0107", message, label, (seen,), help=help)]
        before = span
    return []


def _lexed(source: Source, lark: Lark) -> list[Token]:
    """All tokens, with a `_NEWLINE` wherever a token begins a line."""
    tokens: list[Token] = []
    try:
        for token in lark.lex(source.text):
            if token.type == "_NEWLINE":
                continue
            if tokens and tokens[-1].line != token.line:
                newline = Token.new_borrow_pos("_NEWLINE", "", tokens[-1])
                newline.start_pos = newline.end_pos
                tokens.append(newline)
            tokens.append(token)
    except TooDeep as deep:
        tokens.append(deep.opener)
    return tokens


def _items(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """The tokens of each item: words that only begin items do so at the beginning of a line.

    A `let` can be a step as well; it begins an item if it stands no deeper than the last one.
    """
    item: list[Token] = []
    depth = start = 0
    for place, token in enumerate(tokens):
        begins = place == 0 or tokens[place - 1].type == "_NEWLINE"
        item_word = token.type in ITEMS and _following(tokens, place) not in _NOT_AFTER_ITEMS
        shallow = (token.column or 0) <= start
        if begins and (
            (item_word and (depth == 0 or shallow))
            or (token.type == "_LET" and depth == 0 and (shallow or not item))
        ):
            yield item
            item, depth, start = [], 0, token.column or 0
        depth = max(0, depth + (token.type in OPENERS) - (token.type in CLOSERS))
        item.append(token)
    yield item


#: Before these a word that begins items was meant as a name.
_NOT_AFTER_ITEMS = frozenset({"_EQUALS", "_COMMA", "_ARROW", "_RPAR", "_COLON"})


def _following(tokens: Sequence[Token], place: int) -> str:
    return tokens[place + 1].type if place + 1 < len(tokens) else "$END"


def _in_item(
    source: Source, lark: Lark, start: str, item: Sequence[Token], told: set[int]
) -> list[Diagnostic]:
    """The mistakes of an item's brackets, and of its grammar where the brackets allow."""
    words = [token for token in item if token.type != "_NEWLINE"]
    if not words and start == "file":
        return []
    brackets = unbalanced(source, words)
    if any(report.code == "E0118" for _, report in brackets):
        return [report for _, report in brackets]
    limit = brackets[0][0].start_pos if brackets else None
    last = words[-1].end_pos if words else len(source.text)
    tokens = list(Newlines().process(iter(item)))
    tokens.append(Token("$END", "", start_pos=last, end_pos=last))
    failures, tree = _parsed_on(source, lark, start, tokens)
    found: list[Diagnostic] = []
    for failure in failures:
        if limit is not None and failure.begins >= limit:
            break
        report = explain(failure)
        if _line(report) not in told:
            told.add(_line(report))
            found.append(report)
        if report.code == "E0104" and limit is not None:
            break
    else:
        if tree is not None and limit is None:
            left = [*in_tree(tree, source), *build(tree, source)[1]]
            found += {d.span: d for d in left if _line(d) not in told}.values()
    if found and brackets and brackets[0][0].type in CLOSERS:
        return found
    return [*found, *(report for _, report in brackets)]


# Going on after a mistake ------------------------------------------------------------------------

#: What may stand in for something broken, so that what comes after it can be parsed.
_STAND_INS = (
    ("NAME",),
    ("NAME", "INTEGER"),
    ("NAME", "COMPARISON", "INTEGER"),
)
_HEADS = {
    "_MODEL": ("_MODEL", "NAME"),
    "_BLOCK": ("_BLOCK", "NAME"),
    "_TRAIN": ("_TRAIN",),
    "_EXPECT": ("_EXPECT", "NAME"),
}


def _copy(parser: InteractiveParser) -> InteractiveParser:
    """A parser in the same state, on the same trees."""
    copied: InteractiveParser = parser.copy(deepcopy_values=False)  # type: ignore[no-untyped-call]
    return copied


def _accepted(parser: InteractiveParser) -> frozenset[str]:
    accepts: set[str] = parser.accepts()  # type: ignore[no-untyped-call]
    return frozenset(accepts)


def _parsed_on(
    source: Source, lark: Lark, start: str, tokens: Sequence[Token]
) -> tuple[list[Failure], ParseTree | None]:
    """Each place where the parser cannot go on, and the tree if it came to the end.

    After a mistake the parser goes on behind the broken step, with a stand-in for it.
    """
    parser = lark.parse_interactive("", start=start)
    failures: list[Failure] = []
    tree: ParseTree | None = None
    step = _copy(parser)
    begun = place = 0
    while place < len(tokens):
        if place > 0 and tokens[place - 1].type in ("_NEWLINE", "_LBRACE", "_BAR", "_ARROW"):
            step, begun = _copy(parser), place
        before = _copy(parser)
        try:
            tree = parser.feed_token(tokens[place])
        except UnexpectedToken:
            failures.append(Failure(source, tokens, place, _accepted(before)))
            again = _resumed(step, tokens, begun, place)
            if again is None:
                return failures, None
            parser, place = again
        else:
            place += 1
    return failures, tree


def _resumed(
    step: InteractiveParser, tokens: Sequence[Token], begun: int, failed: int
) -> tuple[InteractiveParser, int] | None:
    """A parser that has read something in the place of the broken step, and where it goes on.

    It goes on at the end of the step, or at the step's own body, so that mistakes in it are told.
    """
    place = _end_of_step(tokens, begun, failed)
    stand_ins = (_HEADS[tokens[0].type],) if begun == 0 and tokens[0].type in _HEADS else _STAND_INS
    for types in stand_ins:
        parser = _copy(step)
        try:
            for type_ in types:
                parser.feed_token(Token.new_borrow_pos(type_, "0", tokens[failed]))
        except UnexpectedToken:
            continue
        if tokens[place].type in _accepted(parser):
            return parser, place
    return None


def _end_of_step(tokens: Sequence[Token], begun: int, failed: int) -> int:
    """The first token from `failed` on that ends the step begun at `begun`, or opens its body."""
    depth = 0
    for place in range(begun, len(tokens)):
        type_ = tokens[place].type
        if place >= failed and depth == 0:
            if type_ in ("_NEWLINE", "_ARROW", "_BAR", "_RBRACE", "$END"):
                return place
            if type_ == "_LBRACE" and _closes_before_else(tokens, place) is False:
                return place
        depth += (type_ in OPENERS) - (type_ in CLOSERS)
    return len(tokens) - 1


def _closes_before_else(tokens: Sequence[Token], opened: int) -> bool:
    depth = 0
    for place in range(opened, len(tokens) - 1):
        depth += (tokens[place].type in OPENERS) - (tokens[place].type in CLOSERS)
        if depth == 0:
            return tokens[place + 1].type == "_ELSE"
    return False
