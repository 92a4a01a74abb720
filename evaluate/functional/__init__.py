"""A functional suite: short cases, each of which tests one ability of the classifier, in every language it serves.

Templates (`templates/`) become cases (`cases`), code derives differently written ones (`variants`), the shipped artifact
answers (`scoring`), and neutral sentences with exchanged names show what a single term does to a score (`terms`).
`python -m evaluate.functional release=<name>` does it all.
"""
