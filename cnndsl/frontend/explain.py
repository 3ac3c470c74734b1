"""Says in plain English what is wrong where the parser could not go on."""

from __future__ import annotations

from collections.abc import Callable

from cnndsl.diagnostics import Diagnostic, suggest
from cnndsl.frontend.endings import (
    comma_missing,
    trailing_comma,
    two_lines,
    two_steps,
    unfinished_line,
)
from cnndsl.frontend.failure import (
    ENDS_A_LINE,
    ENDS_A_VALUE,
    ITEMS,
    KEYWORDS,
    LITERALS,
    STEPS,
    Failure,
    shown,
)
from cnndsl.frontend.newlines import OPERATORS

_SAMPLES = {
    "_USE": 'use "blocks/se.cnn"',
    "_MODEL": "model lenet(classes = 10) { … }",
    "_BLOCK": "block unit(width, stride = 1) { … }",
    "_TRAIN": "train lenet { … }",
    "_EXPECT": "expect lenet { … }",
    "_LET": "let c = channels",
    "_FOR": "for i in 0..3 { … }",
    "_IF": "if stride > 1 { … }",
    "_FROM": "from x",
    "_AS": "conv 64, 3x3 as x",
}


def explain(failure: Failure) -> Diagnostic:
    """The report of the first rule that knows the case."""
    for rule in _RULES:
        known = rule(failure)
        if known is not None:
            return known
    return _otherwise(failure)


def _keyword_as_name(f: Failure) -> Diagnostic | None:
    if f.type not in KEYWORDS or not f.wants_name:
        return None
    names_wanted = not f.wants_value and not f.wants_step
    binds = f.following in {"_EQUALS", "_COMMA", "_RPAR"} and f.after not in OPERATORS
    if (f.after in ENDS_A_VALUE and not f.wants_value) or (f.after, f.type) == ("_FOR", "_IN"):
        return None
    if f.wants_step and f.type in ITEMS and not binds:
        message = f"`{f.token}` begins something of its own and cannot stand among the steps"
        return f.report("E0119", message, help=f"put `{f.token}` outside the braces")
    if not names_wanted and f.type in STEPS | {"_ELSE": ""}:
        return None
    if not names_wanted and f.type not in ITEMS | {"_OF": ""} and not binds:
        return None
    message = f"`{f.token}` is a word of the language and cannot be a name"
    return f.report("E0115", message, help=f"choose another name: `{f.token}_`, for instance")


def _outside(f: Failure) -> Diagnostic | None:
    if not f.at_top:
        return None
    if (f.type in ITEMS or f.type == "_LET") and "_NEWLINE" in f.accepts:
        message = f"`{f.token}` begins something new on a line that has something else"
        return f.report("E0105", message, help=f"put `{f.token}` on a line of its own")
    begins = f.after == "_NEWLINE" and "_MODEL" in f.accepts
    if not begins and f.after != "_RBRACE":
        return None
    close = suggest(str(f.token), ITEMS.values())
    if f.type == "NAME" and close and f.following == "NAME":
        return f.report("E0119", f"`{f.token}` begins nothing", help=f"did you mean `{close}`?")
    if f.type == "NAME" or f.type in STEPS:
        return f.report(
            "E0110",
            f"the step `{f.token}` stands outside every model and block",
            help="put it between the braces of `model name { … }`",
        )
    return None


