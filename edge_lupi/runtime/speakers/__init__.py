"""Enrolled people: gallery, recordings, enrolment."""
