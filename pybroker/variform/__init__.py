"""The expression language of the configuration: `compile.py` for expressions, `template.py` for `${...}` texts.

The standard is `docs/guide/variform.md`. Nothing here knows what an expression is for, and nothing here is evaluated by
the interpreter.
"""
