"""The mistakes that elaboration can find: their codes, and how one travels to where it is kept."""

from __future__ import annotations

from cnndsl.diagnostics import Diagnostic, Label, Span, register

register(
    {
        "E0201": "a layer that cannot take the value it is given",
        "E0202": "branches of a join whose shapes disagree",
        "E0203": "a residual whose two sides have different shapes",
        "E0204": "a shortcut that no projection can bring to the body's extent",
        "E0205": "a gate whose body leaves a shape that cannot multiply the value",
        "E0206": "a dense block whose body changes the extent",
        "E0207": "a model whose first step is not `input`",
        "E0208": "a second `input`",
        "E0210": "a claim about a shape that is not so",
        "E0301": "a layer or block that does not exist",
        "E0302": "a name that stands for nothing",
        "E0303": "a value that flows is wanted, and this is none",
        "E0304": "a name that is bound twice",
        "E0305": "a step that is no layer",
        "E0306": "a function that does not exist",
        "E0307": "an element of a family of values that does not exist",
        "E0308": "a definition that clashes with another",
        "E0309": "a model that does not exist, or several to choose from",
        "E0310": "a block that calls itself",
        "E0311": "a file that `use` cannot bring in",
        "E0401": "an argument that does not exist",
        "E0402": "an argument that is missing",
        "E0403": "too many arguments",
        "E0404": "an argument that is given twice",
        "E0405": "a value of the wrong kind",
        "E0406": "a whole number is wanted",
        "E0407": "arithmetic that has no result",
        "E0408": "a `/` that could be a stride or a division",
        "E0409": "a loop with the wrong number of names",
        "E0410": "an index that is out of range",
        "E0411": "a body where none belongs, or none where one does",
        "E0412": "branches where none belong, or a join without any",
        "E0501": "an expectation that is not so",
        "E0502": "an expectation about something that does not exist",
        "E0601": "a program with too many layers",
        "E0602": "a program that takes too long to elaborate",
        "E0603": "a program that is nested too deeply",
    }
)


class Problem(Exception):
    """One mistake on its way from where it is known to where it is collected.

    `argument` is the argument of an operation that is at fault by itself, if one is.
    """

    def __init__(
        self,
        code: str,
        message: str,
        span: Span,
        label: str = "",
        *,
        secondary: tuple[Label, ...] = (),
        trace: tuple[str, ...] = (),
        help: str | None = None,
        argument: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.label = Label(span, label)
        self.secondary = secondary
        self.trace = trace
        self.help = help
        self.argument = argument

    def told_at(self, span: Span | None) -> Problem:
        """This problem, told where one of its labels stands; its place becomes a label."""
        for label in self.secondary:
            if label.span == span:
                others = tuple(other for other in self.secondary if other is not label)
                self.label, self.secondary = label, (self.label, *others)
                break
        return self

    def diagnostic(self, calls: tuple[str, ...] = ()) -> Diagnostic:
        return Diagnostic(
            self.code,
            self.message,
            self.label,
            self.secondary,
            calls,
            self.trace,
            self.help,
        )


class Poisoned(Exception):
    """Something depends on a value that an earlier mistake left unknown: no report."""


class TooMuch(Problem):
    """A limit is passed; elaboration stops."""


def bound_twice(name: str, span: Span, first: Span | None) -> Problem:
    """The problem of a name that is bound again, with where it was bound first."""
    seen = (Label(first, "the first is here"),) if first is not None else ()
    return Problem("E0304", f"`{name}` is bound twice", span, secondary=seen)
