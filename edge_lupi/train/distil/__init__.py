"""Knowledge distillation: teachers' embeddings, a student's distances from them, and the student while it learns."""
