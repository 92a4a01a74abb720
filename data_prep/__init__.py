"""First stage: labelled posts from any source become one audited Example table (`data/<mixture>/`).

The leftmost package of the road data_prep -> train -> export -> evaluate. Besides its own stage it holds
what every later stage stands on: the table's contract, the text normaliser, atomic files and the way a
stage program reports errors.
"""
