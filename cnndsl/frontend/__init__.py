"""From text to graph: syntax, parsing, elaboration, formatting."""