def _name_missing(f: Failure) -> Diagnostic | None:
    if f.after in ("_FROM", "_AS"):
        told = "from which value" if f.after == "_FROM" else "what the value is called"
        message = f"`{f.previous}` does not say {told}"
        text = f"a name is wanted before {shown(f.token)}"
        return f.report("E0114", message, text, help=f"write it like `{_SAMPLES[f.after]}`")
    if f.after in ("_MODEL", "_BLOCK", "_EXPECT", "_LET", "_FOR") and f.wants_name:
        names = "names nothing" if f.after in ("_LET", "_FOR") else "has no name"
        text = f"a name is wanted before {shown(f.token)}"
        help = f"write it like `{_SAMPLES[f.after]}`"
        return f.report("E0112", f"this `{f.previous}` {names}", text, help=help)
    if f.after == "_OF":
        help = "write it like `shape of conv5 == 13x13x256`"
        return f.report("E0112", "`of` does not say of what", at=f.previous, help=help)
    if f.after == "_USE":
        help = 'write the path in quotes: `use "blocks/se.cnn"`'
        return f.report("E0119", "`use` wants the path of a file", help=help)
    return None


def _called_with_parentheses(f: Failure) -> Diagnostic | None:
    """`basic(64, 2)` as a step."""
    if f.within != "_LPAR" or f.type not in ("_COMMA", "_RPAR", "_EQUALS"):
        return None
    name = f.tokens[f.open_[-1] - 1]
    before = f.tokens[f.open_[-1] - 2].type if f.open_[-1] > 1 else "_NEWLINE"
    if name.type != "NAME" or before not in ("_LBRACE", "_NEWLINE", "_BAR", "_ARROW"):
        return None
    inside = f.source.text[
        f.tokens[f.open_[-1]].end_pos : f.tokens[f.closed(f.open_[-1])].start_pos
    ]
    return f.report(
        "E0113",
        f"the arguments of the step `{name}` stand in parentheses",
        at=f.tokens[f.open_[-1]],
        help=f"write `{' '.join([name, *inside.split()])}`",
    )


def _equals(f: Failure) -> Diagnostic | None:
    if f.type == "_EQUALS" and "COMPARISON" in f.accepts:
        help = "`=` gives a name to a value; `==` compares"
        return f.report("E0108", "`==` is wanted here", help=help)
    if f.type == "COMPARISON" and "_EQUALS" in f.accepts and str(f.token) == "==":
        return f.report("E0108", "`=` is wanted here", help="`==` compares two values")
    begins = f.at(-2).type in ("_NEWLINE", "_LBRACE", "_BAR", "_ARROW")
    if f.type == "_EQUALS" and f.after == "NAME" and begins and f.within == "_LBRACE":
        help = f"`let {f.previous} = …` names a value; an argument follows a comma"
        return f.report("E0119", "a step cannot be given a value", help=help)
    if f.type == "COMPARISON" and "AND" in f.accepts:
        help = "join two comparisons: `a < b and b < c`"
        return f.report("E0119", "a comparison cannot be compared", help=help)
    return None


def _open_size(f: Failure) -> Diagnostic | None:
    if f.type != "OPEN_SIZE":
        return None
    message = "a size is written in numbers alone"
    return f.report("E0116", message, help="a computed size is written `size(h, w)`")


def _body_missing(f: Failure) -> Diagnostic | None:
    if not f.wants_body or f.type in ("_LBRACE", "COMPARISON"):
        return None
    line = [token.type for token in f.tokens[f.index :]]
    if "_LBRACE" in line[: line.index("_NEWLINE") if "_NEWLINE" in line else None]:
        return None
    head = f.step if not f.at_top else f.tokens[0]
    after_else = f.after == "_ELSE"
    what = "else" if after_else else str(head)
    help = f"the body of `{what}` stands in braces: `{{ … }}`"
    if f.type == "_NEWLINE" and f.following == "_LBRACE":
        help = f"the `{{` stands on the line of the `{what}`"
    elif f.type == "_COLON":
        help = f"the body of `{what}` stands in braces, without a colon"
    return f.report("E0104", f"the body of `{what}` is missing", "`{` is wanted here", help=help)


