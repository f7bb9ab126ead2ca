"""Enrolment: one person's speech in, exemplars of their voice out."""
