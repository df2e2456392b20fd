"""Small real networks, and the generated worlds they were trained on, so that every family of methods works offline.

`toyland` draws pictures, `wordland` writes text tasks; `recipes` trains the models from them, `weights` holds the
models as trained, each with its card, and `folders` finds them: `pt.model("zoo:NAME")`. Nothing here is imported by an
adapter or a method.
"""
