"""Files and what they define: `use`, models and their variants, and which model is meant."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cnndsl.diagnostics import (
    CnndslError,
    Diagnostic,
    Label,
    Source,
    Span,
    did_you_mean,
    error,
    suggest,
)
from cnndsl.frontend import syntax
from cnndsl.frontend.origins import defined_here, unnamed_models
from cnndsl.frontend.parse import parse
from cnndsl.frontend.problems import bound_twice
from cnndsl.graph.op import OPS

#: The words that are joins, and so no names for blocks.
JOINS = ("concat", "add", "mul", "residual", "dense", "gate", "aux")


@dataclass(eq=False)
class Module:
    """A file: its own definitions, and those that `use` brought in."""

    file: syntax.File
    blocks: dict[str, tuple[syntax.Block, Module]] = field(default_factory=dict)
    models: dict[str, tuple[syntax.Model | syntax.Variant, Module]] = field(default_factory=dict)
    lets: list[syntax.Let] = field(default_factory=list)
    own_models: list[str] = field(default_factory=list)

    @property
    def source(self) -> Source:
        return self.file.source

    def sections(self, kind: type[syntax.Train] | type[syntax.Expect]) -> list[syntax.Item]:
        return [item for item in self.file.items if isinstance(item, kind)]

    def chain(self, name: str) -> list[tuple[syntax.Model | syntax.Variant, Module]]:
        """A variant, what it is a variant of, and so on to the model.

        Raises:
            CnndslError: a base that does not exist, or a cycle.
        """
        result: list[tuple[syntax.Model | syntax.Variant, Module]] = []
        definition, module = self.models[name]
        while True:
            result.append((definition, module))
            if isinstance(definition, syntax.Model):
                return result
            base = definition.base
            found = module.models.get(base.id)
            if found is None:
                raise CnndslError(_no_model(base, module, definition.name.id))
            if any(found[0] is seen for seen, _ in result):
                raise _mistake(
                    "E0309",
                    f"`{definition.name.id}` is a variant of itself",
                    base.span,
                    "a variant goes back to a `model` with a body",
                )
            definition, module = found

    def train_section(self, name: str) -> tuple[syntax.Train, Module] | None:
        """The recipe of a model: its own, else its base's, else the file's unnamed one."""
        for definition, module in self.chain(name):
            for item in module.sections(syntax.Train):
                assert isinstance(item, syntax.Train)
                if item.model is not None and item.model.id == definition.name.id:
                    return item, module
        for _, module in self.chain(name):
            for item in module.sections(syntax.Train):
                assert isinstance(item, syntax.Train)
                if item.model is None:
                    return item, module
        return None

    def expectations(self, name: str) -> list[syntax.Expect]:
        """The `expect` sections of a model."""
        definition, module = self.models[name]
        return [
            item
            for item in module.sections(syntax.Expect)
            if isinstance(item, syntax.Expect) and item.model.id == definition.name.id
        ]

    def complete(self) -> list[str]:
        """The file's models that need no argument."""
        return [name for name in self.own_models if self._missing(name) == []]

    def _missing(self, name: str) -> list[str]:
        chain = self.chain(name)
        model = chain[-1][0]
        assert isinstance(model, syntax.Model)
        positional = 0
        named: set[str] = set()
        for definition, _ in chain[:-1]:
            assert isinstance(definition, syntax.Variant)
            positional += sum(a.name is None and not a.is_stride for a in definition.arguments)
            named |= {a.name.id for a in definition.arguments if a.name is not None}
        return [
            p.name.id
            for p in model.parameters[positional:]
            if p.default is None and p.name.id not in named
        ]

    def choose(self, name: str | None) -> str:
        """The model that is meant: the named one, the only complete one, or the file's namesake.

        Raises:
            CnndslError: there is none, or there are several.
        """
        if name is not None:
            if name not in self.models:
                raise error(
                    "E0309",
                    f"{self.source.name} has no model `{name}`",
                    help=did_you_mean(name, self.models) or self._listing(),
                )
            return name
        complete = self.complete()
        namesake = Path(self.source.name).stem
        if len(complete) == 1:
            return complete[0]
        if namesake in complete:
            return namesake
        if not self.own_models:
            raise error(
                "E0309",
                f"{self.source.name} defines no model",
                help="a model is written `model name { … }`",
            )
        if not complete:
            first = self.own_models[0]
            given = ", ".join(f"{name} = …" for name in self._missing(first))
            raise _mistake(
                "E0309",
                f"every model of {self.source.name} needs arguments",
                self.models[first][0].name.span,
                f"a variant gives them: `model small = {first}({given})`",
            )
        raise error(
            "E0309",
            f"{self.source.name} has several models: say which one",
            help=self._listing(),
        )

    def _listing(self) -> str:
        known = [f"{self.source.name}:{name}" for name in self.complete()]
        return "there is " + ", ".join(known) if known else "it defines no complete model"


