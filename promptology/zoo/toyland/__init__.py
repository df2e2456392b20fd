"""Toyland: drawn scenes with exact attributes, captions and descriptions.

`lists` holds what there is: shapes, colours and shades, textures, styles, shifts, seen and unseen triples. `scenes` draws
what stands where (`Scenes`, `sample`), `drawing` the pictures, masks and boxes (`render`, `masks`, `boxes`), `styles`
the shifts (`shift`, `backlit`); `chance` gives the image seeds on which everything depends. `naming` has the names and
descriptions of classes, `templates` the wording, `captions` captions of scenes and their truth, `vocabulary` all words.
`kinds` are classes of objects with their pictures, and `tasks` builds tasks of them.
"""
