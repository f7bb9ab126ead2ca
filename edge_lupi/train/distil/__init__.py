"""A teacher's embeddings, kept, and the distances of a student from them."""
