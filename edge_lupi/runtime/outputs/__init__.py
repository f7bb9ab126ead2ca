"""Events -> turns, the live view, RTTM."""