def _mistake(
    code: str, message: str, span: Span, help: str | None = None, *more: Label
) -> CnndslError:
    return CnndslError(Diagnostic(code, message, Label(span), more, help=help))


def read_source(path: Path, name: str | None = None) -> Source:
    """The text of a file.

    Raises:
        CnndslError: it is not there, cannot be read, or is no UTF-8 text.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as reason:
        raise error("C0101", f"{path}: {(reason.strerror or str(reason)).lower()}") from None
    except UnicodeDecodeError as reason:
        raise error("C0101", f"{path} is no UTF-8 text (byte {reason.start})") from None
    return Source(name or str(path), text)


def load_file(path: Path, search: Sequence[Path] = (), name: str | None = None) -> Module:
    """Read and parse a file, and the files that it uses.

    Messages call it `name`, by default its path. `use` paths are relative to the file that says
    them; they may not leave its folder or those of `search`, in which they are looked up next.

    Raises:
        CnndslError: every mistake of syntax or definition that can be found at once.
    """
    return _Loader(search).load(path, read_source(path, name))


def load_text(source: Source) -> Module:
    """A module from text alone; `use` looks in the working folder."""
    return _Loader(()).load(Path(source.name), source)


class _Loader:
    """Loads each file once, and finds cycles of `use`."""

    def __init__(self, search: Sequence[Path]) -> None:
        self.search = [folder.resolve() for folder in search]
        self.loading: list[Path] = []
        self.loaded: dict[Path, Module] = {}

    def load(self, path: Path, source: Source) -> Module:
        here = path.resolve()
        self.loading.append(here)
        module = Module(parse(source))
        mistakes: list[tuple[int, Diagnostic]] = []
        for item in module.file.items:
            try:
                self._define(module, item, here, source)
            except CnndslError as failure:
                mistakes += [(item.span.start, found) for found in failure.diagnostics]
        for found in (*_stray_sections(module), *_broken_variants(module)):
            mistakes.append((found.span.start if found.span else 0, found))
        self.loading.pop()
        if mistakes:
            in_order = sorted(mistakes, key=lambda mistake: mistake[0])
            raise CnndslError(*(found for _, found in in_order))
        self.loaded[here] = module
        return module

    def _define(self, module: Module, item: syntax.Item, here: Path, source: Source) -> None:
        match item:
            case syntax.Use():
                self._use(module, item, here, source)
            case syntax.Global():
                module.lets.append(item.let)
            case syntax.Block():
                _refuse_clash(module, item.name)
                module.blocks[item.name.id] = (item, module)
                _refuse_twice(item.parameters)
            case syntax.Model() | syntax.Variant():
                _refuse_clash(module, item.name)
                module.models[item.name.id] = (item, module)
                module.own_models.append(item.name.id)
                if isinstance(item, syntax.Model):
                    _refuse_twice(item.parameters)

    def _use(self, module: Module, item: syntax.Use, here: Path, source: Source) -> None:
        folders = [here.parent, *self.search]
        for folder in folders:
            target = (folder / item.path).resolve()
            if not any(target.is_relative_to(root) for root in folders):
                raise _mistake(
                    "E0311",
                    f"`{item.path}` lies outside the folders that `use` may read",
                    item.path_span,
                    "files are used from the folder of this one, or from one on the search path",
                )
            if target.is_file():
                break
        else:
            close = suggest(Path(item.path).name, _beside(here, item.path))
            raise _mistake(
                "E0311",
                f"there is no file `{item.path}`",
                item.path_span,
                f"did you mean `{Path(item.path).with_name(close).as_posix()}`?" if close else None,
            )
        if target in self.loading:
            raise _mistake(
                "E0311", f"`{item.path}` uses this file in turn: a cycle", item.path_span
            )
        # Messages name the file as a person would, from where they name this one.
        shown = str(target)
        if folder == here.parent:
            shown = os.path.normpath(Path(source.name).parent / item.path)
        used = self.loaded.get(target) or self.load(target, read_source(target, shown))
        for name, block in used.blocks.items():
            _refuse_used_clash(module, name, item)
            module.blocks[name] = block
        for name, model in used.models.items():
            _refuse_used_clash(module, name, item)
            module.models[name] = model


def _refuse_clash(module: Module, name: syntax.Name) -> None:
    if name.id in OPS or name.id in JOINS or name.id == "input":
        raise _mistake(
            "E0308", f"`{name.id}` is a layer of the language", name.span, "choose another name"
        )
    earlier = module.blocks.get(name.id) or module.models.get(name.id)
    if earlier is not None:
        raise _mistake(
            "E0308",
            f"`{name.id}` is defined twice",
            name.span,
            None,
            Label(earlier[0].name.span, "the first is here"),
        )


def _refuse_used_clash(module: Module, name: str, item: syntax.Use) -> None:
    earlier = module.blocks.get(name) or module.models.get(name)
    if earlier is not None:
        raise _mistake(
            "E0308",
            f"`{item.path}` brings in `{name}`, which is defined already",
            item.path_span,
            None,
            Label(earlier[0].name.span, "the first is here"),
        )


def _no_model(name: syntax.Name, module: Module, variant: str | None = None) -> Diagnostic:
    """The report of a model that does not exist, with those that were perhaps meant.

    `variant` is the one that names it, and was not.
    """
    close = suggest(name.id, module.models.keys() - {variant})
    seen = unnamed_models(module.file, variant)
    if close is not None:
        name_of_close = module.models[close][0].name
        others = (label for label in seen[:1] if label.span != name_of_close.span)
        seen = (defined_here(name_of_close), *others)
    help = f"did you mean `{close}`?" if close else None
    return Diagnostic(
        "E0309", f"there is no model `{name.id}`", Label(name.span), secondary=seen, help=help
    )


def _refuse_twice(parameters: tuple[syntax.Parameter, ...]) -> None:
    """Refuse a list of parameters that has a name twice."""
    seen: dict[str, Span] = {}
    for name in (parameter.name for parameter in parameters):
        if name.id in seen:
            raise CnndslError(bound_twice(name.id, name.span, seen[name.id]).diagnostic())
        seen[name.id] = name.span


def _beside(here: Path, path: str) -> list[str]:
    """The names of the files in the folder where a file that is not there would be."""
    return [file.name for file in (here.parent / path).parent.glob("*.cnn")]


def _broken_variants(module: Module) -> list[Diagnostic]:
    """Variants that go back to no model."""
    mistakes: dict[tuple[str, int], Diagnostic] = {}
    for name in module.own_models:
        try:
            module.chain(name)
        except CnndslError as failure:
            for diagnostic in failure.diagnostics:
                place = diagnostic.span
                mistakes[(place.source.name, place.start) if place else (name, 0)] = diagnostic
    return list(mistakes.values())


def _stray_sections(module: Module) -> list[Diagnostic]:
    """`train` and `expect` sections of models that do not exist."""
    mistakes = []
    for item in module.file.items:
        if isinstance(item, syntax.Train | syntax.Expect) and item.model is not None:
            name = item.model
            if name.id not in module.models:
                mistakes.append(_no_model(name, module))
    return mistakes
