"""Where sound comes from: files, standard input, microphones -> blocks of samples."""
