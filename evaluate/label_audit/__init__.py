"""`python -m evaluate.label_audit run=...`: rows whose label the model contradicts, ranked per language, for people to review.

A model that was trained on a wrong label may repeat it, so every row is judged by a model that has not seen it:
validation and test rows by the run itself, training rows by models trained anew, with the run's own recipe, on the
other folds. The result is a review list beside the run; the data are only read.
"""
