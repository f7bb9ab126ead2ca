"""One file for each corpus: its folders and names -> utterances."""
