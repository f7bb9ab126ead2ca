"""A student, teacher or bundle on labelled speech: answers, reports, thresholds."""
