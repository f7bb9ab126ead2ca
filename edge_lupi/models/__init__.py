"""Front end, encoder, aggregator and header, and the student and teacher made of them (torch)."""