def _lists(f: Failure) -> Diagnostic | None:
    """Parameters, and the calls of variants."""
    if f.item in ("_MODEL", "_BLOCK") and f.at_top and f.accepts == {"_LPAR"}:
        base = f.previous
        help = f"write `{base}()`, or `{base}(…)` with its arguments"
        message = f"a variant calls its model, and `{base}` is not called"
        return f.report("E0113", message, help=help)
    if f.item in ("_MODEL", "_BLOCK") and f.index == 2 and f.type in {"NAME"} | LITERALS:
        message = f"the parameters of `{f.previous}` are not in parentheses"
        sample = f"{f.tokens[0]} {f.previous}({f.token}) {{ … }}"
        return f.report("E0113", message, help=f"write `{sample}`")
    if not f.in_parameters or f.tokens[1].type != "NAME" or f.wants_value:
        return None
    sample = "`(width, stride = 1)`"
    if f.type == "_COLON":
        help = f"a default is written with `=`: {sample}"
    elif f.type in LITERALS and f.wants_name:
        help = f"a parameter is a name, which may have a default: {sample}"
    else:
        help = f"parameters stand in parentheses with commas between them: {sample}"
    message = f"{shown(f.token)} cannot stand in the parameters of `{f.tokens[1]}`"
    return f.report("E0113", message, help=help)


def _branches(f: Failure) -> Diagnostic | None:
    if f.after != "_BAR" or f.type not in ("_BAR", "_RBRACE", "_ARROW"):
        return None
    if f.type == "_BAR" and f.previous.end_pos == f.token.start_pos:
        return f.report("E0119", "the language does not use `||`", help="write `or`")
    return f.report(
        "E0111",
        "this branch is empty",
        at=f.previous,
        help="`| identity` is the branch that leaves the value as it is",
    )


def _value_missing(f: Failure) -> Diagnostic | None:
    ends = ENDS_A_LINE | {"_RBRACE", "_RPAR", "_RSQB", "_COMMA", "_ARROW", "_BAR", "_LBRACE"}
    ends |= {"_COLON", "_EQUALS", "_ELSE", "_AS", "_IN", *ITEMS, *STEPS, *OPERATORS}
    if f.type not in ends:
        return None
    if f.wants_step and f.after == "_ARROW":
        text = f"a step is wanted before {shown(f.token)}"
        return f.report("E0117", "nothing follows this `->`", text, at=f.previous)
    if f.wants_value and f.after not in ENDS_A_VALUE:
        text = f"a value is wanted before {shown(f.token)}"
        message = f"nothing follows `{f.previous}`"
        if f.after in ("_NEWLINE", "$END"):
            message = "a value is missing"
        return f.report("E0117", message, text, at=None if f.index == 0 else f.previous)
    if f.item == "_TRAIN" and f.wants_value and f.type in ENDS_A_LINE | {"_RBRACE"}:
        message, help = f"the setting `{f.previous}` has no value", "write it like `batch 128`"
        return f.report("E0117", message, at=f.previous, help=help)
    if f.item == "_EXPECT" and "COMPARISON" in f.accepts and f.within == "_LBRACE":
        help = f"write it like `{f.step} == 8`"
        return f.report("E0117", "this proof states nothing", at=f.step, help=help)
    if f.accepts == {"_EQUALS"}:
        help = f"write `let {f.previous} = …`"
        return f.report("E0117", f"`{f.previous}` has no value", at=f.previous, help=help)
    return None


def _else_without_if(f: Failure) -> Diagnostic | None:
    if f.type != "_ELSE":
        return None
    help = "`else` comes after the `}` of an `if`, or in a value: `a if c else b`"
    return f.report("E0119", "this `else` belongs to no `if`", help=help)


def _else_missing(f: Failure) -> Diagnostic | None:
    if "_ELSE" not in f.accepts or f.type == "_ELSE" or "_LBRACE" in f.accepts:
        return None
    if f.type in ENDS_A_VALUE and f.type != "_RPAR":
        return None
    help = "a value that depends on a condition is `a if c else b`"
    if f.type == "_LBRACE":
        help += "; a step `if c { … }` begins on a new line or after `->`"
    return f.report("E0119", f"`else` is wanted before {shown(f.token)}", help=help)


