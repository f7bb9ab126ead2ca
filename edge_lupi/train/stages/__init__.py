"""Teacher, student, quantisation-aware fine-tuning, threshold, temperature."""