def _proofs(f: Failure) -> Diagnostic | None:
    if f.item != "_EXPECT" or f.within != "_LBRACE" or "COMPARISON" not in f.accepts:
        return None
    help = "a proof is written like `parameters == 62_378_344` or `shape of conv5 == 13x13x256`"
    if f.type in LITERALS:
        help = f"write `{f.source.text[f.step.start_pos : f.previous.end_pos]} == {f.token}`"
    return f.report("E0119", f"{shown(f.token)} cannot stand in a proof", help=help)


def _claims(f: Failure) -> Diagnostic | None:
    if f.after == "_COLON":
        help = "the shape after a step is written `: 27x27x96`, `: 28x28x(2*width)` or `: classes`"
        return f.report("E0116", f"{shown(f.token)} is not a shape", help=help)
    extent = f.at(-2).type == "_COLON" and f.after in ("NAME", "INTEGER", "SIZE")
    if f.type in OPERATORS and (extent or f.at(-2).type == "OPEN_SIZE"):
        help = "write it like `: (2*width)` or `: 28x28x(2*width)`"
        return f.report("E0116", "a computed extent stands in parentheses", help=help)
    if f.type == "_AS" and "_COLON" not in f.accepts and "_ARROW" in f.accepts:
        help = "write `as name` before `: shape`"
        return f.report("E0119", "the name of a value stands before its shape", help=help)
    return None


def _stride_of_no_step(f: Failure) -> Diagnostic | None:
    if f.type != "SLASH" or f.after not in ("_COMMA", "_LPAR") or f.at(1).type == "_COMMA":
        return None
    help = f"write `stride = {f.at(1)}`"
    return f.report("E0119", "`/` for the stride stands in the arguments of steps alone", help=help)


def _in_missing(f: Failure) -> Diagnostic | None:
    if "_IN" not in f.accepts:
        return None
    help = "a loop is written `for i in 0..3 { … }` or `for a, b in rows { … }`"
    return f.report("E0119", f"`in` is wanted before {shown(f.token)}", help=help)


def _no_step(f: Failure) -> Diagnostic | None:
    if not f.wants_step or not f.in_steps:
        return None
    help = "a step begins with the name of a layer or a block, or with `from`, `let`, `for` or `if`"
    return f.report("E0119", f"a step cannot begin with {shown(f.token)}", help=help)


def _otherwise(f: Failure) -> Diagnostic:
    if f.type == "DOTTED_NAME":
        help = "a name with dots stands in an `expect` section alone, after `of`"
        return f.report("E0119", f"`{f.token}` is not a name", help=help)
    signs = {"_LBRACE": "{", "_RBRACE": "}", "_RPAR": ")", "_RSQB": "]", "_COMMA": ","}
    signs |= {"_EQUALS": "=", "_IN": "in", "_ELSE": "else"}
    wanted = [f"`{signs[t]}`" for t in signs if t in f.accepts]
    wanted += ["a value"] if f.wants_value else ["a name"] if f.wants_name else []
    wanted += ["a new line"] if "_NEWLINE" in f.accepts else []
    text = " or ".join(wanted) + " is wanted" if 0 < len(wanted) <= 3 else ""
    return f.report("E0119", f"{shown(f.token)} cannot stand here", text)


_RULES: tuple[Callable[[Failure], Diagnostic | None], ...] = (
    unfinished_line,
    _keyword_as_name,
    _outside,
    _name_missing,
    _called_with_parentheses,
    _stride_of_no_step,
    trailing_comma,
    _open_size,
    _equals,
    _claims,
    _branches,
    _value_missing,
    _else_without_if,
    _else_missing,
    _in_missing,
    _lists,
    _body_missing,
    two_steps,
    two_lines,
    comma_missing,
    _proofs,
    _no_step,
)
